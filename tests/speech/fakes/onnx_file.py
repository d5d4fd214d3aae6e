"""A model of a few bytes in the form of Smart Turn, written by hand: the mean of what it hears, through a sigmoid."""

from __future__ import annotations

from pathlib import Path


def _number(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def _int(field: int, value: int) -> bytes:
    return _number(field << 3) + _number(value)


def _part(field: int, *parts: bytes | str) -> bytes:
    data = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
    return _number(field << 3 | 2) + _number(len(data)) + data


def _value(field: int, name: str, *shape: int) -> bytes:
    dims = [_part(1, _part(2, "batch")), *(_part(1, _int(1, size)) for size in shape)]
    tensor = _part(1, _int(1, 1), _part(2, *dims))  # float
    return _part(field, _part(1, name), _part(2, tensor))


def _node(op: str, takes: str, gives: str, *attributes: bytes) -> bytes:
    return _part(1, _part(1, takes), _part(2, gives), _part(4, op), *attributes)


def _mean(takes: str, gives: str, axis: int, *, keep: int) -> bytes:
    axes = _part(5, _part(1, "axes"), _int(8, axis), _int(20, 7))
    return _node("ReduceMean", takes, gives, axes, _part(5, _part(1, "keepdims"), _int(3, keep), _int(20, 2)))


def write(path: Path, *, takes: str = "input_features", frames: int = 800) -> Path:
    """A file that onnxruntime loads."""
    graph = _part(
        7,
        _mean(takes, "bands", 2, keep=0),
        _mean("bands", "mean", 1, keep=1),
        _node("Sigmoid", "mean", "logits"),
        _part(2, "ending"),
        _value(11, takes, 80, frames),
        _value(12, "logits", 1),
    )
    path.write_bytes(_int(1, 8) + graph + _part(8, _int(2, 13)))
    return path
