from __future__ import annotations

import functools
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.errors import ConfigurationError, RouteNotFoundError
from voxtra.router import DispatchRule, Router


async def one(call: object) -> None: ...


async def two(call: object) -> None: ...


async def three(call: object) -> None: ...


async def found(router: Router, extension: str = "100", number: str = "4711", **info: Any) -> Any:
    return (await router.resolve(extension=extension, number=number, call_info=info)).handler


def complaint(action: Any) -> str:
    with pytest.raises(ConfigurationError) as error:
        action()
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- who takes a call


async def test_routes_in_order_then_rules_then_the_default() -> None:
    router = Router()
    assert not router
    router.route(extension="100")(one)
    router.route(number="4711")(two)
    router.default()(three)
    assert router
    assert await found(router) is one
    assert await found(router, "200") is two
    assert await found(router, "200", "1") is three

    async def rule(*, extension: str, number: str, **info: Any) -> bool:
        return number == "1"

    router.add_dispatch_rule(rule, two)
    assert await found(router, "200", "1") is two
    assert await found(router, "200", "2") is three


async def test_nothing_takes_it() -> None:
    router = Router()
    router.route(extension="100")(one)
    with pytest.raises(RouteNotFoundError, match="calls to '200' from '4711': add a @default"):
        await found(router, "200")


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("100", "100", True),
        ("100", "1001", False),
        ("+4420*", "+44201234", True),
        ("+4420*", "+4420", True),
        ("+4420*", "+4421", False),
        ("**", "*9", True),
        ("1*0", "110", False),
        ("s", "S", False),
    ],
)
async def test_patterns(pattern: str, value: str, fits: bool) -> None:
    for option, arguments in (("extension", (value, "x")), ("number", ("x", value))):
        router = Router()
        router.route(**{option: pattern})(one)  # type: ignore[arg-type]
        router.default()(two)
        assert await found(router, *arguments) is (one if fits else two)


@pytest.mark.proves("trailing * in a route")
@pytest.mark.parametrize("caller", ["+4420", "anonymous", ""])
async def test_a_star_alone_is_any_caller_and_the_key_of_that_name(caller: str) -> None:
    router = Router()
    router.route(extension="100", number="*")(one)
    router.route(extension="*")(two)
    router.default()(three)
    assert [await found(router, dialled, caller) for dialled in ("100", "*", "200")] == [one, two, three]


@given(st.text("0123456789XZNxzn[]-*#+.!AB", max_size=8), st.text("0123456789*#+A", max_size=6))
def test_any_dialplan_pattern_is_refused_at_once_or_never(pattern: str, value: str) -> None:
    router = Router()
    try:
        router.route(extension="_" + pattern)(one)
    except ConfigurationError:
        assert not router.routes
    else:
        assert router.routes[0].matches(value, "") in (True, False)


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("_2XX", ["200", "299"], ["300", "2000", "20", "2AA"]),
        ("_0[2-5].", ["021", "0512345"], ["02", "061"]),
        ("_N!", ["2", "212"], ["1", ""]),
        ("_+44ZX.", ["+442079"], ["+440079", "442079"]),
        ("_[*#]1", ["*1", "#1"], ["11"]),
    ],
)
def test_dialplan_patterns(pattern: str, fits: list[str], fits_not: list[str]) -> None:
    router = Router()
    router.route(extension=pattern)(one)
    (route,) = router.routes
    assert [value for value in [*fits, *fits_not] if route.matches(value, "")] == fits


@pytest.mark.parametrize("pattern", ["_", "_:", "_2.X", "_[", "_[9-0]", "_[]", "_2 0"])
def test_dialplan_patterns_that_cannot_be(pattern: str) -> None:
    assert repr(pattern) in complaint(lambda: Router().route(number=pattern))


async def test_a_router_takes_over_another() -> None:
    router, other = Router(), Router()
    router.route(extension="1")(one)
    other.route(extension="1")(two)
    other.route(extension="2")(two)
    other.default()(three)
    router.include(other)
    assert [await found(router, extension) for extension in "123"] == [one, two, three]
    assert "itself" in complaint(lambda: router.include(router))
    assert "a Router is wanted" in complaint(lambda: router.include(None))  # type: ignore[arg-type]


@given(st.text(min_size=1).filter(lambda text: not text.startswith("_")), st.text())
def test_any_pattern_against_anything(pattern: str, value: str) -> None:
    router = Router()
    router.route(extension=pattern)(one)
    prefix = len(pattern) > 1 and pattern.endswith("*") and value.startswith(pattern[:-1])
    assert router.routes[0].matches(value, "") == (pattern == value or prefix)


@pytest.mark.proves("extension=, number=, both or neither")
async def test_both_must_fit_and_neither_takes_all() -> None:
    router = Router()
    router.route(extension="100", number="4711")(one)
    router.route()(two)
    assert await found(router) is one
    assert await found(router, "100", "1") is two


async def test_metadata_and_names() -> None:
    router = Router()
    metadata = {"queue": "sales"}
    router.route(extension="1", metadata=metadata)(one)
    router.route(extension="2", name="second")(two)
    metadata["queue"] = "changed afterwards"
    resolution = await router.resolve(extension="1", number="")
    assert (resolution.metadata, resolution.name) == ({"queue": "sales"}, "one")
    assert (await router.resolve(extension="2", number="")).name == "second"


