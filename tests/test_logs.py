"""The log: whose line it is, what it looks like, and what is never in it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from fake_app import running
from hypothesis import given
from hypothesis import strategies as st

from voxtra import CallSession
from voxtra.config import LogConfig, VoxtraConfig
from voxtra.errors import ConfigurationError
from voxtra.logs import JSONFormatter, RedactingFilter, TextFormatter, call_id, set_up_logging
from voxtra.media.clock import Clock
from voxtra.redaction import Redactor


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


# ---- what is taken out


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("login with hunter22", "login with ***"),
        ("password=abc123 next", "password=*** next"),
        ("GET /ari/events?api_key=voxtra:s3cret&app=x", "GET /ari/events?api_key=***&app=x"),
        ('{"signing_secret": "abc", "a": 1}', '{"signing_secret": "***", "a": 1}'),
        ("{'token': 'abc'}", "{'token': '***'}"),
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: ***"),
        ("sent Bearer abcdefgh.ijk", "sent Bearer ***"),
        ("http://voxtra:s3cret@pbx:8088/ari", "http://voxtra:***@pbx:8088/ari"),
        ("http://voxtra:s3@cret@pbx:8088/ari?to=a@b", "http://voxtra:***@pbx:8088/ari?to=a@b"),
        ("call from +15551234567 to 100", "call from ***67 to 100"),
        ("PJSIP/15551234567-0000001a", "PJSIP/***67-0000001a"),
        ("sip:+442079460958@trunk.example", "sip:***58@trunk.example"),
        ("+44 20 7946 0958 called", "***58 called"),
        ("(555) 123-4567", "***67"),
        ("card 4111 1111 1111 1111.", "card ***11."),
        ("card 4111111111111111", "card ***11"),
        ("digit='5' dtmf=1234# digits: 42", "digit='***' dtmf=*** digits: ***"),
        ("/channels/17.4/dtmf?dtmf=1234", "/channels/17.4/dtmf?dtmf=***"),
        # and what stays
        ("channel 1700000000.7 is up", "channel 1700000000.7 is up"),
        ("input_tokens=1200 max_digits=4 key=a", "input_tokens=1200 max_digits=4 key=a"),
        ("2026-11-21 09:30:24.123 took 12345.678 ms", "2026-11-21 09:30:24.123 took 12345.678 ms"),
        ("127.0.0.1:8088 0.123456789", "127.0.0.1:8088 0.123456789"),
        ("id 12345678-1234-4abc-9def-123456789012", "id 12345678-1234-4abc-9def-123456789012"),
        ("extension 100200", "extension 100200"),
        ("asterisk.password: is missing", "asterisk.password: is missing"),
    ],
)
def test_secrets_and_numbers_go_and_the_rest_stays(said: str, written: str) -> None:
    assert Redactor(["hunter22"]).text(said) == written


def test_the_policy_is_the_users() -> None:
    said = "from +15551234567 digit=5 password=abc"
    assert Redactor(numbers="show").text(said) == "from +15551234567 digit=5 password=***"
    assert Redactor(numbers="hide").text(said) == "from *** digit=*** password=***"
    assert Redactor(digits=4).text(said) == "from ***4567 digit=*** password=***"
    assert Redactor(digits=0).text(said) == "from *** digit=*** password=***"


@given(st.text(max_size=80), st.sampled_from(["hunter22", "a+b(c)?", "päss wörd"]), st.text(max_size=80))
def test_a_known_secret_is_never_written_whatever_stands_around_it(
    before: str, secret: str, after: str
) -> None:
    assert secret not in Redactor([secret, secret[:5]]).text(before + secret + after)


@given(st.text(alphabet="+0123456789 .-()", max_size=40))
def test_no_digits_of_a_masked_number_are_left_but_the_last_two(text: str) -> None:
    for run in re.findall(r"(?<![\d.+-])\+?(\d{7,19})(?![\d.-])", text):
        if len(run) > 6:
            written = Redactor().text(f"x {run} y")
            assert re.search(r"\d{3}", written) is None


def test_values_with_names() -> None:
    redactor = Redactor(["hunter22"])
    value = {
        "api_key": "abc",
        "n": [1, 2.5, None, True, "+15551234567"],
        "digits": "42",
        "number": 15551234567,
    }
    assert redactor.value("data", value) == {
        "api_key": "***", "n": [1, 2.5, None, True, "***67"], "digits": "***", "number": "***67",
    }  # fmt: skip
    assert redactor.value("input_tokens", 12) == 12
    deep: list[object] = []
    deep.append(deep)
    json.dumps(redactor.value("x", deep))


# ---- lines


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_of_json_has_everything_and_nothing_of_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", LogConfig(format="json"), secrets=["hunter22"])
    set_up_logging("info", LogConfig(format="json"), secrets=["hunter22"])  # again changes nothing
    try:
        raise ValueError("bad hunter22")
    except ValueError:
        extra = {"call_id": "17.4", "caller": "+15551234567", "password": "x", "tokens": 5}
        logging.getLogger("some.library").exception("login with %s\nfailed", "hunter22", extra=extra)
    logging.getLogger("x").debug("not shown")
    (line,) = lines_of(capsys)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", str(line.pop("time")))
    error = str(line.pop("error"))
    assert error.endswith("ValueError: bad ***")
    assert "hunter22" not in error
    assert line == {
        "level": "error", "logger": "some.library", "call_id": "17.4", "message": "login with ***\nfailed",
        "caller": "***67", "password": "***", "tokens": 5,
    }  # fmt: skip


def test_a_filter_makes_any_handler_safe_for_all_libraries() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(call_id)s|%(name)s|%(message)s|%(caller)s"))
    handler.addFilter(RedactingFilter(Redactor(["hunter22"])))
    logger = logging.getLogger("third.party")
    logger.addHandler(handler)
    token = call_id.set("17.4")
    try:
        raise KeyError("hunter22")
    except KeyError:
        logger.warning(
            "%s dialled %s", "hunter22", "+15551234567", extra={"caller": "15551234567"}, exc_info=True
        )
    finally:
        call_id.reset(token)
        logger.removeHandler(handler)
    first, *trace = out.getvalue().splitlines()
    assert first == "17.4|third.party|*** dialled ***67|***67"
    assert trace[-1] == "KeyError: '***'"
    assert "hunter22" not in out.getvalue()


async def test_every_line_of_a_call_says_which_and_no_other_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    library = logging.getLogger("some.library")

    async def handler(call: CallSession) -> None:
        @call.on_dtmf
        async def key(digit: str) -> None:
            library.info("a key")

        @call.on_hangup
        async def over() -> None:
            library.info("over")

        call.observe(lambda event: None)
        await call.answer()
        library.info("hello")
        asyncio.get_running_loop().call_soon(library.info, "later")
        await asyncio.gather(asyncio.create_task(beside()), asyncio.to_thread(library.info, "a thread"))
        await call.listen_dtmf(max_digits=9, timeout=5)

    async def beside() -> None:
        library.info("a task")

    set_up_logging("info", LogConfig(format="json"))
    async with running(monkeypatch, handler) as world:
        for name in ("1.1", "1.2"):
            world.call(name)
        await asyncio.sleep(0.05)
        library.info("between")
        for name in ("1.1", "1.2"):
            world.ari.press(name, "5")
        await asyncio.sleep(0.05)
        for name in ("1.1", "1.2"):
            world.ari.hang_up(name)
        await world.over()
    found: dict[str, list[object]] = {}
    for line in lines_of(capsys):
        if line["logger"] == "some.library":
            found.setdefault(str(line["message"]), []).append(line["call_id"])
    assert found.pop("between") == [""]
    for message in ("hello", "later", "a task", "a thread", "a key", "over"):
        assert sorted(map(str, found.pop(message))) == ["1.1", "1.2"], message
    assert not found


async def test_the_clock_of_all_calls_is_of_none() -> None:
    """Whoever begins it, what it wakes up is not taken for that call's."""
    ticks: list[str] = []
    token = call_id.set("17.4")
    clock = Clock()
    beat = clock.join(lambda: ticks.append(call_id.get()))
    call_id.reset(token)
    async with asyncio.timeout(5):
        while len(ticks) < 3:
            await asyncio.sleep(0.01)
    clock.leave(beat)
    assert set(ticks) == {""}


