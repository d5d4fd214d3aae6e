"""What a log leaves out: secrets always, numbers of people by a policy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

Numbers: TypeAlias = Literal["mask", "hide", "show"]

HIDDEN = "***"
_SHORTEST_SECRET = 4
_DEEPEST = 6
_SECRET_NAME = (
    r"(?:pass(?:word|wd|phrase)?|secret(?:[-_]?key)?|(?:api|access|private|signing)[-_]?(?:key|secret)"
    r"|token|credentials?)"
)
_SECRETS = (
    (re.compile(rf"(?i)((?<![a-z]){_SECRET_NAME}[\"']?\s*=\s*)([\"'])(?:(?!\2).)+\2"), rf"\1\2{HIDDEN}\2"),
    (re.compile(rf"(?i)({_SECRET_NAME}[\"']\s*:\s*)[0-9][^\s,}}\]]*"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)((?<![a-z]){_SECRET_NAME}[\"']?\s*=\s*[\"']?)([^\s\"'&,;)}}\]]+)"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)({_SECRET_NAME}[\"']\s*:\s*[\"'])([^\"']+)"), rf"\1{HIDDEN}"),
    (
        re.compile(r"(?i)((?:authorization|x-api-key|set-cookie|cookie)[\"']?\s*[:=]\s*[\"']?)[^\r\n\"']+"),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?i)\b((?:bearer|basic)\s+)[a-z0-9._~+/-]{8,}=*"), rf"\1{HIDDEN}"),
    (re.compile(r"(://[^/\s:@]*):[^/\s]+@"), rf"\1:{HIDDEN}@"),
)
_KEYS = re.compile(
    r"(?i)(?<![\w.])((?:digits?|dtmf|keys(?: pressed)?|pin|cvv|cvc)[\"']?\s*[=:]\s*[\"']?)([0-9A-D#*]+)(?![\w.])"
)
_NUMBERS = re.compile(
    r"(?<![\w.-])(?:\d{4}[ -]){3}\d{1,7}(?!\w)"  # of a card
    r"|(?<![\w.-])\d{4}[ -]\d{6}[ -]\d{4,5}(?!\w)"  # of one with 15 or 14 digits
    r"|(?<!\w)\+\d{1,3}(?:[ .()/-]{1,2}\d{1,4}){2,6}(?!\w)"  # +44 20 7946 0958
    r"|(?<![\w.-])\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?!\w)"  # (555) 123-4567
    r"|(?<![\w.+-])\+?\d{7,19}(?!\w|[.:]\d|-[0-9a-f]{4}-)"  # not 1700000000.7, a channel; not a UUID
)
_NAMED_SECRET = re.compile(rf"(?i)(?<![a-z]){_SECRET_NAME}$|authorization|cookie")
_NAMED_KEYS = re.compile(r"(?i)^(digits?|dtmf|keys|pin|cvv|cvc)$")


class Redactor:
    """Takes out of text, and of values with names, what nobody should read.

    Args:
        secrets: known ones; wherever they stand (4 characters or more) they become ``***``. What looks like one by
            its name (``password=...``, ``Authorization: ...``, ``https://user:...@host``) always does.
        numbers: of telephones and cards (7 digits or more): ``mask`` leaves the last ``digits`` (``***67``), ``hide``
            none, ``show`` all. Keys pressed (``digit='5'``) are hidden but with ``show``.
        digits: how many.
    """

    def __init__(self, secrets: Iterable[str] = (), *, numbers: Numbers = "mask", digits: int = 2) -> None:
        known = {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}
        # The longest first: one may be part of another.
        words = "|".join(re.escape(each) for each in sorted(known, key=len, reverse=True))
        self._known = re.compile(words) if words else None
        self._numbers = numbers
        self._digits = 0 if numbers == "hide" else digits

    def text(self, text: str) -> str:
        """``text`` without it."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        for pattern, instead in _SECRETS:
            text = pattern.sub(instead, text)
        if self._numbers == "show":
            return text
        text = _KEYS.sub(rf"\1{HIDDEN}", text)
        return _NUMBERS.sub(self._masked, text)

    def _masked(self, found: re.Match[str]) -> str:
        digits = re.sub(r"\D", "", found[0])
        return HIDDEN + (digits[-self._digits :] if self._digits else "")

    def value(self, name: str, value: Any, depth: int = 0) -> Any:
        """A value of that name, as JSON may hold it, without it."""
        if _NAMED_SECRET.search(name) or (self._numbers != "show" and _NAMED_KEYS.search(name)):
            return HIDDEN
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int):
            shown = self.text(str(value))
            return value if shown == str(value) else shown
        if depth < _DEEPEST and isinstance(value, Mapping):
            return {str(key): self.value(str(key), each, depth + 1) for key, each in value.items()}
        if depth < _DEEPEST and isinstance(value, list | tuple | set):
            return [self.value("", each, depth + 1) for each in value]
        return self.text(str(value))
