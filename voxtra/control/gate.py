"""The gate before every call that costs money: which numbers, whose, how many, how long. Default: none.

Numbers are judged by Google's metadata (the package ``phonenumbers``). The same gate is before transfers.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from voxtra.errors import ConfigurationError, MissingExtraError, VoxtraError
from voxtra.wire import ErrorCode

try:
    import phonenumbers
    from phonenumbers import PhoneNumberType
except ImportError:
    raise MissingExtraError("the HTTP API", "api") from None

DAY_S = 86_400.0
_BUCKET_S = 60.0
_COSTLY = {
    PhoneNumberType.PREMIUM_RATE: "a premium rate number",
    PhoneNumberType.SHARED_COST: "a shared cost number",
    PhoneNumberType.UAN: "a company-wide access number",
    PhoneNumberType.PERSONAL_NUMBER: "a personal number, which forwards at a price",
    PhoneNumberType.PAGER: "a pager",
}
_NO_COUNTRY = {870: "satellite (Inmarsat)", 878: "personal", 881: "satellite", 882: "international network",
               883: "international network", 888: "relief", 979: "premium rate"}  # fmt: skip
"""Country codes of no country (ITU-T E.164 lists them as global services)."""


class Denied(VoxtraError):
    """A call that the gate does not let through.

    Attributes:
        code: the wire's error code.
        field: which input is to blame, "" for none.
        retry_after: seconds after which it may work, None where waiting won't help.
    """

    def __init__(
        self,
        message: str,
        code: ErrorCode = "FORBIDDEN",
        *,
        field: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.field = field
        self.retry_after = retry_after


class TrunkRules(Protocol):
    """What the gate wants to know of a trunk."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def destinations(self) -> Sequence[str]:
        """Rules as :func:`check_rule` has them; none allows nothing."""

    @property
    def caller_ids(self) -> Sequence[str]:
        """Numbers that calls may show, E.164 or a prefix with ``*``; none allows nothing."""

    @property
    def channels(self) -> int:
        """Calls at once."""

    @property
    def org(self) -> str | None:
        """Whose it is, None = everybody's: two organisations may each have a trunk of one name."""

    @property
    def costly(self) -> bool:
        """Whether a rule that names them lets premium numbers and the like through."""


@dataclass(slots=True, frozen=True)
class Caps:
    """What one organisation may use.

    Attributes:
        calls_per_second: new calls, averaged over two seconds.
        concurrent: calls at once.
        minutes_per_day: talking and ringing in any 24 hours, of this process; calls are hung up when it is used up.
        minutes_per_call: a call is hung up after so long.
    """

    calls_per_second: float = 1.0
    concurrent: int = 10
    minutes_per_day: float = 600.0
    minutes_per_call: float = 120.0


def check_rule(rule: str) -> str:
    """A destination rule: ``"GB"`` (a country), ``"+44"`` or ``"+4420"`` (a prefix), ``"+442079460000"``, ``"*"``.

    A prefix that goes beyond the country code also lets numbers through that are premium, or that the
    numbering plan does not know; ``*``, a country and a country code don't.

    Raises:
        ConfigurationError: it is none of these.
    """
    if rule == "*" or re.fullmatch(r"\+[1-9][0-9]{0,14}", rule, re.ASCII):
        return rule
    if rule in phonenumbers.SUPPORTED_REGIONS:
        return rule
    raise ConfigurationError(
        f"destination {rule!r}: should be a country like 'GB', a prefix like '+44' or '+4420', or '*' for all"
    )


def check_destination(to: str, rules: Sequence[str], *, costly: bool = True) -> None:
    """Whether ``to`` (E.164) may be called.

    Args:
        costly: whether a prefix that names them lets premium numbers and the like through.

    Raises:
        Denied: BAD_REQUEST when it is no number, FORBIDDEN when no rule allows it.
    """
    try:
        number = phonenumbers.parse(to, None)
    except phonenumbers.NumberParseException as error:
        raise Denied(f"to = {to!r}: {error}", "BAD_REQUEST", field="to") from None
    if not phonenumbers.is_possible_number(number):
        raise Denied(f"to = {to!r}: too short or too long for its country", "BAD_REQUEST", field="to")
    country = f"+{number.country_code}"
    if costly and any(
        rule.startswith("+") and len(rule) > len(country) and to.startswith(rule) for rule in rules
    ):
        return  # named on purpose
    region = phonenumbers.region_code_for_number(number)
    if not any(rule in ("*", region) or (rule.startswith("+") and to.startswith(rule)) for rule in rules):
        raise Denied(f"to = {to!r}: the trunk's destinations don't allow it", field="to")
    if why := _why_not(number):
        hint = f"; a destination like {to[:-4]!r} would allow it" if costly else ""
        raise Denied(f"to = {to!r}: {why}{hint}", field="to")
    plain = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if plain != to:  # judged without a prefix that would be dialled: who knows where that leads
        raise Denied(f"to = {to!r}: should be {plain!r}", "BAD_REQUEST", field="to")


