"""Writes numbers out the way people say them on the phone, where an engine would read them as amounts.

Telephone numbers and codes are said digit by digit, in groups; amounts, dates and times are left alone.
"""

from __future__ import annotations

import re

_GROUPED = re.compile(
    r"(?<![\w.,$£€#:/-])(\+\d{1,3}[ .-]?)?(\(\d{2,5}\)|\d{2,5})((?:[ .-]\d{2,5}){1,5})(?![\w/:%-]|[.,]\d)"
)
_PLUS = re.compile(r"(?<!\w)\+(\d{7,15})(?!\w)")
_NAMED = re.compile(
    r"\b((?:pin|code|extension|ext\.?|account|reference|booking|confirmation|phone|telephone|room|flight)"
    r"(?: (?:number|no\.|code|id))?(?: is| are|:)?"
    r"|(?:order|ticket|case|invoice|policy|card)(?:(?: (?:number|no\.|id))(?: is| are|:)?|(?= ?#)))"
    r" ?#?(\d{3,19})(?![\w/:%-]|[.,]\d)",
    re.IGNORECASE,
)
_LONG = re.compile(r"(?<![\w.,$£€:/-])(0\d{2,}|\d{7,19})(?![\w/:%-]|[.,]\d)")
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?: \d{3})+")
_DATE = re.compile(r"\d{4}[-.]\d{1,2}[-.]\d{1,2}|\d{1,2}[-.]\d{1,2}[-.]\d{2,4}")


def _digits(text: str) -> str:
    return " ".join(char for char in text if char.isdigit())


def _in_groups(digits: str) -> str:
    """Four or fewer in one breath, more in threes, the rest last."""
    if len(digits) <= 4:
        return _digits(digits)
    cuts = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    if len(cuts[-1]) == 1:  # 3 + 1 is said as 4
        cuts[-2:] = [cuts[-2] + cuts[-1]]
    return ", ".join(_digits(cut) for cut in cuts)


def _grouped(match: re.Match[str]) -> str:
    whole = match.group()
    count = sum(char.isdigit() for char in whole)
    # two short groups are a range or a score ("10-12"), a date is a date, thousands may be set with spaces
    if count < 7 or _DATE.fullmatch(whole) or _THOUSANDS.fullmatch(whole):
        return whole
    country, area, rest = match.groups()
    groups = [re.sub(r"\D", "", area), *re.findall(r"\d+", rest)]
    said = ", ".join(_digits(group) for group in groups)
    return f"plus {_digits(country)}, {said}" if country else said


def spoken(text: str) -> str:
    """``text`` with telephone numbers and codes as digits: ``"code 0042"`` → ``"code 0 0 4 2"``."""
    text = _GROUPED.sub(_grouped, text)
    text = _PLUS.sub(lambda match: f"plus {_in_groups(match.group(1))}", text)
    text = _NAMED.sub(lambda match: f"{match.group(1)} {_in_groups(match.group(2))}", text)
    return _LONG.sub(lambda match: _in_groups(match.group()), text)
