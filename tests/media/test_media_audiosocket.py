import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.errors import AudioSocketError
from voxtra.media.audiosocket import MAX_PAYLOAD_BYTES, Handshake, Kind, Parser, build

messages = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=400)), max_size=12)


def split(data, cuts):
    at = 0
    for cut in cuts:
        yield data[at : at + cut]
        at += cut
    yield data[at:]


@pytest.mark.proves("failure 1")
@settings(max_examples=200, deadline=None)
@given(messages, st.lists(st.integers(0, 300), max_size=20))
def test_any_split_gives_the_same_messages(items, cuts):
    parser, out = Parser(), []
    for part in split(b"".join(build(kind, payload) for kind, payload in items), cuts):
        out += parser.feed(part)
        assert parser.pending <= 3 + MAX_PAYLOAD_BYTES
    assert out == items
    assert parser.pending == 0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=20))
def test_garbage_is_messages_or_an_error_and_memory_is_bounded(parts):
    parser = Parser(max_payload=100)
    for part in parts:
        try:
            assert all(len(payload) <= 100 for _, payload in parser.feed(part))
        except AudioSocketError:
            return
        assert parser.pending < 103


def test_too_long_is_refused_at_the_header():
    with pytest.raises(AudioSocketError, match="0x10 announces 65535 B"):
        Parser().feed(b"\x10\xff\xff")


@pytest.mark.proves("failure 1")
@pytest.mark.parametrize(
    ("kind", "payload", "header"),
    [
        (Kind.HANGUP, b"", b"\x00\x00\x00"),
        (Kind.UUID, bytes(16), b"\x01\x00\x10"),
        (Kind.DTMF, b"#", b"\x03\x00\x01"),
        (Kind.SLIN, bytes(320), b"\x10\x01\x40"),
        (Kind.SLIN12, bytes(480), b"\x11\x01\xe0"),
        (Kind.SLIN16, bytes(640), b"\x12\x02\x80"),
        (Kind.SLIN24, bytes(960), b"\x13\x03\xc0"),
        (Kind.SLIN32, bytes(1280), b"\x14\x05\x00"),
        (Kind.SLIN44, bytes(1764), b"\x15\x06\xe4"),
        (Kind.SLIN48, bytes(1920), b"\x16\x07\x80"),
        (Kind.SLIN96, bytes(3840), b"\x17\x0f\x00"),
        (Kind.SLIN192, bytes(7680), b"\x18\x1e\x00"),
        (Kind.ERROR, b"\x01", b"\xff\x00\x01"),
    ],
)
def test_a_message_on_the_wire(kind, payload, header):
    """Type, then the payload's length as two bytes, the high one first: 20 ms of each rate."""
    assert build(kind, payload) == header + payload
    assert list(Parser().feed(header + payload)) == [(kind, payload)]


@given(st.uuids(version=4), st.lists(st.integers(0, 10), max_size=10), st.binary(max_size=20))
def test_handshake_in_any_split(number, cuts, after):
    handshake, found, rest = Handshake(), None, b""
    for part in split(build(Kind.UUID, number.bytes) + after, cuts):
        if found is not None:
            rest += part
        elif (found := handshake.feed(part)) is not None:
            rest = handshake.rest
    assert found == number
    assert rest == after


@pytest.mark.parametrize(
    "data", [b"\x10", b"\x00\x00\x00", b"\x01\x01", b"\x01\x00\x24" + bytes(36), b"GET /"]
)
def test_anything_else_first_is_refused(data):
    with pytest.raises(AudioSocketError):
        Handshake().feed(data)


def test_one_byte_too_few_is_not_enough():
    handshake = Handshake()
    number = uuid.uuid4()
    assert handshake.feed(build(Kind.UUID, number.bytes)[:-1]) is None
    assert handshake.feed(number.bytes[-1:]) == number
