"""What a test on a fake call may raise."""

from __future__ import annotations

from voxtra.errors import VoxtraError


class FakeCallError(VoxtraError):
    """The fakes are used in a way they can't be, or asked for what they don't have."""


class ExpectationError(VoxtraError, AssertionError):
    """The call did not go as the test says. The message holds the call so far."""
