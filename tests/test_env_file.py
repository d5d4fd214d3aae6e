from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra import _env_file
from voxtra._env_file import read_env_file, use_env_file
from voxtra.config import ENVIRONMENT, VoxtraConfig
from voxtra.errors import ConfigurationError


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    monkeypatch.setattr(os, "environ", kept)
    monkeypatch.setattr(_env_file, "_exported", {})


def write(folder: Path, text: str) -> Path:
    path = folder / ".env"
    path.write_text(text)
    return path


def test_the_syntax_people_know(tmp_path: Path) -> None:
    text = (
        "# the PBX\n\nexport VOXTRA_ARI_URL=http://pbx:8088   # here\n"
        'VOXTRA_ARI_PASSWORD=\'a # b "c" ${d}\'\nDOUBLE="x\\ty"\nEMPTY=\nSPACED = v w \n'
    )
    assert read_env_file(write(tmp_path, text)) == {
        "VOXTRA_ARI_URL": "http://pbx:8088",
        "VOXTRA_ARI_PASSWORD": 'a # b "c" ${d}',
        "DOUBLE": "x\ty",
        "EMPTY": "",
        "SPACED": "v w",
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\n# c\nhunter2\n", ", line 3: is not NAME=value"),
        ("A=1\nB='hunter2\nC=3\n", ", line 2: is not NAME=value"),
        (
            "VOXTRA_ARI_PASWORD=hunter2\n",
            "VOXTRA_ARI_PASWORD is no setting: did you mean VOXTRA_ARI_P",
        ),
        ("A=\0hunter2\n", "line 1"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_secret(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_env_file(write(tmp_path, text), ENVIRONMENT)
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        read_env_file(tmp_path / "none")
    (tmp_path / "latin").write_bytes(b"A=\xff\xfe\n")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        read_env_file(tmp_path / "latin")


def test_precedence_and_who_said_it(tmp_path: Path) -> None:
    env_file = write(
        tmp_path, "VOXTRA_ARI_URL=http://dotenv:1\nVOXTRA_ARI_USER=dotenv\nVOXTRA_APP_NAME=dotenv\nPBX=up\n"
    )
    file = tmp_path / "voxtra.yaml"
    file.write_text("asterisk: {url: 'http://file:1', user: file, app_name: file, password: '${PBX}'}\n")
    config = VoxtraConfig.load(
        file=file,
        env={"VOXTRA_ARI_USER": "env", "VOXTRA_APP_NAME": ""},
        env_file=env_file,
        options={"asterisk.url": "http://option:1"},
    )
    assert config.asterisk.url == "http://option:1"
    assert config.asterisk.user == "env"
    assert config.asterisk.app_name == "dotenv"  # an empty variable says nothing
    assert config.asterisk.password.get_secret_value() == "up"
    assert config.source("asterisk.user") == "environment VOXTRA_ARI_USER"
    assert config.source("asterisk.app_name") == ".env VOXTRA_APP_NAME"


def test_the_process_sees_it_and_its_own_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOXTRA_ARI_USER", "env")
    monkeypatch.setenv("VOXTRA_APP_NAME", "")
    use_env_file(
        write(tmp_path, "VOXTRA_ARI_USER=no\nVOXTRA_APP_NAME=yes\nOPENAI_API_KEY=sk\nEMPTY=\n"), ENVIRONMENT
    )
    assert os.environ["OPENAI_API_KEY"] == "sk"
    assert "EMPTY" not in os.environ
    config = VoxtraConfig.load()
    assert (config.asterisk.user, config.source("asterisk.user")) == ("env", "environment VOXTRA_ARI_USER")
    assert (config.asterisk.app_name, config.source("asterisk.app_name")) == ("yes", ".env VOXTRA_APP_NAME")
    later = config.layered(file=None, options={"asterisk.user": "option"})
    assert (later.asterisk.user, later.asterisk.app_name) == ("option", "yes")


def test_a_wrong_value_is_said_to_come_from_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"asterisk\.url = 'pbx': .* \(in \.env VOXTRA_ARI_URL\)"):
        VoxtraConfig.load(env={}, env_file=write(tmp_path, "VOXTRA_ARI_URL=pbx\n"))


def test_importing_the_library_reads_nothing(tmp_path: Path) -> None:
    write(tmp_path, "VOXTRA_ARI_USER=dotenv\n")
    program = "import voxtra, os; print(voxtra.VoxtraApp().settings.asterisk.user, dict(os.environ))"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("asterisk ")
    assert "VOXTRA_ARI_USER" not in done.stdout


@given(st.text(max_size=60))
def test_any_text_gives_variables_or_one_line(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "e"
        path.write_text(text, encoding="utf-8", errors="ignore")
        said = ""
        try:
            read_env_file(path)
        except ConfigurationError as error:
            said = str(error)
        assert "\n" not in said
