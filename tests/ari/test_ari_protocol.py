"""Messages in, requests out, refusals to errors: no I/O."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra import errors
from voxtra.ari import events
from voxtra.ari.events import ChannelDtmfReceived, Event, RESTResponse, StasisStart
from voxtra.ari.models import Channel
from voxtra.ari.protocol import Request, Response, encode_request, parse_body, parse_message, refusal

STASIS_START: dict[str, Any] = {
    "type": "StasisStart",
    "timestamp": "2026-11-21T03:22:59.082+0000",
    "args": ["100"],
    "channel": {
        "id": "c1",
        "name": "PJSIP/phone-00000001",
        "state": "Ring",
        "protocol_id": "abc@host",
        "caller": {"name": "Ann", "number": "100"},
        "connected": {"name": "", "number": ""},
        "accountcode": "",
        "dialplan": {
            "context": "default",
            "exten": "1",
            "priority": 2,
            "app_name": "Stasis",
            "app_data": "a",
        },
        "creationtime": "2026-11-21T03:22:58.000+0000",
        "language": "en",
    },
    "asterisk_id": "02:fc:00:00:00:01",
    "application": "a",
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
event_types = sorted(n for n in events.__all__ if n not in ("AnyMessage", "Message", "Event"))
event_fields = sorted({f for n in event_types for f in getattr(events, n).model_fields})


def test_an_event_becomes_its_class() -> None:
    event = parse_message(json.dumps(STASIS_START))
    assert isinstance(event, StasisStart)
    assert event.channel.caller.number == "100"
    assert event.channel.dialplan.priority == 2
    assert event.timestamp == datetime(2026, 11, 21, 3, 22, 59, 82000, UTC)
    assert event.args == ["100"]


def test_unknown_fields_are_kept() -> None:
    raw = STASIS_START | {"mood": {"x": 1}, "channel": STASIS_START["channel"] | {"shoe_size": 44}}
    event = parse_message(json.dumps(raw))
    assert isinstance(event, StasisStart)
    assert event.model_extra == {"mood": {"x": 1}}
    assert event.channel.shoe_size == 44  # type: ignore[attr-defined]


def test_an_unknown_type_becomes_a_plain_event_with_its_fields() -> None:
    event = parse_message(
        '{"type": "ChannelAbducted", "application": "a", "channel": {"id": "c9"}, "by": "UFO"}'
    )
    assert type(event) is Event
    assert event.type == "ChannelAbducted"
    assert event.application == "a"
    assert event.model_extra == {"channel": {"id": "c9"}, "by": "UFO"}


def test_a_field_that_an_older_asterisk_lacks_reads_empty() -> None:
    channel = {k: v for k, v in STASIS_START["channel"].items() if k in ("id", "name", "state")}
    event = parse_message(json.dumps(STASIS_START | {"channel": channel}))
    assert isinstance(event, StasisStart)
    assert event.channel.protocol_id == ""
    assert event.channel.caller.number == ""
    assert "protocol_id" not in event.channel.model_fields_set


@pytest.mark.parametrize(
    "odd",
    [
        {"creationtime": "yesterday"},
        {"caller": {"name": None, "number": "100"}},
        {"state": 7},
        {"dialplan": []},
    ],
)
def test_one_odd_value_costs_that_value_and_not_the_event(odd: dict[str, Any]) -> None:
    event = parse_message(json.dumps(STASIS_START | {"channel": STASIS_START["channel"] | odd}))
    assert isinstance(event, StasisStart)
    assert event.channel.id == "c1"


def test_an_event_without_what_it_is_about_is_a_plain_event() -> None:
    raw = {k: v for k, v in STASIS_START.items() if k != "channel"} | {"args": [1, "b"]}
    event = parse_message(json.dumps(raw))
    assert type(event) is Event
    assert event.model_extra == {"args": [1, "b"]}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "1", '"x"', "{}", '{"type": 3}', '{"type": null}', '{"a":' * 5000]
)
def test_what_is_no_message_is_none(text: str) -> None:
    assert parse_message(text) is None


@settings(max_examples=150, deadline=None)
@given(st.text() | st.binary())
def test_garbage_never_raises(text: str | bytes) -> None:
    parse_message(text)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 700))
def test_a_truncated_event_is_none(length: int) -> None:
    text = json.dumps(STASIS_START)
    assert parse_message(text[: min(length, len(text) - 1)]) is None


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(event_types) | st.text(max_size=8),
    st.dictionaries(st.sampled_from(event_fields) | st.text(max_size=8), json_values, max_size=8),
)
def test_any_object_with_a_type_becomes_an_event_of_that_type(kind: str, fields: dict[str, Any]) -> None:
    text = json.dumps({**fields, "type": kind})
    message = parse_message(text)
    # JSON can hold lone surrogates, which are no text: such a message is dropped as a whole.
    if message is None:
        assert "\\ud" in text
    else:
        assert message.type == kind


def test_a_response_is_told_apart() -> None:
    message = parse_message(
        '{"type":"RESTResponse","request_id":"7","status_code":204,"reason_phrase":"No Content"}'
    )
    assert isinstance(message, RESTResponse)
    assert (message.request_id, message.status_code) == ("7", 204)


def test_a_request_goes_out_as_asterisk_wants_it() -> None:
    request = Request("POST", "/channels/a%2Fb/play", {"media": "sound:x,digits:1"}, '{"é": 1}')
    assert json.loads(encode_request(request, "9")) == {
        "type": "RESTRequest",
        "transaction_id": "",
        "request_id": "9",
        "method": "POST",
        "uri": "channels/a%2Fb/play",
        "query_strings": [{"name": "media", "value": "sound:x,digits:1"}],
        "content_type": "application/json",
        "message_body": '{"é": 1}',
    }


def test_bodies_are_read_as_models_with_the_same_tolerance() -> None:
    body = json.dumps([{"id": "c1"}, {"id": "c2", "creationtime": "never", "caller": {"number": 5}}])
    first, second = parse_body(list[Channel], body)
    assert (first.id, second.id, second.creationtime, second.caller.number) == ("c1", "c2", None, "")
    with pytest.raises(ValueError):
        parse_body(Channel, "<html>")
    with pytest.raises(ValueError):
        parse_body(list[Channel], '{"id": "c1"}')


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, '{"message":"Endpoint must be specified"}', errors.ARIInvalidError),
        (400, '{"message":"Channel not found"}', errors.ARINotFoundError),
        (403, '{"message":"Write access denied"}', errors.ARIForbiddenError),
        (404, '{"message":"Channel not found"}', errors.ARINotFoundError),
        (409, '{"message":"Channel not in Stasis application"}', errors.ARINotInStasisError),
        (412, '{"message":"Channel is not in a Stasis application"}', errors.ARINotInStasisError),
        (422, '{"message":"Channel not in Stasis application"}', errors.ARINotInStasisError),
        (409, '{"message":"Bridge not in Stasis application"}', errors.ARIConflictError),
        (409, '{"message":"Channel with given unique ID already exists"}', errors.ARIConflictError),
        (412, '{"message":"Channel in invalid state"}', errors.ARIConflictError),
        (413, '{"message":"Request body too large"}', errors.ARIInvalidError),
        (422, "", errors.ARIInvalidError),
        (500, '{"error":"Allocation failed"}', errors.ARIServerError),
        (503, "<html>", errors.ARIServerError),
        (302, "", errors.ARIError),
    ],
)
def test_refusals_are_told_apart(status: int, body: str, kind: type[errors.ARIError]) -> None:
    error = refusal(Request("POST", "/channels/c1/answer"), Response(status, "Reason", body))
    assert type(error) is kind
    assert (error.method, error.path, error.status) == ("POST", "/channels/c1/answer", status)
    said = next(iter(json.loads(body).values())) if body.startswith("{") else "Reason"
    assert error.detail == said
    assert said in str(error)


@pytest.mark.parametrize(
    ("path", "query", "kind"),
    [
        ("/channels", {"endpoint": "x"}, errors.ARIServerError),
        ("/channels", {"endpoint": "x", "channelId": "c"}, errors.ARIConflictError),
        ("/channels/create", {"otherChannelId": "c"}, errors.ARIConflictError),
        ("/channels/c", {"endpoint": "x"}, errors.ARIConflictError),
    ],
)
def test_a_conflict_of_ids_needs_an_id(path: str, query: dict[str, str], kind: type[errors.ARIError]) -> None:
    said = '{"message":"Channel with given unique ID already exists"}'
    assert type(refusal(Request("POST", path, query), Response(409, "Conflict", said))) is kind


def test_a_refused_login_is_an_authentication_error() -> None:
    error = refusal(Request("GET", "/channels"), Response(401, "Unauthorized", b'{"message":"no"}'))
    assert isinstance(error, errors.AuthenticationError)
    assert "ari.conf" in str(error)


@settings(max_examples=100, deadline=None)
@given(st.integers(300, 599), st.text(max_size=30) | st.binary(max_size=30) | json_values.map(json.dumps))
def test_no_refusal_is_beyond_words(status: int, body: str | bytes) -> None:
    error = refusal(Request("GET", "/x"), Response(status, "r", body))
    assert isinstance(error, errors.TelephonyError)
    assert str(status) in str(error)


def test_dtmf_event() -> None:
    raw = {"type": "ChannelDtmfReceived", "digit": "#", "duration_ms": 120, "channel": {"id": "c1"}}
    event = parse_message(json.dumps(raw))
    assert isinstance(event, ChannelDtmfReceived)
    assert (event.digit, event.duration_ms) == ("#", 120)
