"""The ways out, by name: which endpoint, which numbers may be shown, where to, how many calls at once."""

from __future__ import annotations

from collections.abc import Iterable

from voxtra.config import ApiTrunk
from voxtra.control.gate import Denied
from voxtra.errors import ConfigurationError


class Trunks:
    """The trunks of a server.

    Args:
        given: those of the settings.
    """

    def __init__(self, given: Iterable[ApiTrunk] = ()) -> None:
        self._trunks: dict[str, ApiTrunk] = {}
        for trunk in given:
            if trunk.id in self._trunks:
                raise ConfigurationError(f"api.trunks: two are named {trunk.id!r}")
            self._trunks[trunk.id] = trunk

    def find(self, org: str, identifier: str) -> ApiTrunk:
        """The trunk of this name that ``org`` may use. Raises Denied (NOT_FOUND)."""
        trunk = self._trunks.get(identifier)
        if trunk is None or trunk.org not in (None, org):
            raise Denied(f"trunkId = {identifier!r}: there is no such trunk", "NOT_FOUND", field="trunkId")
        return trunk

    def by_number(self, number: str) -> ApiTrunk | None:
        """The trunk that calls to ``number`` come in by, with or without its ``+``."""
        digits = number.removeprefix("+")
        for trunk in self._trunks.values():
            if any(own.removeprefix("+") == digits for own in trunk.numbers):
                return trunk
        return None
