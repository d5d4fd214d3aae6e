"""What each transport refuses, and what its own settings do."""

import asyncio
import base64
import hashlib
import itertools
import re
import socket
import uuid

import pytest
from media_peers import AudioSocketPeer, RTPPeer, WebSocketPeer, connected, make, speech, until

from voxtra.errors import CodecError, ConfigurationError, LineClosedError, MediaError
from voxtra.media import websocket_transport
from voxtra.media.audiosocket import Kind, build
from voxtra.media.audiosocket_transport import AudioSocketSettings, AudioSocketTransport
from voxtra.media.codecs import make_codec
from voxtra.media.rtp_line import RTPSettings, RTPTransport
from voxtra.media.transports import open_transport
from voxtra.media.websocket_transport import WebSocketSettings, WebSocketTransport

# -- settings


@pytest.mark.proves("failure 6")
async def test_a_listener_is_for_this_machine_alone_unless_it_is_told_otherwise():
    transport = AudioSocketTransport(AudioSocketSettings())
    await transport.start()
    assert transport._server is not None
    assert [sock.getsockname()[0] for sock in transport._server.sockets] == ["127.0.0.1"]
    await transport.close()
    rtp = RTPTransport(RTPSettings())
    assert rtp.offer().params["external_host"].startswith("127.0.0.1:")
    await rtp.close()
    assert WebSocketSettings(asterisk_url="http://127.0.0.1:8088").bind_host == "127.0.0.1"


def test_the_settings_choose_the_transport():
    assert isinstance(open_transport(RTPSettings()), RTPTransport)
    assert isinstance(open_transport(AudioSocketSettings()), AudioSocketTransport)
    assert isinstance(
        open_transport(WebSocketSettings(asterisk_url="http://127.0.0.1:8088")), WebSocketTransport
    )


@pytest.mark.parametrize(
    ("make_settings", "words"),
    [
        (lambda: WebSocketSettings(), "asterisk_url.*client_id"),
        (lambda: WebSocketSettings(asterisk_url="http://a", client_id="b"), "either"),
        (lambda: WebSocketSettings(asterisk_url="127.0.0.1:8088"), "127.0.0.1:8088.*http://"),
        (lambda: RTPSettings(format="slin16"), "'slin16'.*ulaw, alaw, g722"),
        (lambda: RTPSettings(port_low=5, port_high=4), "5-4"),
        (lambda: RTPSettings(bind_host="0.0.0.0"), "advertised_host"),
        (lambda: AudioSocketSettings(bind_host="::"), "advertised_host"),
        (lambda: AudioSocketSettings(format="ulaw"), "'ulaw'.*slin, slin16"),
    ],
)
def test_wrong_settings_are_named_with_the_mend(make_settings, words):
    with pytest.raises(ConfigurationError, match=words):
        make_settings()


def test_an_unknown_format_is_named():
    with pytest.raises(CodecError, match="'opus'"):
        WebSocketSettings(asterisk_url="http://127.0.0.1:8088", format="opus")


async def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for transport in (
            AudioSocketTransport(AudioSocketSettings(bind_port=port)),
            WebSocketTransport(WebSocketSettings(client_id="voxtra", bind_port=port)),
        ):
            with pytest.raises(MediaError, match=rf"127\.0\.0\.1:{port}: .*in use"):
                await transport.start()
            await transport.close()


async def test_rtp_ports_that_are_all_taken_are_named():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        low = port - port % 2
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with other:
            if low != port:
                other.bind(("127.0.0.1", low))
            with pytest.raises(MediaError, match=rf"no free RTP port .* {low}-{low + 1}"):
                await RTPTransport(RTPSettings(port_low=low, port_high=low + 1)).start()


@pytest.mark.proves("failure 2")
async def test_a_remote_asterisk_is_told_the_advertised_address():
    rtp = RTPTransport(RTPSettings(advertised_host="192.0.2.7"))
    offer = rtp.offer()
    assert offer.params["external_host"].startswith("192.0.2.7:")
    await rtp.close()
    audiosocket = AudioSocketTransport(
        AudioSocketSettings(advertised_host="2001:db8::1", advertised_port=9019)
    )
    await audiosocket.start()
    assert audiosocket.offer().params["external_host"] == "[2001:db8::1]:9019"
    await audiosocket.close()


