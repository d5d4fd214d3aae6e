import itertools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.media.rtp import MAX_PACKET_BYTES, Jitter, Packet, Sender, build, parse

packets = st.builds(
    Packet,
    payload_type=st.integers(0, 127),
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(max_size=400),
    marker=st.booleans(),
)


@given(packets)
def test_what_is_built_is_parsed(packet):
    assert parse(build(packet)) == packet


def test_a_packet_from_the_wire():
    data = bytes.fromhex("80 80 1234 00000140 deadbeef") + b"\xff" * 160
    assert parse(data) == Packet(0, 0x1234, 320, 0xDEADBEEF, b"\xff" * 160, True)


def test_csrc_extension_and_padding_are_taken_off():
    header = struct.pack("!BBHII", 0x80 | 0x20 | 0x10 | 2, 8, 1, 2, 3)
    data = header + bytes(8) + struct.pack("!HH", 0xBEDE, 1) + bytes(4) + b"sound" + b"\0\0\x03"
    assert parse(data).payload == b"sound"
    assert parse(memoryview(bytearray(data))).payload == b"sound"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(11),
        b"\x40" + bytes(30),  # version 1
        b"\x8f" + bytes(11),  # 15 CSRCs that are not there
        b"\x90" + bytes(11),  # an extension that is not there
        b"\x90" + bytes(11) + b"\0\0\xff\xff",  # ... or too long
        b"\xa0" + bytes(15),  # padding of no length
        b"\xa0" + bytes(15) + b"\xff",  # ... or of more than there is
        b"\x80" + bytes(MAX_PACKET_BYTES),
    ],
)
def test_broken_packets_are_none(data):
    assert parse(data) is None


@settings(max_examples=300)
@given(st.binary(max_size=80))
def test_garbage_is_a_packet_or_none(data):
    for candidate in (data, b"\x80" + data, b"\xbf" + data):
        packet = parse(candidate)
        assert packet is None or len(packet.payload) <= len(candidate) - 12


def test_sender_counts_and_wraps():
    sender = Sender(0)
    sent = [parse(sender.next(bytes(160))) for _ in range(70_000)]
    assert sent[0].marker
    assert not any(packet.marker for packet in sent[1:])
    for before, after in itertools.pairwise(sent):
        assert (after.sequence - before.sequence) & 0xFFFF == 1
        assert (after.timestamp - before.timestamp) & 0xFFFFFFFF == 160
        assert after.ssrc == before.ssrc


def test_a_spurt_that_begins_early_has_the_marker_and_leaves_the_timestamps_alone():
    sender = Sender(0)
    packets = [parse(sender.next(b"x" * 160)) for _ in range(2)]
    sender.begin_spurt()
    packets += [parse(sender.next(b"x" * 160)) for _ in range(2)]
    assert [packet.marker for packet in packets] == [True, False, True, False]
    steps = [(b.timestamp - a.timestamp) % 2**32 for a, b in itertools.pairwise(packets)]
    assert steps == [160] * 3


def test_jitter_of_an_even_stream_is_nothing_and_of_an_uneven_one_what_the_rfc_says():
    even, uneven = Jitter(), Jitter()
    for n in range(200):
        even.add(n * 0.02, n * 160)
        uneven.add(n * 0.02 + (0.005 if n % 2 else 0), n * 160)
    assert even.ms == pytest.approx(0, abs=1e-6)
    assert uneven.ms == pytest.approx(5, abs=0.1)
