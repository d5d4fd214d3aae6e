"""What all generated models share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ARIModel(BaseModel):
    """An object of ARI, with Asterisk's own field names.

    Made for many versions of Asterisk: a field this one doesn't know is kept and can be read as an
    attribute; a field that Asterisk did not send reads as its empty value (``""``, 0, None ...), and
    ``model_fields_set`` tells which were sent. Words from a fixed list (states, results) are plain ``str``.
    """

    model_config = ConfigDict(
        extra="allow",
        populate_by_name=True,
        protected_namespaces=(),
        cache_strings="keys",  # values are ids mostly: none comes twice, and kept they cost a megabyte
    )