def _why_not(number: Any) -> str:
    if number.country_code in _NO_COUNTRY:
        return f"a {_NO_COUNTRY[number.country_code]} number"
    if not phonenumbers.is_valid_number(number):
        return "its country's numbering plan has no such number"
    return _COSTLY.get(phonenumbers.number_type(number), "")


@dataclass(slots=True)
class _Account:
    """What one organisation uses now."""

    tokens: float
    filled: float
    live: set[Admission] = field(default_factory=set)
    used: deque[tuple[float, float]] = field(default_factory=deque)
    """Until when it counts, less a day, s: calls that end in one ``_BUCKET_S`` are one."""
    total: float = 0.0

    def seconds(self, now: float) -> float:
        """Used in the last day, calls that live included."""
        while self.used and self.used[0][0] <= now - DAY_S:
            self.total -= self.used.popleft()[1]
        return self.total + sum(now - each.began for each in self.live)


@dataclass(eq=False, slots=True)
class Admission:
    """A call let through. ``release`` it when the call has ended; twice is as good as once."""

    org: str
    trunk: tuple[str | None, str]
    began: float
    _gate: Gate

    @property
    def left_s(self) -> float:
        """How long the call may still go on, if all that its organisation has now do: less once more begin."""
        return self._gate._left(self)

    def release(self) -> None:
        """The call has ended: its place is free, its time counted."""
        self._gate._release(self)


class Gate:
    """Lets calls through, or says why not.

    Args:
        caps: of an organisation; ``orgs`` has those that differ.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        caps: Caps | None = None,
        orgs: dict[str, Caps] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._caps = caps or Caps()
        self._orgs = orgs or {}
        self._clock = clock
        self._accounts: dict[str, _Account] = {}
        self._trunks: dict[tuple[str | None, str], int] = {}

    def admit(self, org: str, trunk: TrunkRules, to: str, from_: str) -> Admission:
        """Let one call (or one transfer's new leg) of ``org`` through.

        Raises:
            Denied: naming the field, or the cap and when to come again.
        """
        check_destination(to, trunk.destinations, costly=trunk.costly)
        if not any(
            from_ == own or (own.endswith("*") and from_.startswith(own[:-1])) for own in trunk.caller_ids
        ):
            raise Denied(f"from = {from_!r}: trunk {trunk.id} may not show it", field="from")
        caps = self._orgs.get(org, self._caps)
        now = self._clock()
        account = self._accounts.setdefault(org, _Account(_burst(caps), now))
        self._check_caps(caps, account, now)
        name = trunk.org, trunk.id
        if self._trunks.get(name, 0) >= trunk.channels:
            raise Denied(
                f"trunk {trunk.id} has its {trunk.channels} calls already", "TOO_MANY_REQUESTS", retry_after=5
            )
        self._take_token(caps, account, now)  # last: a call refused for another reason costs none
        admission = Admission(org, name, now, self)
        account.live.add(admission)
        self._trunks[name] = self._trunks.get(name, 0) + 1
        return admission

    def _left(self, admission: Admission) -> float:
        caps = self._orgs.get(admission.org, self._caps)
        account, now = self._accounts[admission.org], self._clock()
        day = caps.minutes_per_day * 60 - account.seconds(now)
        return min(admission.began + caps.minutes_per_call * 60 - now, day / max(1, len(account.live)))

    def _check_caps(self, caps: Caps, account: _Account, now: float) -> None:
        if len(account.live) >= caps.concurrent:
            raise Denied(f"{caps.concurrent} calls at once are the limit", "TOO_MANY_REQUESTS", retry_after=5)
        if account.seconds(now) >= caps.minutes_per_day * 60:
            raise Denied(
                f"{caps.minutes_per_day:g} minutes a day are the limit", "TOO_MANY_REQUESTS", retry_after=3600
            )

    def _take_token(self, caps: Caps, account: _Account, now: float) -> None:
        rate = caps.calls_per_second
        account.tokens = min(_burst(caps), account.tokens + (now - account.filled) * rate)
        account.filled = now
        if account.tokens < 1:
            wait = (1 - account.tokens) / rate
            raise Denied(f"{rate:g} new calls a second are the limit", "TOO_MANY_REQUESTS", retry_after=wait)
        account.tokens -= 1

    def _release(self, admission: Admission) -> None:
        account = self._accounts[admission.org]
        if admission not in account.live:
            return
        account.live.discard(admission)
        now = self._clock()
        seconds = now - admission.began
        account.total += seconds
        ended = (
            now // _BUCKET_S + 1
        ) * _BUCKET_S  # one stamp a bucket: stamped anew, a busy one would never expire
        if account.used and account.used[-1][0] == ended:
            seconds += account.used.pop()[1]
        account.used.append((ended, seconds))
        self._trunks[admission.trunk] -= 1
        if not self._trunks[admission.trunk]:
            del self._trunks[admission.trunk]


def _burst(caps: Caps) -> float:
    return max(1.0, 2 * caps.calls_per_second)
