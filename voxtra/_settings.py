"""What every settings model needs: layers, YAML with variables, and complaints that fit on one line."""

from __future__ import annotations

import difflib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import yaml
from pydantic import BaseModel, ConfigDict, SecretStr
from pydantic import ValidationError as PydanticError

from voxtra.errors import ConfigurationError

Layer: TypeAlias = Literal["file", "dotenv", "environment", "options", "keywords", "forced"]
"""Where a value may come from, weakest first."""

LAYERS: tuple[Layer, ...] = get_args(Layer)


class Settings(BaseModel):
    """Base of all settings: unknown keys are refused, what is wrong is said in one line."""

    model_config = ConfigDict(extra="forbid", validate_default=True, hide_input_in_errors=True)
    section: ClassVar[str] = ""

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except PydanticError as error:
            line, _ = explain(error, type(self), prefix=self.section)
            raise ConfigurationError(line) from None

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """What ``repr`` and ``str`` show: keys among a provider's ``options`` are no more than named."""
        for name, value in super().__repr_args__():
            yield name, _without_secrets(value) if name == "options" else value

    # pydantic: an ordinary __init__, so that nested settings report their place in the whole
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


# ---- files

_REFERENCE = re.compile(
    r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|\$\{[^}]*\}?"
)


class _Loader(yaml.SafeLoader):
    """YAML as its specification has it: a key stands in a mapping once. PyYAML takes the last, without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        known = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in known:
                    shown = key.value if re.fullmatch(r"[\w.-]{1,40}", key.value) else "a key"
                    raise yaml.MarkedYAMLError(problem=f"{shown} is there twice", problem_mark=key.start_mark)
                known.add((key.tag, key.value))
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError) as error:  # 2024-13-45 looks like a date to PyYAML
            kind = node.tag.rpartition(":")[2]
            problem = f"what looks like {kind} is none: put it in quotes"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from error


def read_yaml(path: Path, env: Mapping[str, str]) -> dict[str, Any]:
    """The settings in a YAML file, variables expanded. Raises ConfigurationError."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: can't be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        what = re.sub(
            r"'[^']{2,}'", "…", what
        )  # "*hunter2" is an alias to YAML, and a password to its writer
        raise ConfigurationError(f"{path}{where}: not YAML: {what}") from None
    except RecursionError:
        raise ConfigurationError(f"{path}: not YAML: too many levels") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigurationError(f"{path}: must hold settings like  asterisk: {{url: ...}}")
    try:
        expanded: dict[str, Any] = _expand(data, env, path, "")
    except RecursionError:
        raise ConfigurationError(f"{path}: a part of it holds itself (&anchor, *anchor)") from None
    return expanded


def _expand(value: Any, env: Mapping[str, str], path: Path, name: str) -> Any:
    """Expand ``${VAR}`` and ``${VAR:-default}`` in strings; ``$${`` is a plain ``${``."""
    if isinstance(value, dict):
        return {k: _expand(v, env, path, f"{name}.{k}" if name else str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(v, env, path, f"{name}[{i}]") for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        variable, default = match["name"], match["default"]
        if variable is None:
            raise ConfigurationError(
                f"{path}: {name}: what follows ${{ is no variable: write ${{NAME}}, or $${{ for a plain ${{"
            )
        found = env.get(variable)
        if found or (found is not None and default is None):
            return found
        if default is None:
            raise ConfigurationError(
                f"{path}: {name}: ${{{variable}}} is not set: export it, or write ${{{variable}:-default}}"
            )
        return default

    return _REFERENCE.sub(replace, value)


def as_yaml(value: Any, variables: Mapping[str, str], *, secrets: bool, name: str = "") -> Any:
    """Settings as :func:`read_yaml` reads them again; with ``secrets`` these too, else variables in their place.

    Args:
        variables: setting → its environment variable.
        name: of ``value``.
    """
    if isinstance(value, Mapping):
        return {
            key: as_yaml(each, variables, secrets=secrets, name=f"{name}.{key}" if name else str(key))
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [as_yaml(each, variables, secrets=secrets, name=name) for each in value]
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    secret = isinstance(value, SecretStr)
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str):
        return text
    if not secrets and (secret or (".options." in name and is_secret_name(name.rpartition(".")[2]))):
        made = re.sub(r"\W", "_", f"VOXTRA_{name}".upper())
        return f"${{{variables.get(name, made)}}}"
    return text.replace("${", "$${")


_SECRET = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether what goes by this name is likely to be a secret: ``OPENAI_API_KEY``, ``auth_token``."""
    return _SECRET.search(name) is not None


def secret_values(settings: BaseModel) -> Iterator[str]:
    """Every secret in settings, for a log to leave out: SecretStr, and keys among the ``options``."""
    for name, value in settings:
        if isinstance(value, SecretStr):
            yield value.get_secret_value()
        elif isinstance(value, BaseModel):
            yield from secret_values(value)
        elif name == "options" and isinstance(value, Mapping):
            yield from (str(v) for k, v in leaves(value) if is_secret_name(k))


def _without_secrets(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {k: "**********" if is_secret_name(str(k)) else _without_secrets(v) for k, v in value.items()}


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all. Raises ConfigurationError."""
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}."
        )  # made with mode 0600
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise ConfigurationError(f"{path}: can't be written: {error.strerror}") from None