# -- chan_websocket


async def test_client_mode_takes_only_the_nonce_once_and_the_right_login():
    transport, peer = await make("websocket-client")
    assert isinstance(peer, WebSocketPeer)
    assert isinstance(transport, WebSocketTransport)
    url = f"http://127.0.0.1:{transport.port}/media"
    try:
        offer = transport.offer()
        nonce = offer.params["transport_data"].split("call=")[1].rstrip(")")
        for query, user, status in (
            ("", "user", 403),
            ("?call=unknown", "user", 403),
            (f"?call={nonce}", "wrong", 401),
        ):
            stranger = WebSocketPeer(peer.codec)
            await stranger.dial(url + query, user, "secret")
            assert stranger.status == status
            await stranger.close()
        await peer.open(offer)
        line = await offer.connect({}, deadline_s=3)
        again = WebSocketPeer(peer.codec)
        await again.dial(f"{url}?call={nonce}", "user", "secret")
        assert again.status == 403
        await again.close()
        assert transport.refused == 4
        assert not line.closed.done()
    finally:
        await peer.close()
        await transport.close()


async def test_a_cancelled_offer_is_refused():
    transport, peer = await make("websocket-client")
    assert isinstance(peer, WebSocketPeer)
    try:
        offer = transport.offer()
        await offer.cancel()
        await peer.open(offer)
        assert peer.status == 403
    finally:
        await peer.close()
        await transport.close()


async def test_something_that_is_no_http_is_dropped():
    transport, peer = await make("websocket-client")
    assert isinstance(transport, WebSocketTransport)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", transport.port)
        writer.write(b"\x00\xff" * 50_000)
        async with asyncio.timeout(7):
            try:
                while await reader.read(1000):
                    pass
            except ConnectionError:
                pass
        writer.close()
    finally:
        await peer.close()
        await transport.close()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '"x"', '{"event":7}', '{"event":"STATUS","queue_length":"x"}']
)
async def test_control_messages_that_make_no_sense_are_survived(text):
    async with connected("websocket-server") as (line, peer):
        assert isinstance(peer, WebSocketPeer)
        assert peer.socket is not None
        await peer.socket.send_str(text)
        await peer.socket.send_bytes(b"\x01" * 70)  # half a frame ...
        await peer.socket.send_bytes(b"\x01" * 91)  # ... and the rest, and a byte more
        got = []
        line.listen(got.append)
        await until(lambda: got)
        assert len(got) == 1
        line.play(speech(2, peer.codec))
        assert await line.drained() == "heard"


async def test_an_enormous_message_ends_the_line_and_nothing_else():
    async with connected("websocket-server") as (line, peer):
        assert isinstance(peer, WebSocketPeer)
        assert peer.socket is not None
        await peer.socket.send_bytes(bytes(1 << 20))
        await asyncio.wait_for(asyncio.shield(line.closed), 3)


async def test_another_format_than_agreed_closes_the_line():
    transport, peer = await make("websocket-server")
    assert isinstance(peer, WebSocketPeer)
    peer.format = "alaw"
    try:
        offer = transport.offer()
        await peer.open(offer)
        line = await offer.connect(peer.channelvars)
        reason = await asyncio.wait_for(asyncio.shield(line.closed), 3)
        assert "alaw" in reason
    finally:
        await peer.close()
        await transport.close()


async def test_a_line_has_ended_before_its_socket_is_closed():
    """Whatever waits for the line does not wait until Asterisk may be told."""
    async with connected("websocket-server") as (line, peer):
        assert isinstance(peer, WebSocketPeer)
        line.play(speech(1000, peer.codec))
        mark = line.mark()
        line.end()
        assert line.closed.result() == "closed here"
        assert await mark == "closed"
        with pytest.raises(LineClosedError):
            line.play(speech(20, peer.codec))
        await peer.say(speech(20, peer.codec))
        await asyncio.sleep(0.05)
        assert not peer._gone.is_set()
        await line.close()
        await asyncio.wait_for(peer._gone.wait(), 5)


