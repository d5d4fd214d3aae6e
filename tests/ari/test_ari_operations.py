"""Generated operations: what they send, what they give back."""

from __future__ import annotations

import json

import pytest

from voxtra.ari.models import Channel
from voxtra.ari.operations import (
    ApplicationsOperations,
    AsteriskOperations,
    BridgesOperations,
    ChannelsOperations,
    EndpointsOperations,
    RecordingsOperations,
)
from voxtra.ari.protocol import Request
from voxtra.errors import ARIInvalidError, ARIServerError


class Recorder:
    """A sender that keeps the request and gives a set answer."""

    def __init__(self, answer: str | bytes = "") -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.timeouts: list[float | None] = []

    async def send(self, request: Request, timeout_s: float | None) -> str | bytes:
        self.requests.append(request)
        self.timeouts.append(timeout_s)
        return self.answer

    @property
    def last(self) -> Request:
        return self.requests[-1]


@pytest.mark.proves("failure 20")
async def test_ids_are_percent_encoded() -> None:
    sender = Recorder()
    await ChannelsOperations(sender).answer(channel_id="a/b;2 é?#%")
    assert sender.last == Request("POST", "/channels/a%2Fb%3B2%20%C3%A9%3F%23%25/answer")


@pytest.mark.parametrize("bad", ["", ".", ".."])
async def test_an_id_that_would_name_another_resource_is_refused_here(bad: str) -> None:
    sender = Recorder()
    with pytest.raises(ARIInvalidError, match="channelId"):
        await ChannelsOperations(sender).hangup(channel_id=bad)
    assert sender.requests == []


async def test_parameters_go_out_in_asterisks_spelling_and_none_is_left_out() -> None:
    sender = Recorder()
    bridges = BridgesOperations(sender)
    await bridges.add_channel(bridge_id="b", channel=["c1", "c2"], absorb_dtmf=True, mute=False)
    assert sender.last.query == {"channel": "c1,c2", "absorbDTMF": "true", "mute": "false"}
    await bridges.add_channel(bridge_id="b", channel="c1")
    assert sender.last.query == {"channel": "c1"}
    assert sender.last.body == ""


async def test_bodies_are_json_wrapped_as_the_schema_says() -> None:
    sender = Recorder('{"id": "c1"}')
    channels = ChannelsOperations(sender)
    made = await channels.originate(
        endpoint="PJSIP/x", timeout=-1, variables={"A": "1", "B": {"value": "2", "report_events": True}}
    )
    assert isinstance(made, Channel)
    assert sender.last.query == {"endpoint": "PJSIP/x", "timeout": "-1"}
    assert json.loads(sender.last.body) == {
        "variables": {"A": "1", "B": {"value": "2", "report_events": True}}
    }
    sender.answer = '{"name": "a"}'
    await ApplicationsOperations(sender).filter(application_name="a", filter={"allowed": []})
    assert json.loads(sender.last.body) == {"allowed": []}
    sender.answer = "[]"
    await AsteriskOperations(sender).update_object(
        config_class="res_pjsip", object_type="auth", id="x", fields=[{"attribute": "a", "value": "b"}]
    )
    assert json.loads(sender.last.body) == {"fields": [{"attribute": "a", "value": "b"}]}


async def test_words_that_python_keeps_for_itself_get_an_underscore() -> None:
    sender = Recorder()
    await EndpointsOperations(sender).send_message(to="pjsip:a", from_="sip:b", body="hi")
    assert sender.last.query == {"to": "pjsip:a", "from": "sip:b", "body": "hi"}


async def test_a_stored_recording_comes_as_bytes() -> None:
    sender = Recorder(b"RIFF\x00\xff")
    got = await RecordingsOperations(sender).get_stored_file(recording_name="a/b", request_timeout_s=60)
    assert got == b"RIFF\x00\xff"
    assert sender.last == Request("GET", "/recordings/stored/a%2Fb/file", binary=True)
    assert sender.timeouts == [60]


@pytest.mark.proves("failure 25")
async def test_an_answer_that_is_not_aris_is_a_typed_error() -> None:
    with pytest.raises(ARIServerError, match="Asterisk"):
        await ChannelsOperations(Recorder("<html>hello</html>")).list()
