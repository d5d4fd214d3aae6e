"""The instrument itself: μ-law, media time, keys, voice; and session descriptions."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.testing import rtp, sdp
from voxtra.testing.rtp import RTP, DigitReader, MediaTime, Packet
from voxtra.testing.sip import SIPError


def test_ulaw_is_that_of_g711() -> None:
    # ITU-T G.711, table 2a: decision values and the values in the middle, 14 bits there and 16 here
    values = {
        0xFF: 0,
        0xFE: 8,
        0xF0: 120,
        0xEF: 132,
        0xDF: 396,
        0x8F: 16764,
        0x80: 32124,
        0x00: -32124,
        0x7E: -8,
    }
    for code, value in values.items():
        assert struct.unpack("<h", rtp.ulaw_to_pcm(bytes([code])))[0] == value
    every = bytes(code for code in range(256) if code != 0x7F)  # 0x7F is -0, and is written as 0xFF
    assert rtp.pcm_to_ulaw(rtp.ulaw_to_pcm(every)) == every
    assert rtp.pcm_to_ulaw(struct.pack("<3h", 32767, -32768, 0)) == b"\x80\x00\xff"


def test_ulaw_is_the_nearest_value() -> None:
    samples = np.arange(-32768, 32768, 7, dtype=np.int16)
    again = np.frombuffer(rtp.ulaw_to_pcm(rtp.pcm_to_ulaw(samples.tobytes())), np.int16)
    error = np.abs(again.astype(int) - samples)
    assert np.all(error <= np.maximum(4, np.abs(samples.astype(int)) / 15))


@given(st.binary(max_size=60))
def test_any_datagram_is_read_or_none(data: bytes) -> None:
    packet = rtp.parse_rtp(data)
    assert packet is None or len(packet.payload) <= len(data) - 12


@given(
    st.integers(0, 63),
    st.integers(0, 65535),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=99),
)
def test_packets_survive_the_wire(
    kind: int, sequence: int, timestamp: int, ssrc: int, payload: bytes
) -> None:
    packet = RTP(kind, sequence, timestamp, ssrc, payload, marker=bool(sequence & 1))
    assert rtp.parse_rtp(packet.encode()) == packet


def test_extension_padding_and_contributors_are_left_out() -> None:
    head = struct.pack("!BBHII", 0x80 | 0x20 | 0x10 | 1, 0, 1, 2, 3)
    data = head + b"CSRC" + b"\xbe\xde\x00\x01" + b"EXTN" + b"sound" + b"\x00\x02"
    packet = rtp.parse_rtp(data)
    assert packet is not None
    assert packet.payload == b"sound"


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(st.integers(1, 5), st.floats(0, 0.1)), min_size=1, max_size=50),
)
def test_positions_follow_timestamps_through_jitter(first: int, steps: list[tuple[int, float]]) -> None:
    clock, frame = MediaTime(100.0), 0
    for index, (step, jitter) in enumerate(steps):
        frame = 0 if index == 0 else frame + step
        delay = 0.0 if index == 0 else jitter
        packet = RTP(0, index, (first + 160 * frame) % 2**32, 1, b"")
        assert clock.place(packet, 100.5 + 0.02 * frame + delay) == 4000 + 160 * frame


def test_a_new_source_and_a_stopped_clock_are_placed_by_arrival() -> None:
    clock = MediaTime(0.0)
    assert clock.place(RTP(0, 0, 5000, 1, b""), 1.0) == 8000
    assert clock.place(RTP(0, 1, 5160, 1, b""), 1.02) == 8160
    assert clock.place(RTP(0, 2, 5320, 1, b""), 3.0) == 24000  # it fell silent, and did not count on
    assert clock.place(RTP(0, 3, 77, 2, b""), 3.1) == 24800


@pytest.mark.parametrize("lost", [[], [0], [0, 1, 2, 3, 4], [5, 6]])
def test_a_key_is_one_digit_whatever_is_lost(lost: list[int]) -> None:
    reader = DigitReader()
    for press, digit in enumerate("1#"):
        for number, payload in enumerate(rtp.event_payloads(digit, 100)):
            if number not in lost:
                reader.read(RTP(101, 0, 1000 * press, 1, payload), 0.0)
    assert [digit for _, digit in reader.digits] == ["1", "#"]
    assert reader.read(RTP(101, 0, 9, 1, b"\x40\x0a\x00\xa0"), 0.0) is None
    assert reader.read(RTP(101, 0, 9, 1, b"\x01"), 0.0) is None


def test_events_end_three_times() -> None:
    payloads = rtp.event_payloads("5", 100)
    assert [struct.unpack("!BBH", payload) for payload in payloads] == [
        *[(5, 10, 160 * n) for n in range(1, 6)],
        *[(5, 0x8A, 800)] * 3,
    ]


def test_voice_is_what_is_loud_for_long() -> None:
    assert not rtp.is_voice(rtp.SILENCE)
    assert not rtp.is_voice(rtp.pcm_to_ulaw(struct.pack("<160h", *[200] * 160)))
    assert not rtp.is_voice(rtp.SILENCE[:155] + b"\x80" * 5)
    assert rtp.is_voice(rtp.pcm_to_ulaw(struct.pack("<160h", *[2000, -2000] * 80)))


def test_gaps_are_silence() -> None:
    loud = b"\x80" * 160
    track = rtp.lay_out([Packet(0, 0, 0, loud, 160), Packet(0, 2, 0, loud, 480)], end=800)
    assert len(track) == 1600
    assert rtp.pcm_to_ulaw(track) == rtp.SILENCE + loud + rtp.SILENCE + loud + rtp.SILENCE


ADDRESS = st.ip_addresses().map(str)


@given(
    ADDRESS,
    st.integers(0, 65535),
    st.none() | st.integers(96, 127),
    st.sampled_from(list(sdp.ANSWERS)),
    st.booleans(),
)
def test_descriptions_survive_the_wire(
    host: str, port: int, event: int | None, direction: sdp.Direction, alaw: bool
) -> None:
    description = sdp.Description(host, port, (8, 0) if alaw else (0,), event, direction)
    assert sdp.parse(description.encode()) == description


@given(st.text(alphabet="vocma=0189 \r\n./INP4RTAVaudiosendonlyrtpmap:", max_size=120))
def test_any_description_is_read_or_refused(text: str) -> None:
    try:
        sdp.parse(b"c=IN IP4 127.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\n" + text.encode())
    except SIPError:
        pass


def test_hold_is_recognised() -> None:
    body = b"v=0\r\nc=IN IP4 10.0.0.1\r\na=sendonly\r\n"
    body += b"m=video 1 RTP/AVP 99\r\nm=audio 9 RTP/AVP 0\r\nc=IN IP4 10.0.0.2\r\n"
    held = sdp.parse(body)
    assert held.on_hold
    assert held.host == "10.0.0.2"
    assert not sdp.parse(body + b"a=sendrecv\r\n").on_hold
