"""How providers take their settings: keyword arguments, a dict, or a config object, all the same fields."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from voxtra.errors import ConfigurationError


class ProviderSettings(BaseModel):
    """Base of the settings of one provider. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


NOT_OURS = frozenset({"provider", "options", "system_prompt"})
"""Fields of an app's provider configuration that are read elsewhere."""

S = TypeVar("S", bound=ProviderSettings)


def read_settings(
    model: type[S], config: BaseModel | Mapping[str, Any] | None, options: Mapping[str, Any], *, of: str
) -> S:
    """Settings from a config object and keyword arguments; the keyword arguments win.

    Args:
        model: the settings to make.
        config: a pydantic model or a mapping with the same fields, None for the defaults. A model of
            another class (:class:`voxtra.config.STTConfig`) may hold further fields in ``options``; what is
            None there counts as not given.
        options: keyword arguments as they were given.
        of: the provider's class name, for the message.

    Raises:
        ConfigurationError: a field is unknown or has a wrong value; names it and the mend.
    """
    given: dict[str, Any] = {}
    if isinstance(config, model):
        if not options:
            return config
        given = {name: getattr(config, name) for name in config.model_fields_set}
    elif isinstance(config, BaseModel):
        fields = {name: getattr(config, name) for name in type(config).model_fields if name not in NOT_OURS}
        given = {name: value for name, value in fields.items() if value is not None}
        given |= getattr(config, "options", None) or {}
    elif isinstance(config, Mapping):
        given = dict(config)
    elif config is not None:
        raise ConfigurationError(
            f"{of}: the config is a {type(config).__name__}, it must be a mapping or a pydantic model"
        )
    given |= options
    for name in given:
        if name not in model.model_fields:
            raise ConfigurationError(f"{of} has no option {name!r}{did_you_mean(name, model.model_fields)}")
    try:
        return model(**given)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "options"
        value = "…" if "key" in where else repr(first["input"])
        raise ConfigurationError(f"{of}: {where} = {value}: {first['msg']}") from None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``": did you mean 'x'?"`` when something known is close, else what is known."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f": did you mean {close[0]!r}?" if close else f": it knows {', '.join(names)}"


def is_english(language: str) -> bool:
    """Whether a BCP 47 tag is some English."""
    return language.lower().replace("_", "-").split("-")[0] == "en"
