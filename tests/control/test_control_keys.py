"""API keys: what the file holds, who is let in, what is refused."""

import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.cli.root import run_cli
from voxtra.control.keys import KeyRing, Principal
from voxtra.errors import ConfigurationError


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path / "keys.json")


def test_a_key_is_its_holder(ring: KeyRing) -> None:
    key = ring.create("org_a", ["voice:calls:read", "voice:audio"])
    principal = ring.check(key)
    assert principal is not None
    assert (principal.org, principal.scopes) == ("org_a", ("voice:calls:read", "voice:audio"))
    assert key.split("_")[1] == principal.key_id


def test_the_file_has_no_secret_and_is_private(ring: KeyRing) -> None:
    key = ring.create("org_a")
    assert key.split("_", 2)[2] not in ring.path.read_text()
    assert stat.S_IMODE(ring.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("spoil", [
    lambda key: "", lambda key: key[:-1], lambda key: key + "A", lambda key: key.upper(),
    lambda key: key[:-1] + ("A" if key[-1] != "A" else "B"), lambda key: key.replace("vx_", "vy_"),
    lambda key: "vx_000000000000_" + key.split("_", 2)[2], lambda key: key + "\u0661",
])  # fmt: skip
def test_nearly_right_is_wrong(ring: KeyRing, spoil) -> None:
    assert ring.check(spoil(ring.create("org_a"))) is None


@given(st.text(max_size=80))
def test_no_text_gets_in(text: str) -> None:
    assert KeyRing(Path("/nonexistent/keys.json")).check(text) is None


def test_a_revoked_key_is_refused_by_a_ring_that_runs(ring: KeyRing) -> None:
    running = KeyRing(ring.path)
    key = ring.create("org_a")
    principal = running.check(key)
    assert principal is not None
    ring.revoke(principal.key_id)
    assert running.check(key) is None


def test_an_expired_key_is_refused(ring: KeyRing) -> None:
    key = ring.create("org_a", expires=datetime.now(UTC) + timedelta(hours=1))
    assert ring.check(key) is not None
    rows = json.loads(ring.path.read_text())
    rows["keys"][0]["expires"] = "2020-01-01T00:00:00+00:00"
    ring.path.write_text(json.dumps(rows))
    os.utime(ring.path, ns=(1, 1))
    assert ring.check(key) is None


@pytest.mark.parametrize(("scopes", "asked", "allowed"), [
    (("voice:*",), "voice:calls:write", True),
    (("voice:calls:*",), "voice:calls:write", True),
    (("voice:calls:*",), "voice:trunks:write", False),
    (("voice:calls:read",), "voice:calls:write", False),
    (("voice:audio",), "voice:audio", True),
    (("voice:audio",), "voice:audiobook", False),
])  # fmt: skip
def test_scopes(scopes: tuple[str, ...], asked: str, allowed: bool) -> None:
    assert Principal("o", scopes, "k").allows(asked) is allowed


@pytest.mark.parametrize(("org", "scopes", "named"), [
    ("", ["voice:*"], "org = ''"),
    ("a b", ["voice:*"], "org = 'a b'"),
    ("a" * 65, ["voice:*"], "org ="),
    ("a", ["voice:all"], "scope 'voice:all'"),
    ("a", ["*"], "scope '*'"),
    ("a", [], "scopes"),
])  # fmt: skip
def test_what_cannot_be_is_said(ring: KeyRing, org: str, scopes: list[str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named.replace("*", r"\*")):
        ring.create(org, scopes)
    assert not ring.path.exists()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"keys": [{"id": "x"}]}', "\x00\xff", '{"keys": 1}'])
def test_a_damaged_file_is_said_and_kept(ring: KeyRing, text: str) -> None:
    ring.path.write_text(text)
    with pytest.raises(ConfigurationError, match="damaged"):
        ring.check("vx_000000000000_" + "a" * 43)
    with pytest.raises(ConfigurationError, match="damaged"):
        ring.create("org_a")
    assert ring.path.read_text() == text


def test_the_command_makes_lists_and_revokes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "k.json")
    assert (
        run_cli(["keys", "create", "--org", "org_abc", "--scope", "voice:*", "--name", "ci", "-f", file]) == 0
    )
    out, err = capsys.readouterr()
    key = out.strip()
    principal = KeyRing(Path(file)).check(key)
    assert principal is not None
    assert principal.org == "org_abc"
    assert "can't be shown again" in err
    assert key not in err
    assert run_cli(["keys", "list", "-f", file]) == 0
    listed = capsys.readouterr().out
    assert f"{principal.key_id} (ci): org_abc, voice:*" in listed
    assert key not in listed
    assert run_cli(["keys", "revoke", principal.key_id, "-f", file]) == 0
    assert run_cli(["keys", "list", "-f", file]) == 0
    assert "no keys in" in capsys.readouterr().out


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "k.json")
    assert run_cli(["keys", "create", "--org", "a/b", "-f", file]) == 2
    assert "org = 'a/b'" in capsys.readouterr().err
    assert run_cli(["keys", "revoke", "nobody", "-f", file]) == 2
    assert "no key has the id 'nobody'" in capsys.readouterr().err
