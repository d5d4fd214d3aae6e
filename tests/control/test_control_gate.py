"""The gate: numbers, caps, and that what is taken is given back."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.control.gate import DAY_S, Caps, Denied, Gate, check_destination, check_rule
from voxtra.errors import ConfigurationError

LONDON = "+442079460018"


@dataclass(frozen=True)
class Trunk:
    id: str = "main"
    destinations: tuple[str, ...] = ("GB", "+1555")
    caller_ids: tuple[str, ...] = ("+15558675309", "+4420*")
    channels: int = 100
    org: str | None = None
    costly: bool = True


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def gate(clock: Clock | None = None, **caps: float) -> Gate:
    roomy = {"calls_per_second": 1000, "concurrent": 1000, "minutes_per_day": 1e6, "minutes_per_call": 60}
    return Gate(Caps(**{**roomy, **caps}), clock=clock or Clock())  # type: ignore[arg-type]


@pytest.mark.parametrize(("to", "rules"), [
    (LONDON, ["GB"]), (LONDON, ["+44"]), (LONDON, ["+4420"]), (LONDON, [LONDON]), (LONDON, ["*"]),
    ("+15551234567", ["+1555"]),     # the numbering plan has none: named on purpose
    ("+19005551234", ["+1900"]),     # premium: named on purpose
    ("+881612345678", ["+8816"]),
])  # fmt: skip
def test_allowed(to: str, rules: list[str]) -> None:
    check_destination(to, rules)


@pytest.mark.parametrize(("to", "rules", "why", "code"), [
    (LONDON, [], "destinations don't allow", "FORBIDDEN"),
    (LONDON, ["US", "+49"], "destinations don't allow", "FORBIDDEN"),
    ("+19005551234", ["US"], "premium", "FORBIDDEN"),
    ("+19005551234", ["+1", "*"], "premium", "FORBIDDEN"),
    ("+881612345678", ["*"], "satellite", "FORBIDDEN"),
    ("+881612345678", ["+881"], "satellite", "FORBIDDEN"),
    ("+15551234567", ["US", "+1", "*"], "no such number", "FORBIDDEN"),
    ("+4411", ["GB"], "too short", "BAD_REQUEST"),
    ("+112125551234", ["US", "*"], r"should be '\+12125551234'", "BAD_REQUEST"),  # judged without its second 1
    ("+4402079460018", ["GB"], r"should be '\+442079460018'", "BAD_REQUEST"),
    ("+44207946001899", ["GB"], "too short or too long", "BAD_REQUEST"),
    ("+999123456789", ["*"], "to =", "BAD_REQUEST"),
    ("911", ["*"], "to =", "BAD_REQUEST"),
    ("PJSIP/alice", ["*"], "to =", "BAD_REQUEST"),
    ("+44 20 7946 0018&Local/s@vx", ["*"], "to =", "BAD_REQUEST"),
])  # fmt: skip
def test_denied(to: str, rules: list[str], why: str, code: str) -> None:
    with pytest.raises(Denied, match=why) as caught:
        check_destination(to, rules)
    assert (caught.value.code, caught.value.field) == (code, "to")


@given(st.text(max_size=20), st.lists(st.sampled_from(["*", "GB", "+44", "+1555"])))
def test_any_text_is_allowed_or_denied(to: str, rules: list[str]) -> None:
    try:
        check_destination(to, rules)
    except Denied:
        return
    assert rules


@pytest.mark.parametrize("rule", ["", "+", "44", "UK", "gb", "+0123", "GB,US", "+٤٤", "+44*"])
def test_a_rule_that_is_none(rule: str) -> None:
    with pytest.raises(ConfigurationError, match="destination"):
        check_rule(rule)


@pytest.mark.parametrize("rule", ["*", "GB", "+1", "+4420", LONDON])
def test_a_rule(rule: str) -> None:
    assert check_rule(rule) == rule


def test_a_caller_id_of_somebody_else() -> None:
    with pytest.raises(Denied, match="may not show") as caught:
        gate().admit("a", Trunk(), LONDON, "+15550000000")
    assert (caught.value.code, caught.value.field) == ("FORBIDDEN", "from")
    gate().admit("a", Trunk(), LONDON, "+442079460999")


def test_at_once_per_organisation() -> None:
    door = gate(concurrent=2)
    first, _ = (door.admit("a", Trunk(), LONDON, "+15558675309") for _ in range(2))
    with pytest.raises(Denied, match="2 calls at once") as caught:
        door.admit("a", Trunk(), LONDON, "+15558675309")
    assert caught.value.code == "TOO_MANY_REQUESTS"
    assert caught.value.retry_after
    door.admit("b", Trunk(), LONDON, "+15558675309")  # another's is another's
    first.release()
    first.release()
    door.admit("a", Trunk(), LONDON, "+15558675309")
    with pytest.raises(Denied, match="at once"):
        door.admit("a", Trunk(), LONDON, "+15558675309")


def test_at_once_on_a_trunk() -> None:
    door = gate()
    only = door.admit("a", Trunk(channels=1), LONDON, "+15558675309")
    with pytest.raises(Denied, match="trunk main has its 1 calls"):
        door.admit("b", Trunk(channels=1), LONDON, "+15558675309")
    only.release()
    door.admit("b", Trunk(channels=1), LONDON, "+15558675309")


def test_trunks_of_one_name_are_two_where_two_organisations_have_them() -> None:
    door = gate()
    door.admit("a", Trunk(channels=1, org="a"), LONDON, "+15558675309")
    door.admit("b", Trunk(channels=1, org="b"), LONDON, "+15558675309")
    with pytest.raises(Denied, match="has its 1 calls"):
        door.admit("b", Trunk(channels=1, org="b"), LONDON, "+15558675309")


def test_what_is_costly_is_named_by_who_pays() -> None:
    lent = Trunk(destinations=("+1900", "+1555", "+4420"), costly=False)
    for costly in ("+19005551234", "+15551234567"):
        with pytest.raises(Denied, match=r"premium|no such number"):
            gate().admit("a", lent, costly, "+15558675309")
    gate().admit("a", lent, LONDON, "+15558675309")


def test_new_calls_a_second() -> None:
    clock = Clock()
    door = gate(clock, calls_per_second=2)
    for _ in range(4):
        door.admit("a", Trunk(), LONDON, "+15558675309")
    with pytest.raises(Denied, match="2 new calls a second") as caught:
        door.admit("a", Trunk(), LONDON, "+15558675309")
    assert caught.value.retry_after == pytest.approx(0.5)
    clock.now += 0.5
    door.admit("a", Trunk(), LONDON, "+15558675309")


def test_a_call_that_is_refused_costs_no_token() -> None:
    door = gate(calls_per_second=0.5)
    for _ in range(10):
        with pytest.raises(Denied):
            door.admit("a", Trunk(), "+33123456789", "+15558675309")
    door.admit("a", Trunk(), LONDON, "+15558675309")


def test_minutes_a_day() -> None:
    clock = Clock()
    door = gate(clock, minutes_per_day=10, minutes_per_call=8)
    first = door.admit("a", Trunk(), LONDON, "+15558675309")
    assert first.left_s == 480
    clock.now += 300
    first.release()
    assert door.admit("a", Trunk(), LONDON, "+15558675309").left_s == 300  # what is left of the day
    clock.now += 300  # it lives still, and counts
    with pytest.raises(Denied, match="10 minutes a day"):
        door.admit("a", Trunk(), LONDON, "+15558675309")
    clock.now += DAY_S - 299
    with pytest.raises(Denied, match="minutes a day"):  # the second one never ended
        door.admit("a", Trunk(), LONDON, "+15558675309")


def test_calls_at_once_share_what_is_left_of_the_day() -> None:
    clock = Clock()
    door = gate(clock, minutes_per_day=10)
    calls = [door.admit("a", Trunk(), LONDON, "+15558675309") for _ in range(3)]
    assert [call.left_s for call in calls] == [200, 200, 200]
    clock.now += 100
    calls.pop().release()
    assert [call.left_s for call in calls] == [150, 150]
    clock.now += 150
    assert [call.left_s for call in calls] == [0, 0]
    with pytest.raises(Denied, match="10 minutes a day"):
        door.admit("a", Trunk(), LONDON, "+15558675309")


def test_the_day_rolls_on_though_calls_never_pause() -> None:
    clock = Clock()
    door = gate(clock, minutes_per_day=530)
    for _ in range(1650):  # 25 hours of 20 s in every 55: 524 minutes in any day
        call = door.admit("a", Trunk(), LONDON, "+15558675309")
        clock.now += 20
        call.release()
        clock.now += 35


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.floats(0, 100)), max_size=60))
def test_what_is_taken_is_given_back(steps: list[tuple[str, bool, float]]) -> None:
    clock = Clock()
    door = gate(clock, concurrent=3)
    live: dict[str, list] = {"a": [], "b": []}
    for org, take, wait in steps:
        clock.now += wait
        if take and len(live[org]) < 3:
            live[org].append(door.admit(org, Trunk(), LONDON, "+15558675309"))
        elif take:
            with pytest.raises(Denied):
                door.admit(org, Trunk(), LONDON, "+15558675309")
        elif live[org]:
            live[org].pop().release()
    for each in (*live["a"], *live["b"]):
        each.release()
    for org in "ab":
        for _ in range(3):
            door.admit(org, Trunk(), LONDON, "+15558675309")
