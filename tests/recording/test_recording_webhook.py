"""News for a backend: signed, in order, through every fault, and never lost at the end."""

import asyncio
import hashlib
import hmac
import json
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from voxtra import VoxtraApp
from voxtra.config import VoxtraConfig
from voxtra.errors import ConfigurationError
from voxtra.events import CallEndedEvent, DTMFEvent, EventType, UserTranscriptEvent, VoxtraEvent
from voxtra.recording.answers import retry_after_s
from voxtra.recording.spool import Spool
from voxtra.webhook import BackendWebhook, WebhookConfig, payload, verify_signature

sys.path.insert(0, str(Path(__file__).parents[1]))
from faults import FaultProxy


class Receiver:
    """A backend that acts once for each event id."""

    def __init__(self, *answers, delay=0.0):
        self.answers, self.delay = list(answers), delay
        self.got, self.ids = [], Counter()
        self.at_once = self.most_at_once = 0

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/hook", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _take(self, request):
        body = await request.read()
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        await asyncio.sleep(self.delay)
        self.at_once -= 1
        status, *headers = self.answers.pop(0) if self.answers else (204,)
        if status < 300:
            event_id = request.headers["X-Voxtra-Event-Id"]
            if not self.ids[event_id]:
                self.got.append((request.headers, body))
            self.ids[event_id] += 1
        return web.Response(status=status, headers=dict(headers))

    @property
    def bodies(self):
        return [json.loads(body) for _, body in self.got]


def config(url, **more):
    return WebhookConfig(url, private_urls=True, **{"backoff": 0.02, "flush": 5.0, "left": None} | more)


def digits(text, session="vx-1"):
    return [DTMFEvent(digit=each, session_id=session) for each in text]


@pytest.mark.proves(
    "BackendWebhook(config)",
    "WebhookConfig(url, signing_secret, events, timeout, retries, backoff)",
    "X-Voxtra-Event, X-Voxtra-Event-Id, X-Voxtra-Session-Id",
    "X-Voxtra-Signature of an event",
    "voxtra.BackendWebhook",
)
async def test_an_event_has_its_headers_its_body_and_its_signatures():
    event = CallEndedEvent(
        reason="hangup", duration_seconds=2.5, cause=16, session_id="vx-1", data={"a": "ü"}
    )
    async with Receiver() as receiver:
        async with BackendWebhook(config(receiver.url, signing_secret=SecretStr("s3cret"))) as hook:
            hook.send(event)
        ((headers, body),) = receiver.got
    assert hook.sent == 1
    assert json.loads(body) == {
        "id": event.id,
        "type": "call.ended",
        "session_id": "vx-1",
        "sequence": 1,
        "timestamp": event.timestamp.isoformat(timespec="milliseconds"),
        "data": {"a": "ü", "reason": "hangup", "duration_seconds": 2.5, "cause": 16},
    }
    assert headers["X-Voxtra-Event"] == "call.ended"
    assert headers["X-Voxtra-Event-Id"] == event.id
    assert headers["X-Voxtra-Session-Id"] == "vx-1"
    assert headers["X-Voxtra-Signature"] == hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    for name in ("X-Voxtra-Signature", "X-Voxtra-Signature-Timed"):
        assert verify_signature("s3cret", body, headers[name])
        assert not verify_signature("s3cret", body + b" ", headers[name])
        assert not verify_signature("other", body, headers[name])


def test_an_old_request_is_not_believed_again():
    from voxtra.webhook import signature_headers

    header = signature_headers(b"s", b"body", now=1000.0)["X-Voxtra-Signature-Timed"]
    assert header.startswith("t=1000,v1=")
    assert verify_signature(b"s", b"body", header, now=lambda: 1200.0)
    assert not verify_signature(b"s", b"body", header, now=lambda: 1301.0)
    assert not verify_signature(b"s", b"body", header, now=lambda: 600.0)
    assert not verify_signature(b"s", b"body", header.replace("t=1000", "t=1290"), now=lambda: 1300.0)


@given(st.text(max_size=60))
def test_no_other_header_is_believed_or_crashes(header):
    assert not verify_signature("s3cret", b"body", header)
    assert not verify_signature("s3cret", b"body", f"t={header},v1=")


async def test_without_a_secret_there_is_no_signature():
    async with Receiver() as receiver:
        async with BackendWebhook(config(receiver.url)) as hook:
            hook.send(*digits("1"))
        assert not [name for name in receiver.got[0][0] if "Signature" in name]


async def test_only_what_is_asked_for_is_sent():
    async with Receiver() as receiver:
        async with BackendWebhook(
            config(receiver.url, events=[EventType.DTMF_RECEIVED, "call.ended"])
        ) as hook:
            for event in (*digits("1"), UserTranscriptEvent(text="hi"), CallEndedEvent(session_id="vx-1")):
                hook.send(event)
        assert [body["type"] for body in receiver.bodies] == ["dtmf.received", "call.ended"]


