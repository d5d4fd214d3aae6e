"""``app:app``: from what is written on the command line to a VoxtraApp."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import linecache
import re
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import TYPE_CHECKING

from voxtra.errors import ConfigurationError, VoxtraError

if TYPE_CHECKING:
    from voxtra.app import VoxtraApp

_FORM = "write MODULE:ATTRIBUTE, as in app:app, or path/to/app.py:app"
_MACHINERY = ("<frozen importlib", str(Path(__file__).resolve()), str(Path(importlib.__file__).parent))


class UserCodeError(ConfigurationError):
    """The user's own code raised.

    Attributes:
        shown: the end of the traceback that lies in that code.
        full: all of it.
    """

    def __init__(self, message: str, error: BaseException) -> None:
        super().__init__(message)
        self.full = "".join(traceback.format_exception(error)).rstrip()
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_MACHINERY):
            trace = trace.tb_next
        self.shown = "".join(traceback.format_exception(type(error), error, trace)).rstrip()


@dataclass(frozen=True)
class Target:
    """Where an app is.

    Attributes:
        text: as it was written.
        module: dotted name, "" when ``file`` is given.
        file: a Python file.
        attribute: dotted name within it.
        call: ``attribute`` is a factory, called without arguments.
    """

    text: str
    module: str
    file: Path | None
    attribute: str
    call: bool


def parse_target(text: str) -> Target:
    """Read ``module:attribute``, ``file.py:attribute`` or either with ``()``.

    Raises:
        ConfigurationError: it is neither; says what is missing.
    """
    place, colon, attribute = text.rpartition(":")
    if not colon or not place or not attribute:
        raise ConfigurationError(f"{text!r} names no app: {_FORM}")
    call = attribute.endswith("()")
    attribute = attribute.removesuffix("()")
    if not all(part.isidentifier() for part in attribute.split(".")):
        raise ConfigurationError(f"{text!r}: {attribute!r} is no name of an object: {_FORM}")
    if place.endswith(".py"):
        return Target(text, "", Path(place), attribute, call)
    if "/" in place or not all(part.isidentifier() for part in place.split(".")):
        raise ConfigurationError(f"{text!r}: {place!r} is neither a module nor a .py file: {_FORM}")
    return Target(text, place, None, attribute, call)


def load_app(text: str) -> VoxtraApp:
    """Import what ``text`` names and return the app.

    Raises:
        ConfigurationError: it is malformed, not there, or no VoxtraApp.
        UserCodeError: the user's code raised while it was imported, or its factory did.
    """
    from voxtra.app import VoxtraApp

    target = parse_target(text)
    module = _import(target)
    found: object = module
    for part in target.attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ConfigurationError(_no_attribute(target, module, part, found, VoxtraApp)) from None
    if target.call:
        found = _called(found, target)
    if isinstance(found, VoxtraApp):
        return found
    if inspect.isroutine(found) or inspect.isclass(found):
        raise ConfigurationError(
            f"{text} is a {'class' if inspect.isclass(found) else 'function'}, not a VoxtraApp: "
            f"if it makes the app, write '{text.removesuffix('()')}()'"
        )
    others = _names_of(module, VoxtraApp)
    mend = f"did you mean {others[0]!r}?" if others else "there is none: write  app = VoxtraApp()"
    raise ConfigurationError(f"{text} is of type {type(found).__name__}, not a VoxtraApp: {mend}")


def load_handler(text: str) -> object:
    """Import the handler that a route of the settings names, ``module:function``.

    Raises:
        ConfigurationError: it is malformed or not there.
        UserCodeError: the user's code raised while it was imported.
    """
    target = parse_target(text)
    if target.file is not None:
        raise ConfigurationError(
            f"{text!r}: a handler is in a module: write '{target.file.stem}:{target.attribute}'"
        )
    found: object = _import(target)
    for part in target.attribute.split("."):
        if not hasattr(found, part):
            functions = [name for name, value in vars(found).items() if inspect.iscoroutinefunction(value)]
            near = difflib.get_close_matches(part, functions, n=1)
            mend = f"did you mean {near[0]!r}?" if near else f"write  async def {part}(call): ..."
            raise ConfigurationError(f"{text}: {target.module} has no {part!r}: {mend}")
        found = getattr(found, part)
    return found


def _import(target: Target) -> ModuleType:
    if target.file is not None:
        return _import_file(target.file)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(target.module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if target.module != missing and not target.module.startswith(f"{missing}."):
            raise _broken(target.module, error) from None
        raise ConfigurationError(_no_module(target, missing, here)) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a user's module raises
        raise _broken(target.module, error) from None


def _import_file(file: Path) -> ModuleType:
    path = file.resolve()
    if not path.is_file():
        near = difflib.get_close_matches(file.name, [p.name for p in path.parent.glob("*.py")], n=1)
        mend = f"did you mean {near[0]!r}?" if near else f"looked in {path.parent}"
        raise ConfigurationError(f"no file {str(file)!r}: {mend}")
    root, parts = path.parent, [path.stem]
    while (root / "__init__.py").is_file():  # a file of a package is imported as such: relative imports work
        parts.insert(0, root.name)
        root = root.parent
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    name = ".".join(parts)
    if len(parts) == 1 and name in sys.modules:
        name = f"voxtra_target_{name}"  # calendar.py is the user's, whatever else goes by that name
    try:
        if len(parts) > 1:
            return importlib.import_module(name)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a user's module raises
        sys.modules.pop(name, None)
        raise _broken(str(file), error) from None
    return module


def _called(factory: object, target: Target) -> object:
    if not callable(factory):
        raise ConfigurationError(f"{target.text}: {target.attribute} can't be called: leave the () out")
    try:
        return factory()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a user's factory raises
        raise _broken(target.text, error) from None


def _broken(what: str, error: BaseException) -> ConfigurationError:
    """The error that a failed import becomes: one line where voxtra itself said what is wrong."""
    if isinstance(error, VoxtraError):
        where = _place_of(error.__traceback__)
        return ConfigurationError(f"{where}{error}") if not isinstance(error, UserCodeError) else error
    if isinstance(error, SystemExit):
        return UserCodeError(f"{what} ended the program while it was imported: exit({error.code!r})", error)
    said = traceback.format_exception_only(error)[-1].strip()
    return UserCodeError(f"{what} can't be imported: {said}", error)


def _place_of(trace: TracebackType | None) -> str:
    """``file:line: `` of the user's own line: the last one outside of voxtra and the import machinery."""
    own = str(Path(__file__).resolve().parent.parent)
    found: FrameType | None = None
    line = 0
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if not name.startswith((*_MACHINERY, own, "<")) and linecache.getline(name, trace.tb_lineno):
            found, line = trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next
    return f"{Path(found.f_code.co_filename).name}:{line}: " if found else ""


def _no_module(target: Target, missing: str, here: str) -> str:
    stems = [p.stem for p in Path(here).glob("*.py")] + [
        p.parent.name for p in Path(here).glob("*/__init__.py")
    ]
    first, *_ = target.module.split(".")
    near = difflib.get_close_matches(first, stems, n=1) if missing == first else []
    if near:
        return f"no module {missing!r}: did you mean '{near[0]}:{target.attribute}'?"
    return f"no module {missing!r} in {here} nor among the installed packages"


def _no_attribute(target: Target, module: ModuleType, part: str, owner: object, kind: type[VoxtraApp]) -> str:
    apps = _names_of(module, kind) if owner is module else []
    public = [name for name in vars(owner) if not re.match("_", name)] if hasattr(owner, "__dict__") else []
    near = difflib.get_close_matches(part, [*apps, *public], n=1) or apps[:1]
    place = target.module or str(target.file)
    mend = f"did you mean '{place}:{near[0]}'?" if near else "there is none: write  app = VoxtraApp()"
    return f"{place} has no {part!r}: {mend}"


def _names_of(module: ModuleType, kind: type) -> list[str]:
    return [name for name, value in vars(module).items() if isinstance(value, kind)]