def test_the_settings_and_their_complaints(monkeypatch: pytest.MonkeyPatch) -> None:
    config = VoxtraConfig.load(env={"VOXTRA_LOG_FORMAT": "json", "VOXTRA_LOG_NUMBERS": "hide"})
    assert (config.log.format, config.log.numbers, config.log.number_digits) == ("json", "hide", 2)
    with pytest.raises(ConfigurationError, match=r"log\.numbers = 'some'"):
        VoxtraConfig.load(env={"VOXTRA_LOG_NUMBERS": "some"})
    with pytest.raises(ConfigurationError, match="log level 'loud': must be one of"):
        set_up_logging("loud")


def test_text_and_json_say_the_same_of_a_record_without_a_call() -> None:
    record = logging.makeLogRecord(
        {"name": "x", "levelname": "INFO", "levelno": 20, "msg": "%s", "args": ("a",)}
    )
    assert TextFormatter(Redactor()).format(record).endswith(" info    x a")
    assert json.loads(JSONFormatter(Redactor()).format(record))["call_id"] == ""


def test_it_costs_no_library() -> None:
    script = "import voxtra.logs, sys; print(sorted({'aiohttp', 'pydantic', 'numpy'} & set(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.strip() == "[]"


def test_a_log_call_that_is_wrong_in_itself_breaks_nobodys_call(caplog):
    """Whatever a library logs badly is written as it is, without what nobody should read."""
    record = logging.LogRecord(
        "lib", logging.INFO, __file__, 1, "%d of password=hunter22", ("x", "+442071838750"), None
    )
    assert RedactingFilter().filter(record)
    said = record.getMessage()
    assert "%d of" in said
    assert "hunter22" not in said
    assert "2071838750" not in said


@pytest.mark.parametrize("card", ["3782 822463 10005", "3782-822463-10005", "3056 930902 5904"])
def test_cards_of_other_groups_are_masked_too(card: str) -> None:
    assert Redactor().text(f"paid with {card} today") == f"paid with ***{card[-2:]} today"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('login(password="pa ss", user="x")', 'login(password="***", user="x")'),
        ("api_key='a b c' and more", "api_key='***' and more"),
        ('{"password": 1234, "n": 5}', '{"password": ***, "n": 5}'),
        ("the turn [keys pressed: 1234#]", "the turn [keys pressed: ***]"),
    ],
)
def test_a_secret_is_left_out_whole(text: str, shown: str) -> None:
    assert Redactor().text(text) == shown