async def test_calls_go_side_by_side_and_each_in_its_order():
    answers = [(503,), (204,), (500,), (204,), (204,), (503,)] * 5
    async with Receiver(*answers, delay=0.002) as receiver:
        async with BackendWebhook(config(receiver.url, retries=20, parallel=4)) as hook:
            for digit in "0123456789":
                for call in ("a", "b", "c"):
                    hook.send(*digits(digit, call))
        found = dict.fromkeys("abc", "")
        for body in receiver.bodies:
            found[body["session_id"]] += body["data"]["digit"]
    assert found == dict.fromkeys("abc", "0123456789")
    assert 1 < receiver.most_at_once <= 4
    assert hook.lost == 0


@pytest.mark.parametrize(("status", "tries"), [(400, 1), (404, 1), (302, 1), (429, 3), (408, 3), (500, 3)])
async def test_what_is_of_no_use_is_not_tried_again(status, tries, caplog):
    seen = []
    async with Receiver(*[(status,)] * tries) as receiver:
        async with BackendWebhook(config(receiver.url, retries=2)) as hook:
            hook.send(*digits("1"))
            hook.send(*digits("2"))
            async with asyncio.timeout(5):
                while not receiver.got:
                    await asyncio.sleep(0.005)
        seen = [body["data"]["digit"] for body in receiver.bodies]
    assert seen == ["2"]  # the call's next one goes on
    assert f"given up after {tries} attempts" in caplog.text
    assert f"answered {status}" in caplog.text


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_kept(status):
    async with Receiver((status, ("Retry-After", "1"))) as receiver:
        began = time.monotonic()
        async with BackendWebhook(config(receiver.url)) as hook:
            hook.send(*digits("1"))
        assert time.monotonic() - began >= 1
        assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0), ("0", 0.0), ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0), ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("", None), ("soon", None), ("-5", None), ("1e3", None), ("٣", None), ("9" * 40, 999_999_999.0),
    ],
)  # fmt: skip
def test_retry_after_is_a_number_or_a_date(value, seconds):
    assert retry_after_s(value, lambda: 1_700_000_000.0) == seconds


async def _reset(proxy):
    for _ in range(6):
        await asyncio.sleep(0.03)
        proxy.reset()


async def _stall(proxy):
    proxy.stall()
    await asyncio.sleep(0.5)
    proxy.resume()


async def _refuse(proxy):
    proxy.refuse = True
    proxy.reset()
    await asyncio.sleep(0.4)
    proxy.refuse = False


async def _lose_answers(proxy):
    proxy.swallow = True
    await asyncio.sleep(0.5)
    proxy.swallow = False
    proxy.reset()


async def _slow(proxy):
    proxy.latency_s = 0.02


