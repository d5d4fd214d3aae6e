"""How alike two texts are, 0..100. A thin face of rapidfuzz, which comes with the ``local`` extra."""

from __future__ import annotations

from voxtra.errors import MissingExtraError


def ratio(one: str, other: str) -> float:
    """Likeness letter by letter (normalised indel distance).

    Raises:
        MissingExtraError: rapidfuzz is not installed.
    """
    try:
        from rapidfuzz import fuzz
    except ImportError:
        raise MissingExtraError("fuzzy matching (rapidfuzz)", "local") from None
    return float(fuzz.ratio(one, other))
