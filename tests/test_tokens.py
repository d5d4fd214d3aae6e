"""Tokens of the audio bridge: what they grant, and everything that does not."""

from __future__ import annotations

import stat
import time
from datetime import UTC, datetime
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from voxtra.errors import ConfigurationError, TokenError
from voxtra.tokens import Grant, RelayKeys

KEYS = RelayKeys.create()
CLAIMS = {"iss": "voxtra", "sub": "acme", "ns": ["voice/call-0001/*"], "exp": 4_000_000_000}


def test_what_is_signed_is_granted() -> None:
    token, expires = KEYS.sign("acme", "call-0001", 60)
    assert KEYS.verify(token) == Grant("acme", frozenset({"call-0001"}))
    assert abs((expires - datetime.now(UTC)).total_seconds() - 60) < 2
    claims = jwt.decode(token, options={"verify_signature": False})
    assert {k: claims[k] for k in ("iss", "sub", "ns")} == {k: CLAIMS[k] for k in ("iss", "sub", "ns")}
    assert jwt.get_unverified_header(token)["alg"] == "EdDSA"
    token, _ = KEYS.sign("acme", "call-0001", role="caller")
    assert KEYS.verify(token).role == "caller"


def forged(claims: dict[str, object], key: object = None, algorithm: str = "EdDSA") -> str:
    return jwt.encode(claims, key or KEYS._key, algorithm=algorithm)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("", "no token"),
        ("x" * 5000, "5000 B"),
        ("a.b.c", "not one of this relay's"),
        (forged(CLAIMS, ed25519.Ed25519PrivateKey.generate()), "InvalidSignature"),
        (forged({**CLAIMS, "exp": int(time.time()) - 10}), "expired"),
        (forged({**CLAIMS, "iss": "somebody"}), "InvalidIssuer"),
        (forged({k: v for k, v in CLAIMS.items() if k != "exp"}), "MissingRequiredClaim"),
        (forged({**CLAIMS, "ns": []}), "make no sense"),
        (forged({**CLAIMS, "ns": "voice/call-0001/*"}), "make no sense"),
        (forged({**CLAIMS, "ns": ["voice/*/*"]}), "make no sense"),
        (forged({**CLAIMS, "ns": ["voice/call-0001/*", 7]}), "make no sense"),
        (forged({**CLAIMS, "ns": None}), "not one of this relay's|make no sense"),
        (forged({**CLAIMS, "role": "admin"}), "make no sense"),
        (forged({**CLAIMS, "role": ["server"]}), "make no sense"),
        (forged({**CLAIMS, "sub": ""}), "make no sense"),
        (forged({**CLAIMS, "sub": "acme/../evil"}), "make no sense"),
        (forged({**CLAIMS, "ns": ["voice/call-0001%2F/*"]}), "make no sense"),
        (forged({**CLAIMS, "ns": ["voice/call-0001/*\n"]}), "make no sense"),
        (forged({**CLAIMS, "ns": ["voice/call-0001/*", "voice/*/*"]}), "make no sense"),
        (forged({**CLAIMS, "aud": "another"}), "InvalidAudience"),
        (forged({**CLAIMS, "nbf": 4_000_000_000}), "ImmatureSignature"),
        (forged(CLAIMS, KEYS._public.public_bytes_raw(), "HS256"), "InvalidAlgorithm"),
        (jwt.encode(CLAIMS, None, algorithm="none"), "InvalidAlgorithm"),
        (forged(CLAIMS, "s" * 64, "HS256"), "InvalidAlgorithm"),
    ],
)
def test_what_grants_nothing(token: str, says: str) -> None:
    with pytest.raises(TokenError, match=says) as error:
        KEYS.verify(token)
    assert not token or token not in str(error.value)


@given(st.text(max_size=300))
def test_rubbish_is_a_token_error(token: str) -> None:
    with pytest.raises(TokenError):
        KEYS.verify(token)


@given(st.integers(0, 10_000), st.characters(codec="ascii"))
def test_one_changed_letter_spoils_it(at: int, letter: str) -> None:
    token, _ = KEYS.sign("acme", "call-0001")
    head, _, signature = token.rpartition(".")
    at %= len(head)
    if head[at] != letter:
        with pytest.raises(TokenError):
            KEYS.verify(f"{head[:at]}{letter}{head[at + 1 :]}.{signature}")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("a b", "call-0001"), "org = 'a b'"),
        (("acme", "short"), "sid = 'short'"),
        (("acme", "call/0001"), "sid = 'call/0001'"),
        (("acme", "call-0001", 0), "ttl_s = 0"),
        (("acme", "call-0001", 1e6), "ttl_s = 1e"),
    ],
)
def test_what_is_not_signed(arguments: tuple[object, ...], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        KEYS.sign(*arguments)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="role = 'boss'"):
        KEYS.sign("acme", "call-0001", role="boss")  # type: ignore[arg-type]


def test_the_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "relay.pem"
    token, _ = RelayKeys.load_or_create(path).sign("acme", "call-0001")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["relay.pem"]
    assert RelayKeys.load_or_create(path).verify(token).org == "acme"


def test_files_that_hold_no_key(tmp_path: Path) -> None:
    path = tmp_path / "relay.pem"
    path.write_text("rubbish")
    with pytest.raises(ConfigurationError, match="no PEM file"):
        RelayKeys.load_or_create(path)
    other = rsa.generate_private_key(65537, 2048)
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ConfigurationError, match="no Ed25519 key"):
        RelayKeys.load_or_create(path)
    path.write_bytes(other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(ConfigurationError, match="no PEM file"):
        RelayKeys.load_or_create(path)
    with pytest.raises(ConfigurationError, match="Is a directory"):
        RelayKeys.load_or_create(tmp_path)