FAULTS = {
    "none": None, "503": [(503,)] * 15, "429": [(429,)] * 15, "reset": _reset, "stall": _stall,
    "refused": _refuse, "lost acknowledgement": _lose_answers, "slow": _slow,
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kept", ["memory", "folder"])
async def test_no_fault_loses_an_event(fault, kept, tmp_path):
    how = FAULTS[fault]
    spool = tmp_path if kept == "folder" else None
    async with Receiver(*(how if isinstance(how, list) else [])) as receiver:
        async with FaultProxy("127.0.0.1", receiver.port) as proxy:
            url = proxy.url + "/hook"
            made = config(url, retries=60, timeout=0.2, backoff=0.01, spool=spool, flush=20)
            async with BackendWebhook(made) as hook:
                fault_task = asyncio.ensure_future(how(proxy)) if callable(how) else None
                for digit in "01234":
                    for call in range(8):
                        hook.send(*digits(digit, f"vx-{call}"))
                    await asyncio.sleep(0.01)
                if fault_task is not None:
                    await fault_task
        found = {f"vx-{call}": "" for call in range(8)}
        for body in receiver.bodies:
            found[body["session_id"]] += body["data"]["digit"]
        again = sum(receiver.ids.values()) - len(receiver.ids)
    print(
        f"webhook, {kept}, {fault}: sent 40 stored {len(receiver.ids)} arrived twice {again} lost {hook.lost}"
    )
    assert set(found.values()) == {"01234"}
    assert hook.lost == 0


async def test_what_a_stop_finds_waiting_stays_in_the_spool_and_goes_out_next_time(tmp_path):
    made = config("http://127.0.0.1:9/hook", spool=tmp_path, flush=0.1)
    async with BackendWebhook(made) as hook:
        for event in digits("123"):
            hook.send(event)
    assert (hook.sent, hook.lost) == (0, 0)
    async with Receiver() as receiver, FaultProxy("127.0.0.1", receiver.port):
        again = BackendWebhook(config(receiver.url, spool=tmp_path))
        again._shown = hook._shown  # the same address, which nobody listened to before
        async with again:
            again.send(*digits("4"))
        assert [body["data"]["digit"] for body in receiver.bodies] == list("1234")


async def test_without_a_spool_what_is_left_at_the_end_is_kept_for_the_next_start(tmp_path, caplog):
    left = tmp_path / "left"
    async with BackendWebhook(config("http://127.0.0.1:9/hook?token=hidden", flush=0.05, left=left)) as hook:
        for event in digits("123"):
            hook.send(event)
    assert (hook.sent, hook.lost) == (0, 0)
    assert "3 events are not delivered yet" in caplog.text
    assert "hidden" not in caplog.text
    async with Receiver() as receiver:
        again = BackendWebhook(config(receiver.url, left=left))
        again._shown = hook._shown  # the same address, which nobody listened to before
        async with again:
            again.send(*digits("4"))
        assert [body["data"]["digit"] for body in receiver.bodies] == list("1234")
        assert [body["session_id"] for body in receiver.bodies] == ["vx-1"] * 4


async def test_all_delivered_leaves_no_folder(tmp_path):
    left = tmp_path / "left"
    async with Receiver() as receiver, BackendWebhook(config(receiver.url, left=left)) as hook:
        for event in digits("123"):
            hook.send(event)
    assert hook.sent == 3
    assert not left.exists()


async def test_what_cannot_be_kept_is_said(tmp_path, caplog):
    """Another process has the folder."""
    left = tmp_path / "left"
    holder = Spool(left)
    await holder.open()
    hook = BackendWebhook(config("http://127.0.0.1:9/hook", flush=0.05, left=left))
    async with hook:
        assert "what an earlier run left stays there" in caplog.text
        for event in digits("12"):
            hook.send(event)
    await holder.close()
    assert hook.lost == 2
    assert "2 events lost" in caplog.text


async def test_what_is_left_may_be_thrown_away(caplog):
    async with BackendWebhook(config("http://127.0.0.1:9/hook", flush=0.05, left=None)) as hook:
        for event in digits("123"):
            hook.send(event)
    assert hook.lost == 3
    assert "3 events lost" in caplog.text


async def test_a_flood_is_bounded_and_said(caplog):
    hook = BackendWebhook(config("http://127.0.0.1:9/hook", max_waiting=10, flush=0, left=None))
    for event in digits("1" * 15):
        hook.send(event)
    assert hook.lost == 5
    await hook.start()
    await asyncio.sleep(0.05)
    for event in digits("1" * 10):
        hook.send(event)
    await hook.close()
    assert hook.lost == 25


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "http://[::1]/", "http://10.0.0.1/", "http://169.254.169.254/"]
)
def test_a_private_address_wants_to_be_allowed(url):
    with pytest.raises(ConfigurationError, match="private_urls=True"):
        WebhookConfig(url)


