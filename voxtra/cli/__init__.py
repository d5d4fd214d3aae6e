"""The ``voxtra`` command. One module a command; ``main`` is the entry point."""

from voxtra.cli.root import main

__all__ = ["main"]