async def test_a_channel_that_hangs_does_not_hold_a_flush(caplog):
    async with connected("websocket-server") as (line, peer):
        assert isinstance(peer, WebSocketPeer)
        line.play(speech(100, peer.codec))
        await until(lambda: len(peer.heard) > 320)
        peer.channel.mute = True
        begin = asyncio.get_running_loop().time()
        assert await line.flush() == line.heard == line.queued
        assert asyncio.get_running_loop().time() - begin < 1.5
        assert "FLUSH_MEDIA" in caplog.text


async def test_no_asterisk_and_no_such_channel_are_named():
    transport, peer = await make("websocket-server")
    await peer.close()
    with pytest.raises(MediaError, match="can't be reached"):
        await transport.offer().connect({"MEDIA_WEBSOCKET_CONNECTION_ID": "x"})
    with pytest.raises(MediaError, match="chan_websocket"):
        await transport.offer().connect({})
    await transport.close()


async def silent_server(greeting: bytes = b"") -> tuple[asyncio.Server, int]:
    """Takes connections, says ``greeting`` after the first words, and then nothing, whatever comes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        key = re.search(rb"(?i)sec-websocket-key: (.*)\r\n", request)
        assert key
        accept = base64.b64encode(hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        writer.write(greeting.replace(b"ACCEPT", accept))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def test_an_asterisk_that_accepts_and_says_nothing_is_given_up_in_time():
    server, port = await silent_server()
    transport = WebSocketTransport(WebSocketSettings(asterisk_url=f"http://127.0.0.1:{port}"))
    with pytest.raises(MediaError, match=r"did not answer in 0\.2 s|can't be reached"):
        await transport.offer().connect({"MEDIA_WEBSOCKET_CONNECTION_ID": "x"}, deadline_s=0.2)
    waiting = asyncio.create_task(
        transport.offer().connect({"MEDIA_WEBSOCKET_CONNECTION_ID": "x"}, deadline_s=1)
    )
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await transport.close()
    server.close()
    await asyncio.sleep(1.1)  # the handshake's own time limit closes the socket


async def test_a_half_open_socket_is_noticed(monkeypatch):
    monkeypatch.setitem(websocket_transport._PING, "auto_ping_idle_timeout", 0.2)
    monkeypatch.setitem(websocket_transport._PING, "auto_ping_reply_timeout", 0.2)
    server, port = await silent_server(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Protocol: media\r\n\r\n"
    )
    transport = WebSocketTransport(WebSocketSettings(asterisk_url=f"http://127.0.0.1:{port}"))
    line = await transport.offer().connect({"MEDIA_WEBSOCKET_CONNECTION_ID": "x"})
    assert "lost" in await asyncio.wait_for(asyncio.shield(line.closed), 3)
    await transport.close()
    server.close()


async def test_the_connection_id_cannot_lead_elsewhere():
    transport, peer = await make("websocket-server")
    try:
        with pytest.raises(MediaError):
            await transport.offer().connect({"MEDIA_WEBSOCKET_CONNECTION_ID": "../ari/events?x=\r\n\r\n"})
    finally:
        await peer.close()
        await transport.close()


# -- RTP


@pytest.mark.proves("failure 6")
async def test_rtp_takes_nothing_from_anyone_else_before_or_after():
    transport, peer = await make("rtp")
    assert isinstance(peer, RTPPeer)
    rogue = RTPPeer(peer.codec)
    try:
        offer = transport.offer()
        await peer.open(offer)
        await rogue.open(offer)
        for _ in range(20):
            await rogue.say(speech(1, peer.codec, seed=66))
        await asyncio.sleep(0.05)
        line = await offer.connect(peer.channelvars)
        got = []
        line.listen(got.append)
        for _ in range(10):
            await rogue.say(speech(1, peer.codec, seed=66))
            await peer.say(speech(1, peer.codec))
            await asyncio.sleep(0.005)
        await until(lambda: len(got) == 10)
        assert {frame.pcm for frame in got} == {speech(1, peer.codec)}
        await until(lambda: len(peer.packets) > 3)
        assert rogue.packets == []
        assert peer.source == peer.line_address
    finally:
        await rogue.close()
        await peer.close()
        await transport.close()


async def test_rtp_sends_silence_all_the_time_with_an_even_clock():
    async with connected("rtp") as (line, peer):
        assert isinstance(peer, RTPPeer)
        await asyncio.sleep(0.1)
        line.play(speech(3, peer.codec))
        await line.drained()
        await until(lambda: len(peer.packets) >= 12)
        packets = peer.packets
        assert packets[0].marker
        for before, after in itertools.pairwise(packets):
            assert (after.sequence - before.sequence) & 0xFFFF == 1
            assert (after.timestamp - before.timestamp) & 0xFFFFFFFF == 160


async def test_rtp_restores_order_conceals_loss_and_ignores_the_rest():
    async with connected("rtp") as (line, peer):
        assert isinstance(peer, RTPPeer)
        got = []
        line.listen(got.append)
        packets = [peer.packet(speech(1, peer.codec, seed=n)) for n in range(10)]
        peer.send(b"garbage")
        peer.send(b"\x80\x65" + packets[0][2:])  # a telephone event
        for n in (0, 2, 1, 1, 3, 5, 6, 7, 8, 9):  # 4 is lost
            peer.send(packets[n])
        await until(lambda: len(got) == 10)
        assert [frame.lost for frame in got] == [n == 4 for n in range(10)]
        assert [frame.sequence for frame in got] == list(range(10))
        for n in (0, 1, 2, 3, 5, 9):
            assert got[n].pcm == speech(1, peer.codec, seed=n)
        assert line.stats.frames_lost == 1
        assert line.stats.frames_late == 1
        assert line.stats.malformed == 1
        assert line.stats.jitter_ms >= 0


async def test_rtp_survives_a_port_that_is_closed_at_the_far_end():
    async with connected("rtp") as (line, peer):
        await peer.cut()
        line.play(speech(5, peer.codec))
        await asyncio.sleep(0.15)
        assert not line.closed.done()


@pytest.mark.parametrize(
    "channelvars", [{}, {"UNICASTRTP_LOCAL_ADDRESS": "127.0.0.1"}, {"UNICASTRTP_LOCAL_PORT": "1"}]
)
async def test_rtp_without_an_address_is_an_error(channelvars):
    transport = RTPTransport()
    with pytest.raises(MediaError, match="no RTP address"):
        await transport.offer().connect(channelvars)
    await transport.close()


async def test_rtp_frees_its_port():
    transport = RTPTransport(RTPSettings(port_low=46000, port_high=46001))
    for _ in range(3):
        offer = transport.offer()
        with pytest.raises(MediaError, match="no free RTP port"):
            transport.offer()
        await offer.cancel()
    await transport.close()


# -- AudioSocket


async def dial(transport: AudioSocketTransport) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", transport.port)


async def refused(reader: asyncio.StreamReader, seconds: float = 2) -> None:
    """The peer closes; silence before that is fine."""
    async with asyncio.timeout(seconds):
        try:
            while await reader.read(4096):
                pass
        except ConnectionError:
            pass


async def test_audiosocket_sends_silence_from_accept_before_anyone_has_spoken():
    transport = AudioSocketTransport()
    await transport.start()
    reader, writer = await dial(transport)
    async with asyncio.timeout(2):
        assert await reader.readexactly(5 * 323) == build(Kind.SLIN, bytes(320)) * 5
    writer.close()
    await transport.close()


@pytest.mark.proves("failure 6")
@pytest.mark.parametrize(
    "words",
    [
        build(Kind.UUID, bytes(range(16))),  # unknown
        build(Kind.SLIN, bytes(320)),  # not identified
        build(Kind.UUID, b"short"),
        b"\x01\xff\xff" + bytes(100),
        b"GET / HTTP/1.1\r\n\r\n",
        b"",  # late
        b"\x01\x00",  # dribbled
    ],
)
async def test_audiosocket_refuses_strangers(words):
    transport = AudioSocketTransport(AudioSocketSettings(identify_s=0.3))
    await transport.start()
    reader, writer = await dial(transport)
    writer.write(words)
    await refused(reader)
    assert transport.refused == 1
    assert not transport._unidentified
    writer.close()
    await transport.close()


async def test_audiosocket_takes_a_uuid_once():
    async with connected("audiosocket") as (line, peer):
        assert isinstance(peer, AudioSocketPeer)
        host, port = peer.params["external_host"].rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(build(Kind.UUID, uuid.UUID(peer.params["data"]).bytes))
        await refused(reader)
        writer.close()
        assert not line.closed.done()


async def test_audiosocket_bounds_those_who_wait():
    transport = AudioSocketTransport(AudioSocketSettings(max_unidentified=3))
    await transport.start()
    waiting = [await dial(transport) for _ in range(3)]
    await until(lambda: len(transport._unidentified) == 3)
    reader, writer = await dial(transport)
    await refused(reader)
    writer.close()
    waiting[0][1].close()
    await until(lambda: len(transport._unidentified) == 2)
    reader, writer = await dial(transport)
    assert await reader.readexactly(3) == b"\x10\x01\x40"
    for _, each in [*waiting, (reader, writer)]:
        each.close()
    await transport.close()


@pytest.mark.proves("failure 6")
async def test_audiosocket_peers_are_pinned():
    transport = AudioSocketTransport(AudioSocketSettings(peers=frozenset({"192.0.2.1"})))
    await transport.start()
    reader, writer = await dial(transport)
    await refused(reader)
    writer.close()
    await transport.close()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (build(Kind.HANGUP), "hung up"),
        (build(Kind.ERROR, b"\x04"), "error 04"),
        (b"\x10\xff\xff", "announces 65535"),
    ],
)
async def test_audiosocket_closes_with_the_reason(words, reason):
    async with connected("audiosocket") as (line, peer):
        assert isinstance(peer, AudioSocketPeer)
        assert peer._writer is not None
        peer._writer.write(words)
        assert reason in await asyncio.wait_for(asyncio.shield(line.closed), 2)


async def test_audiosocket_ignores_keys_and_counts_nonsense():
    async with connected("audiosocket") as (line, peer):
        assert isinstance(peer, AudioSocketPeer)
        assert peer._writer is not None
        got = []
        line.listen(got.append)
        peer._writer.write(build(Kind.DTMF, b"5") + build(0x77, b"?") + build(Kind.SLIN, b"odd"))
        await peer.say(speech(1, peer.codec))
        await until(lambda: got)
        assert got[0].pcm == speech(1, peer.codec)
        assert line.stats.malformed == 2


async def test_audiosocket_says_goodbye():
    async with connected("audiosocket") as (line, peer):
        assert isinstance(peer, AudioSocketPeer)
        await line.close()
        await until(lambda: peer.hung_up)


async def test_audiosocket_holds_the_queue_while_the_peer_reads_nothing():
    transport = AudioSocketTransport()
    await transport.start()
    offer = transport.offer()
    reader, writer = await dial(transport)
    writer.write(build(Kind.UUID, uuid.UUID(offer.params["data"]).bytes))
    line = await offer.connect({})
    line._peer.pause_writing()
    line.play(bytes(3200))
    await asyncio.sleep(0.1)
    assert line.heard == 0
    line._peer.resume_writing()
    assert await asyncio.wait_for(line.drained(), 2) == "heard"
    writer.close()
    await transport.close()
    assert reader is not None


def test_make_codec_belongs_to_one_line():
    pytest.importorskip("G722")
    assert make_codec("g722") is not make_codec("g722")
