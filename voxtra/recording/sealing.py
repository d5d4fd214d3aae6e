"""Encryption of files at rest, for keys whose other half is not on this machine. Wants ``voxtra[age]``.

The format is age's (https://age-encryption.org/v1): ``age -d -i key.txt call.wav.age`` opens what is made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

from voxtra.errors import ConfigurationError, MediaError, MissingExtraError
from voxtra.recording.placing import Seal


def sealer(recipients: Sequence[str]) -> Seal:
    """What encrypts to ``recipients``: public keys, ``age1...`` or ``ssh-ed25519 ...``. Any of them can open it.

    Raises:
        ConfigurationError: one is none.
        MissingExtraError: pyrage is not installed.
    """
    try:
        import pyrage
    except ImportError:
        raise MissingExtraError("encryption of files", "age") from None
    keys: list[Any] = []
    for text in recipients:
        kind = pyrage.ssh if text.startswith("ssh-") else pyrage.x25519
        try:
            keys.append(kind.Recipient.from_str(text.strip()))
        except pyrage.RecipientError as error:
            raise ConfigurationError(
                f"encrypt_to: {_shown(text)} is no public key of age or ssh: make one with  age-keygen ({error})"
            ) from None

    def seal(source: BinaryIO, goal: BinaryIO) -> None:
        try:
            pyrage.encrypt_io(source, goal, keys)
        except pyrage.EncryptError as error:
            raise MediaError(f"the recording can't be encrypted: {error}") from error

    return seal


def _shown(text: str) -> str:
    """Somebody may have given the secret half: it is not repeated."""
    return repr(text[:12] + "...") if text.startswith("age1") else "what was given"
