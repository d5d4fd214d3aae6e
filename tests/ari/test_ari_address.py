"""URLs of ARI as people write them."""

import pytest

from voxtra.ari import ARIClient
from voxtra.ari.address import parse_address
from voxtra.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:8088", "http://127.0.0.1:8088/ari"),
        ("http://127.0.0.1:8088/", "http://127.0.0.1:8088/ari"),
        ("http://127.0.0.1:8088/ari", "http://127.0.0.1:8088/ari"),
        ("https://pbx.example.org/ari/", "https://pbx.example.org/ari"),
        ("ws://pbx:8088/ari", "http://pbx:8088/ari"),
        ("WSS://pbx", "https://pbx/ari"),
        ("http://pbx/asterisk", "http://pbx/asterisk/ari"),
        ("http://[::1]:8088", "http://[::1]:8088/ari"),
    ],
)
def test_takes_every_usual_form(url: str, base: str) -> None:
    assert parse_address(url).base == base


@pytest.mark.proves("failure 25")
@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "",
        "ftp://pbx",
        "http://",
        "http://pbx:99999",
        "http://[::1",
        "http://pbx/?a=b",
        "http:// pbx",
        "http://pbx..example:8088",
        f"http://{'a' * 64}.example",
    ],
)
def test_refuses_what_is_no_address_and_says_what_would_be(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ARIClient(url, "user", "password", app="a")
    assert repr(url) in str(caught.value)
    assert "http://127.0.0.1:8088" in str(caught.value)


def test_credentials_in_the_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        ARIClient("http://joe:hunter2@pbx:8088", "user", "password")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("http://localhost:1", True),
        ("http://127.9.9.9", True),
        ("http://10.0.0.1", False),
        ("https://pbx", True),
    ],
)
def test_knows_where_the_password_would_travel_in_clear(url: str, private: bool) -> None:
    assert parse_address(url).private is private


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"username": ""}, "username"),
        ({"username": "a:b"}, "username"),
        ({"app": ""}, "app"),
        ({"app": "a,b"}, "app"),
        ({"heartbeat_s": 0}, "heartbeat_s"),
        ({"reconnect_s": (5, 1)}, "reconnect_s"),
        ({"transport": "pigeon"}, "transport"),
        ({"transport": "websocket", "app": None}, "websocket"),
    ],
)
def test_refuses_settings_that_cannot_be(arguments: dict[str, object], named: str) -> None:
    settings: dict[str, object] = {"username": "u", "password": "p", "app": "a"} | arguments
    with pytest.raises(ConfigurationError, match=named):
        ARIClient("http://127.0.0.1:8088", **settings)  # type: ignore[arg-type]
