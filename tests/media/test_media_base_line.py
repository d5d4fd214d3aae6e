"""Cutting what comes from the wire into frames."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.media.codecs import make_codec
from voxtra.media.websocket_line import WebSocketLine


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 500), max_size=30), st.sampled_from(["ulaw", "slin", "slin16"]))
def test_any_lengths_of_messages_give_the_same_frames(cuts, name):
    async def run():
        codec = make_codec(name)
        line = WebSocketLine(codec)
        frames = []
        line.listen(frames.append)
        data = bytes(n * 7 % 251 for n in range(sum(cuts)))
        at = 0
        for cut in cuts:
            line._on_audio(memoryview(data)[at : at + cut])
            at += cut
        whole = len(data) - len(data) % codec.frame_bytes
        assert b"".join(frame.pcm for frame in frames) == codec.decode(data[:whole])
        assert all(len(frame.pcm) == codec.pcm_frame_bytes for frame in frames)
        assert len(line._rest) < codec.frame_bytes
        await line.close()

    asyncio.run(run())
