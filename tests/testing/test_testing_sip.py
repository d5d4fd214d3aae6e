"""SIP messages: what goes in comes out, and nothing but SIPError comes of garbage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.testing import sip
from voxtra.testing.sip import Headers, Request, Response, SIPError

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._", min_size=1, max_size=20)
VALUE = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=60).map(lambda v: v.strip(" \t"))
FIELDS = st.lists(
    st.tuples(TOKEN.filter(lambda name: sip.canonical(name) != "Content-Length"), VALUE), max_size=12
)
URI = st.builds("sip:{}@{}".format, TOKEN, TOKEN)

INVITE = (
    b"INVITE sip:100@127.0.0.1:5060 SIP/2.0\r\n"
    b"v: SIP/2.0/UDP 127.0.0.1:5070;rport;branch=z9hG4bKabc, SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKdef\r\n"
    b'f: "Smith, J \\"JJ\\"" <sip:js@127.0.0.1>;tag=77\r\n'
    b"TO: sip:100@127.0.0.1;tag=88\r\n"
    b"i:1234@host\r\n"
    b"CSeq:  7\t INVITE\r\n"
    b"Subject: one\r\n  two\r\n\tthree\r\n"
    b"Record-Route: <sip:p1;lr>,<sip:p2;lr>\r\nRecord-Route: <sip:p3,x;lr>\r\n"
    b"l: 4\r\n\r\nbodyrest"
)


@given(TOKEN.map(str.upper).filter(lambda m: m[0].isalpha()), URI, FIELDS, st.binary(max_size=200))
def test_requests_survive_the_wire(method: str, uri: str, fields: list[tuple[str, str]], body: bytes) -> None:
    request = Request(method, uri, Headers(fields), body)
    again = sip.parse(request.encode())
    assert isinstance(again, Request)
    again.headers.remove("Content-Length")
    assert again == request


@given(st.integers(100, 699), VALUE, FIELDS, st.binary(max_size=200))
def test_responses_survive_the_wire(
    status: int, reason: str, fields: list[tuple[str, str]], body: bytes
) -> None:
    response = Response(status, reason, Headers(fields), body)
    again = sip.parse(response.encode())
    assert isinstance(again, Response)
    again.headers.remove("Content-Length")
    assert again == response


@given(st.binary(max_size=300))
def test_garbage_is_refused_by_name(data: bytes) -> None:
    try:
        sip.parse(data)
    except SIPError:
        pass


@given(st.data())
def test_a_damaged_message_is_read_or_refused(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(INVITE) - 1))
    damaged = (
        INVITE[:at] + data.draw(st.binary(max_size=4)) + INVITE[data.draw(st.integers(at, len(INVITE))) :]
    )
    try:
        message = sip.parse(damaged)
        sip.via_branch(message)
        sip.cseq(message)
        sip.parse_address(message.headers.get("From"))
    except SIPError:
        pass


def test_reads_what_other_stacks_write() -> None:
    request = sip.parse(INVITE)
    assert isinstance(request, Request)
    assert (request.method, request.uri, request.body) == ("INVITE", "sip:100@127.0.0.1:5060", b"body")
    assert sip.via_branch(request) == "z9hG4bKabc"
    assert len(request.headers.all("Via")) == 2
    assert sip.cseq(request) == (7, "INVITE")
    assert request.headers.get("subject") == "one two three"
    assert request.headers.get("call-id") == "1234@host"
    assert request.headers.all("record-route") == ["<sip:p1;lr>", "<sip:p2;lr>", "<sip:p3,x;lr>"]
    caller = sip.parse_address(request.headers.get("From"))
    assert (caller.display, caller.uri, caller.tag, caller.user) == (
        'Smith, J "JJ"',
        "sip:js@127.0.0.1",
        "77",
        "js",
    )
    assert sip.parse_address(request.headers.get("To")).tag == "88"


@pytest.mark.parametrize(
    "request_",
    [
        Request("INVITE", "sip:a@b c"),
        Request("invite", "sip:a@b"),
        Request("INVITE", "sip:a@b", Headers([("Subject", "x\r\nEvil: 1")])),
        Request("INVITE", "sip:a@b", Headers([("Sub ject", "x")])),
        Response(200, "OK\r\nEvil: 1"),
        Response(99, "low"),
    ],
)
def test_nothing_breaks_out_of_its_line(request_: Request | Response) -> None:
    with pytest.raises(SIPError):
        request_.encode()


@pytest.mark.parametrize(
    "data",
    [
        b"INVITE sip:a SIP/2.0\r\nContent-Length: 5\r\n\r\nabc",
        b"INVITE sip:a SIP/2.0\r\nContent-Length: -1\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\n folded\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\nNo colon\r\n\r\n",
        b"INVITE sip:a SIP/3.0\r\nA: b\r\n\r\n",
        b"SIP/2.0 700 High\r\nA: b\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\nA: b\r\n",
        b"INVITE sip:a SIP/2.0\r\n" + b"A: b\r\n" * 300 + b"\r\n",
        b"x" * 70_000,
    ],
)
def test_broken_messages(data: bytes) -> None:
    with pytest.raises(SIPError):
        sip.parse(data)


def test_digest_of_rfc_2617() -> None:
    challenge = sip.parse_challenge(
        'Digest realm="testrealm@host.com", qop="auth,auth-int", '
        'nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    login = sip.digest(challenge, "GET", "/dir/index.html", "Mufasa", "Circle Of Life", cnonce="0a4f113b")
    assert 'response="6629fae49393a05397450978507c4ef1"' in login
    assert 'opaque="5ccc069c403ebaf9f0171e9517f40e41"' in login
    assert "nc=00000001" in login


def test_digest_without_qop() -> None:
    login = sip.digest({"realm": "r", "nonce": "n"}, "REGISTER", "sip:h", "u", "p")
    assert "qop" not in login
    assert 'response="' in login


@pytest.mark.parametrize("header", ["Basic realm=x", ""])
def test_only_digest_is_known(header: str) -> None:
    with pytest.raises(SIPError):
        sip.parse_challenge(header)


def test_another_algorithm_is_refused() -> None:
    with pytest.raises(SIPError, match="SHA-256"):
        sip.digest({"algorithm": "SHA-256"}, "INVITE", "sip:h", "u", "p")


@given(st.text(max_size=80))
def test_addresses_and_lists_of_anything(text: str) -> None:
    sip.split_commas(text)
    sip.parse_params(text)
    try:
        sip.parse_address(text)
    except SIPError:
        pass


def test_cause_of_a_refusal() -> None:
    response = Response(486, "Busy", Headers([("Reason", "SIP;cause=486, Q.850;cause=17;text=x")]))
    assert sip.q850_cause(response) == 17
    assert sip.q850_cause(Response(486, "Busy")) == 0