async def test_a_name_that_leads_into_the_private_network_is_not_connected_to(caplog):
    async with Receiver() as receiver:
        made = WebhookConfig(f"http://localhost:{receiver.port}/hook", flush=5)
        async with BackendWebhook(made) as hook:
            hook.send(*digits("1"))
        assert receiver.got == []
    assert "no address of the public internet" in caplog.text
    assert "given up after 1 attempts" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"url": "ftp://x/"}, "no http or https"),
        ({"url": "https://a..b/"}, "no http or https"),
        ({"url": "https://[::1"}, "no http or https"),
        ({"events": ["call.endet"]}, "'call.endet' is none of"),
        ({"events": "call.ended"}, r"events='call.ended': should be a list"),
        ({"events": None}, "events=None: should be a list"),
        ({"url": None}, "url=None: should be text"),
        ({"signing_secret": None}, "signing_secret: should be text"),
        ({"signing_secret": b"s3cret"}, "signing_secret: should be text"),
        ({"timeout": "10"}, "timeout='10': should be a number"),
        ({"retries": None}, "retries=None: should be a number"),
        ({"timeout": 0}, "timeout"),
        ({"retries": -1}, "retries"),
        ({"parallel": 0}, "parallel"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(ConfigurationError, match=said) as caught:
        WebhookConfig(**{"url": "https://backend.example/hook"} | wrong)
    assert "s3cret" not in str(caught.value)


def test_a_secret_is_not_shown():
    assert "s3cret" not in repr(WebhookConfig("https://x.example/", signing_secret="s3cret"))


def test_a_payload_is_json_whatever_is_in_it():
    event = VoxtraEvent(type=EventType.ERROR, session_id="x", data={"what": object(), "n": 1})
    assert json.loads(json.dumps(payload(event, 7)))["sequence"] == 7


@pytest.mark.proves("VoxtraApp(webhook=)")
async def test_an_app_tells_of_its_calls_and_delivers_before_it_has_stopped(monkeypatch):
    from fake_app import running

    async with Receiver(delay=0.01) as receiver:
        async with running(monkeypatch, webhook=config(receiver.url, signing_secret="s3cret")) as world:

            @world.app.default()
            async def handler(call):
                await call.answer()

            world.call("caller")
            await world.over()
        told = [body["type"] for body in receiver.bodies]
        assert told[:2] == ["session.created", "call.started"]
        assert told[-2:] == ["call.ended", "session.destroyed"]
        assert [body["sequence"] for body in receiver.bodies] == list(range(1, len(told) + 1))
        assert told == world.types()


async def test_an_app_starts_and_closes_its_sink(monkeypatch, tmp_path):
    from fake_app import running

    from voxtra.recording import LocalFileSink, SpooledSink

    sink = SpooledSink(LocalFileSink(tmp_path / "out"), tmp_path / "spool", min_free=0)
    async with running(monkeypatch, recording_sink=sink):
        assert sink._spool.is_open
    assert not sink._spool.is_open


async def test_an_app_tells_the_backend_of_its_settings(monkeypatch, tmp_path):
    from fake_app import World

    backend = {
        "private_urls": True,
        "events": ["call.ended"],
        "signing_secret": "s3cret",
        "spool": str(tmp_path),
    }
    async with Receiver() as receiver, Receiver() as other:
        keywords = {"asterisk.app_name": "test", "backend": {"url": receiver.url, **backend}}
        settings = VoxtraConfig.load(env={}, keywords=keywords)
        world = World(monkeypatch)
        world.app.configure(settings)

        @world.app.default()
        async def handler(call):
            await call.answer()

        await world.app.start()
        world.call("caller")
        await world.over()
        await world.app.stop(0)
        assert [body["type"] for body in receiver.bodies] == ["call.ended"]
        assert world.app.webhook.config.secret == b"s3cret"
        app = VoxtraApp.from_config(settings, webhook=config(other.url))
        assert app.webhook.config.url == other.url  # what the program says is above the settings
        app = VoxtraApp.from_config(settings)
        app.configure(VoxtraConfig.load(env={}))
        assert app.webhook is None
        assert app._listeners == []


async def test_what_processes_beyond_those_of_now_have_left_is_said(tmp_path, caplog):
    async with BackendWebhook(config("http://127.0.0.1:1/", spool=tmp_path)) as first:
        second = BackendWebhook(config("http://127.0.0.1:1/", spool=tmp_path))
        with pytest.raises(ConfigurationError, match="in use by another"):
            await second.start()
        second.share(2)
        async with second:
            assert second._spool.folder == tmp_path / "process-2"
            assert not caplog.records
        assert first._spool.folder == tmp_path
    async with BackendWebhook(config("http://127.0.0.1:1/", spool=tmp_path)):
        assert "process-2 is of a process more than run now" in caplog.text


async def test_numbers_of_calls_that_are_over_are_forgotten_whatever_is_asked_for():
    async with Receiver() as receiver:
        async with BackendWebhook(config(receiver.url, events=["call.ended"])) as hook:
            for number in range(3):
                hook.send(CallEndedEvent(session_id=f"vx-{number}"))
                hook.send(VoxtraEvent(type=EventType.SESSION_DESTROYED, session_id=f"vx-{number}"))
        assert [body["sequence"] for body in receiver.bodies] == [1, 1, 1]
    assert hook._numbers == {}


async def test_an_event_that_is_no_json_is_lost_alone_and_half_a_character_is_none(caplog):
    async with Receiver() as receiver, BackendWebhook(config(receiver.url)) as hook:
        hook.send(VoxtraEvent(type=EventType.ERROR, session_id="vx-1", data={("a", 1): "odd"}))
        hook.send(UserTranscriptEvent(session_id="vx-1", text="half \ud83d of it"))
        hook.send(*digits("1"))
        await asyncio.sleep(0.3)
        assert [body["data"].get("text", "-") for body in receiver.bodies] == ["half \ud83d of it", "-"]
    assert hook.lost == 1
    assert "error" in caplog.text


def test_with_no_secret_nothing_is_proven():
    with pytest.raises(ConfigurationError, match="secret is empty"):
        verify_signature("", b"body", hmac.new(b"", b"body", hashlib.sha256).hexdigest())
    assert not verify_signature("s", b"body", "\udcff")  # as servers give bytes that are no UTF-8


async def test_what_waits_for_another_url_is_said(tmp_path, caplog):
    async with BackendWebhook(config("http://127.0.0.1:9/old", spool=tmp_path, flush=0)) as hook:
        hook.send(*digits("1"))
    async with BackendWebhook(config("http://127.0.0.1:9/new", spool=tmp_path, flush=0)):
        assert "has 1 for webhook http://127.0.0.1:9/old" in caplog.text