async def test_one_handler_for_several_routes() -> None:
    router = Router()
    assert router.route(extension="1")(router.route(extension="2")(one)) is one
    assert await found(router, "1") is await found(router, "2") is one


# ---- rules


async def test_rules_as_classes_instances_and_functions() -> None:
    class ByPrefix(DispatchRule):
        handler = None
        metadata: ClassVar = {"by": "prefix"}

        def matches(self, *, extension: str, number: str, **info: Any) -> bool:
            return extension.startswith("9") and info["channel"] == "PJSIP/x"

    class Own(DispatchRule):
        async def handler(self, call: object) -> None: ...  # type: ignore[override]

        async def matches(self, *, extension: str, number: str) -> bool:  # type: ignore[override]
            return extension == "8"

    async def picks(*, extension: str, call_info: dict[str, Any]) -> Any:
        return two if extension == "7" and call_info["channel"] else None

    router = Router()
    router.add_dispatch_rule(ByPrefix, one)
    router.add_dispatch_rule(Own())
    router.add_dispatch_rule(picks)
    router.default()(three)
    resolution = await router.resolve(extension="91", number="", call_info={"channel": "PJSIP/x", "args": []})
    assert (resolution.handler, resolution.metadata) == (one, {"by": "prefix"})
    assert (await found(router, "8", channel="PJSIP/x")).__name__ == "handler"
    assert await found(router, "7", channel="PJSIP/x") is two
    assert await found(router, "6", channel="PJSIP/x") is three


async def test_a_function_that_matches_without_a_handler_takes_nothing() -> None:
    async def yes(**info: Any) -> bool:
        return True

    router = Router()
    router.add_dispatch_rule(yes)
    router.default()(one)
    assert await found(router) is one


def test_rules_that_cannot_be() -> None:
    class NoMatches(DispatchRule): ...

    class NeedsMore(DispatchRule):
        def __init__(self, table: dict[str, str]) -> None: ...

        def matches(self, **info: Any) -> bool:
            return True

    class NoHandler(DispatchRule):
        def matches(self, **info: Any) -> bool:
            return True

    def not_async(**info: Any) -> bool:
        return True

    router = Router()
    add = router.add_dispatch_rule
    assert "can't be made" in complaint(lambda: add(NoMatches, one))
    assert "NeedsMore" in complaint(lambda: add(NeedsMore, one))
    assert "no DispatchRule" in complaint(lambda: add(int, one))  # type: ignore[arg-type]
    assert "has no handler" in complaint(lambda: add(NoHandler()))
    assert "neither a DispatchRule nor an async function" in complaint(lambda: add(not_async, one))  # type: ignore[arg-type]
    assert "neither" in complaint(lambda: add(None, one))  # type: ignore[arg-type]
    assert "async def" in complaint(lambda: add(NoHandler(), not_async))  # type: ignore[arg-type]
    assert not router


# ---- bad input


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"extention": "100"}, "no option 'extention': did you mean 'extension'?"),
        ({"colour": "red"}, "no option 'colour': known are extension, number, name, metadata"),
        ({"extension": 100}, "extension='100'"),
        ({"number": 4711}, "number='4711'"),
        ({"name": 5}, "name='5'"),
        ({"extension": ""}, "may not be empty"),
        ({"number": ""}, "may not be empty"),
        ({"metadata": ["a"]}, "metadata=['a']): a dict is wanted"),
    ],
)
def test_bad_options(options: dict[str, Any], said: str) -> None:
    assert said in complaint(lambda: Router().route(**options))


def test_decorators_without_parentheses() -> None:
    router = Router()
    assert "with parentheses above one" in complaint(lambda: router.route(one))
    assert "parentheses" in complaint(lambda: router.default(one))
    assert "parentheses" in complaint(lambda: router.default_route(one))
    assert "route(extension='100')" in complaint(lambda: router.route("100"))


def test_handlers_that_are_none() -> None:
    def sync(call: object) -> None: ...

    async def takes_nothing() -> None: ...

    async def takes_two(call: object, more: object) -> None: ...

    router = Router()
    for wrong, said in (
        (sync, "async def sync(call)"),
        (takes_nothing, "one argument"),
        (takes_two, "one argument"),
    ):
        assert said in complaint(lambda wrong=wrong: router.route()(wrong))
        assert said in complaint(lambda wrong=wrong: router.default()(wrong))
    assert "async def" in complaint(lambda: router.route()(5))  # type: ignore[type-var]


async def test_handlers_that_are() -> None:
    class Office:
        async def __call__(self, call: object) -> None: ...

        async def desk(self, call: object) -> None: ...

    async def with_more(table: object, call: object) -> None: ...

    for handler in (Office(), Office().desk, functools.partial(with_more, {})):
        router = Router()
        router.default_route()(handler)
        assert await found(router) is handler


def test_one_default_only() -> None:
    router = Router()
    router.default()(one)
    assert "a default handler already: one" in complaint(lambda: router.default()(two))