# ---- nested dictionaries


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """``{"asterisk.url": 1}`` → ``{"asterisk": {"url": 1}}``; values of None are left out."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        *sections, last = name.split(".")
        place = out
        for section in sections:
            place = _section_of(place, section, name)
        if isinstance(value, Mapping):
            update(_section_of(place, last, name), nested(value))
        elif value is not None:
            place[last] = value
    return out


def _section_of(place: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    found: object = place.setdefault(section, {})
    if not isinstance(found, dict):
        raise ConfigurationError(f"{name}: {section} is given both as a section and as a value")
    return found


def update(into: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Merge ``values`` into ``into``, section by section; nothing of ``values`` is shared with it."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            there = into.get(name)
            into[name] = update(there if isinstance(there, dict) else {}, value)
        else:
            into[name] = value
    return into


def leaves(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of everything that is no dictionary."""
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


# ---- complaints


def source(layers: Mapping[Layer, Mapping[str, Any]], path: Sequence[str | int]) -> Layer | None:
    """The strongest layer that says something about ``path``; None = only the defaults do."""
    for name in reversed(LAYERS):
        place: Any = layers.get(name, {})
        for key in path:
            known = (
                key in place
                if isinstance(place, Mapping)
                else isinstance(place, list) and key in range(len(place))
            )
            if not known:
                break
            place = place[key]
        else:
            return name
    return None


def explain(
    error: PydanticError, model: type[BaseModel], *, prefix: str = ""
) -> tuple[str, tuple[str | int, ...]]:
    """One line for pydantic's first complaint, and the path of the field it is about."""
    details = error.errors(include_url=False)
    # a misspelt key also makes one missing: the misspelling is what there is to say
    first = next((d for d in details if d["type"] in ("extra_forbidden", "invalid_key")), details[0])
    path = first["loc"]
    dotted = ".".join(str(part) for part in ((prefix, *path) if prefix else path))
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    if first["type"] in ("extra_forbidden", "invalid_key"):
        near = difflib.get_close_matches(str(path[-1]), _keys(model, path[:-1]), n=1, cutoff=0.5)
        known = ", ".join(_keys(model, path[:-1]))
        mend = f"did you mean {near[0]!r}?" if near else f"known are: {known}"
        return f"unknown setting {dotted!r}: {mend}{more}", path
    shown = "" if first["type"] == "missing" or _is_secret(model, path) else f" = {shorten(first['input'])}"
    return f"{dotted}{shown}: {_mend(first)}{more}", path


def _mend(detail: Mapping[str, Any]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_type":
        return "must be text: put it in quotes"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return "must be a section with keys of its own"
    message = str(detail["msg"]).split(", unable to")[0]
    return message.replace("Input should", "must").replace("String should", "must")


def shorten(value: object) -> str:
    text = re.sub(r"//\S*@", "//…@", repr(value))  # a password in an address, which may itself have / and @
    return text if len(text) <= 60 else text[:57] + "..."


def _field_type(model: type[BaseModel] | None, key: str | int) -> Any:
    if model is None or not isinstance(key, str) or key not in model.model_fields:
        return None
    return model.model_fields[key].annotation


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _place(model: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel] | None:
    found: type[BaseModel] | None = model
    for key in path:
        if isinstance(key, str):
            found = _inner_model(_field_type(found, key))
    return found


def _keys(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    place = _place(model, path)
    return list(place.model_fields) if place else []


def _is_secret(model: type[BaseModel], path: Sequence[str | int]) -> bool:
    """Also of whole sections: what stands in them may be a password."""
    if not path:
        return True
    annotation = _field_type(_place(model, path[:-1]), path[-1])
    kinds = (annotation, *get_args(annotation))
    return SecretStr in kinds or "options" in path or _inner_model(annotation) is not None
