from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.app import VoxtraApp
from voxtra.cli.target import UserCodeError, load_app, parse_target
from voxtra.errors import ConfigurationError

GOOD = """\
from voxtra import VoxtraApp
app = VoxtraApp(app_name="mine")
name = "x"
def make():
    return app
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def refused(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_app(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "app", "app:", ":app", "a b:app", "app:a-b", "app:1", "a/b:app", "app:app(1)", "..:x", "app:()"],
)
def test_malformed(text: str) -> None:
    assert "write MODULE:ATTRIBUTE" in refused(text)


@given(st.text(max_size=20))
def test_any_text_is_a_target_or_refused(text: str) -> None:
    try:
        target = parse_target(text)
    except ConfigurationError:
        return
    assert target.text == text
    assert target.attribute


def test_a_module_here(folder: Path) -> None:
    (folder / "vx_one.py").write_text(GOOD)
    assert load_app("vx_one:app").app_name == "mine"
    assert load_app("vx_one:make()").app_name == "mine"


def test_a_file_elsewhere_with_a_neighbour_and_a_taken_name(folder: Path) -> None:
    (folder / "src").mkdir()
    (folder / "src" / "vx_neighbour.py").write_text("NAME = 'near'\n")
    code = "from voxtra import VoxtraApp\nimport vx_neighbour\napp = VoxtraApp(app_name=vx_neighbour.NAME)\n"
    (folder / "src" / "json.py").write_text(code)
    assert load_app("src/json.py:app").app_name == "near"


def test_a_file_in_a_package_may_import_its_siblings(folder: Path) -> None:
    (folder / "vx_shop").mkdir()
    (folder / "vx_shop" / "__init__.py").write_text("")
    (folder / "vx_shop" / "names.py").write_text("NAME = 'shop'\n")
    code = "from voxtra import VoxtraApp\nfrom .names import NAME\napp = VoxtraApp(app_name=NAME)\n"
    (folder / "vx_shop" / "phones.py").write_text(code)
    assert load_app("vx_shop/phones.py:app").app_name == "shop"
    assert isinstance(load_app("vx_shop.phones:app"), VoxtraApp)


def test_what_is_not_there_is_named_with_the_nearest(folder: Path) -> None:
    (folder / "vx_two.py").write_text(GOOD)
    assert refused("vx_tow:app") == "no module 'vx_tow': did you mean 'vx_two:app'?"
    assert "no module 'vx_nothing_like' in " in refused("vx_nothing_like:app")
    assert refused("vx_tow.py:app") == "no file 'vx_tow.py': did you mean 'vx_two.py'?"
    assert refused("vx_two:ap") == "vx_two has no 'ap': did you mean 'vx_two:app'?"
    assert refused("vx_two:zzz") == "vx_two has no 'zzz': did you mean 'vx_two:app'?"
    assert "of type str, not a VoxtraApp: did you mean 'app'?" in refused("vx_two:name")
    assert "write 'vx_two:make()'" in refused("vx_two:make")
    assert "can't be called: leave the () out" in refused("vx_two:name()")
    (folder / "vx_three.py").write_text("x = 1\n")
    assert "there is none: write  app = VoxtraApp()" in refused("vx_three:app")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import vx_no_such_thing\n", "ModuleNotFoundError"),
        ("def f():\n    return 1 / 0\nf()\n", "ZeroDivisionError"),
        ("x = (\n", "SyntaxError"),
        ("import sys; sys.exit(3)\n", "ended the program while it was imported: exit(3)"),
    ],
)
@pytest.mark.parametrize("target", ["vx_bad:app", "vx_bad.py:app"])
def test_the_users_own_error_keeps_the_users_part_of_the_traceback(
    folder: Path, code: str, says: str, target: str
) -> None:
    (folder / "vx_bad.py").write_text(code)
    with pytest.raises(UserCodeError) as caught:
        load_app(target)
    assert says in str(caught.value)
    assert "vx_bad.py" in caught.value.shown
    assert "importlib" not in caught.value.shown
    assert "voxtra/cli" not in caught.value.shown
    sys.modules.pop("vx_bad", None)


def test_what_voxtra_itself_refuses_is_one_line_with_its_place(folder: Path) -> None:
    (folder / "vx_url.py").write_text("from voxtra import VoxtraApp\n\napp = VoxtraApp('nope')\n")
    assert refused("vx_url:app").startswith("vx_url.py:3: asterisk.url = 'nope': must be an address")
