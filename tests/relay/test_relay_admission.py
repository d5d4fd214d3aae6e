"""Who is let in, and what they may ask for."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from relay_fakes import FakeCalls, FakeSession

from voxtra.relay import Limits
from voxtra.relay.reception import Reception
from voxtra.relay.request import Refused, Wanted, read
from voxtra.tokens import RelayKeys
from voxtra.wire import AudioFormat

SID = "call-0001"
KEYS = RelayKeys.create()


@given(st.text(max_size=100), st.text(max_size=200))
def test_any_path_and_query_is_read_or_refused(path: str, query: str) -> None:
    for where in (path, f"/voice/{SID}"):
        got = _read(where, query)
        if isinstance(got, Refused):
            assert got.code in (4400, 4404)
            assert 0 < len(got.reason.encode()) <= 120
        else:
            assert got.sid


def _read(path: str, query: str) -> Wanted | Refused:
    try:
        return read(path, query)
    except Refused as refused:
        return refused


@pytest.mark.parametrize("path", [f"/voice/{SID}", f"voice/{SID}", f"/voice/{SID}/"])
def test_what_is_asked_for(path: str) -> None:
    assert read(path, "tok=t").form == AudioFormat()
    wanted = read(path, "tok=a%2Bb&role=caller&codec=pcm16&sampleRate=16000&frameMs=40&channels=1&listen=0")
    assert (wanted.sid, wanted.token, wanted.role, wanted.listen) == (SID, "a+b", "caller", False)
    assert wanted.form == AudioFormat(codec="pcm16", sample_rate=16000, frame_ms=40)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("codec=mp3", "codec='mp3'"),
        ("codec=g711_alaw&sampleRate=16000", "8000 Hz"),
        ("sampleRate=44100", "sampleRate='44100'"),
        ("sampleRate=1e4", "a whole number"),
        ("frameMs=30", "frameMs='30'"),
        ("channels=2", "channels='2'"),
        ("role=admin", "server or caller"),
        ("listen=yes", "0 or 1"),
        ("tok=a&tok=b", "tok is given twice"),
        ("token=a", "'token' is no parameter"),
        ("tok=" + "x" * 9000, "8192 at most"),
        ("&".join(f"a{n}=1" for n in range(40)), "can't be read"),
    ],
)
def test_what_can_not_be_asked_for(query: str, says: str) -> None:
    with pytest.raises(Refused, match=says) as refused:
        read(f"/voice/{SID}", query)
    assert refused.value.code == 4400


def token(**options: object) -> str:
    return KEYS.sign("acme", SID, **options)[0]  # type: ignore[arg-type]


async def test_the_sound_is_shared_by_servers_and_ends_with_the_last() -> None:
    call = FakeSession()
    reception = Reception(FakeCalls(**{SID: call}), KEYS)
    admission = reception.admit(f"/voice/{SID}", f"tok={token()}")
    assert admission.role == "server"
    async with reception.attach(admission) as one:
        async with reception.attach(reception.admit(f"/voice/{SID}", f"tok={token()}")) as two:
            assert one is two
            assert reception.stats.attached == 2
        assert not one.ended.done()
    assert one.ended.done()
    assert reception._calls == {}
    assert (reception.stats.attached, reception.stats.admitted) == (0, 2)
    async with reception.attach(admission) as three:
        assert three is not one
        assert not three.ended.done()


async def test_the_role_is_the_tokens_where_it_has_one() -> None:
    reception = Reception(FakeCalls(**{SID: FakeSession()}), KEYS)
    assert reception.admit(f"/voice/{SID}", f"tok={token(role='caller')}").role == "caller"
    assert reception.admit(f"/voice/{SID}", f"tok={token()}&role=caller").role == "caller"
    with pytest.raises(Refused, match="role caller, not server") as refused:
        reception.admit(f"/voice/{SID}", f"tok={token(role='caller')}&role=server")
    assert refused.value.code == 4401
    assert reception.stats.refused == 1


async def test_a_call_that_ends_while_one_attaches() -> None:
    call = FakeSession()
    reception = Reception(FakeCalls(**{SID: call}), KEYS)
    admission = reception.admit(f"/voice/{SID}", f"tok={token()}")
    call.end()
    with pytest.raises(Refused, match="ended") as refused:
        async with reception.attach(admission):
            raise AssertionError("attached to a call that is over")
    assert refused.value.code == 4410
    assert (reception.stats.attached, reception._calls) == (0, {})
    with pytest.raises(Refused) as again:
        reception.admit(f"/voice/{SID}", f"tok={token()}")
    assert again.value.code == 4404


async def test_limits() -> None:
    calls = FakeCalls(**{SID: FakeSession(), "call-0002": FakeSession()})
    reception = Reception(calls, KEYS, Limits(attachments=2, per_call=1))
    mine = reception.admit(f"/voice/{SID}", f"tok={token()}")
    async with reception.attach(mine):
        with pytest.raises(Refused, match="1 connections on this call"):
            async with reception.attach(mine):
                pass
        other = reception.admit("/voice/call-0002", f"tok={KEYS.sign('acme', 'call-0002')[0]}")
        async with reception.attach(other):
            with pytest.raises(Refused, match="as many as this relay takes") as refused:
                reception.admit(f"/voice/{SID}", f"tok={token()}")
            assert refused.value.code == 4429
    await asyncio.sleep(0)
    assert reception.stats.attached == 0
