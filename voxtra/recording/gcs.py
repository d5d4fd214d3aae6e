"""Recordings in Google Cloud Storage. Wants ``voxtra[gcs]``."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voxtra.errors import MissingExtraError, StorageError
from voxtra.recording.objects import NAME, ObjectSink

CHUNK = 8 * 1024 * 1024
"""Files above this size go up in pieces of it; what breaks off goes on from the last one."""


class GCSSink(ObjectSink):
    """Stores recordings in a bucket of Google Cloud Storage.

    Args:
        bucket, name, content_type, metadata, keep_file, timeout: see :class:`ObjectSink`.
        kms_key: encrypt with this key (``projects/.../cryptoKeys/...``) instead of Google's own.
        client: a ``google.cloud.storage.Client``; else one by the environment's credentials.

    Raises:
        MissingExtraError: google-cloud-storage is not installed.
    """

    scheme = "gs"

    def __init__(
        self,
        bucket: str,
        *,
        name: str = NAME,
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
        keep_file: bool = False,
        timeout: float = 300.0,
        kms_key: str = "",
        client: Any = None,
    ) -> None:
        super().__init__(
            bucket,
            name=name,
            content_type=content_type,
            metadata=metadata,
            keep_file=keep_file,
            timeout=timeout,
        )
        try:
            import google.cloud.storage
        except ImportError:
            raise MissingExtraError("Google Cloud Storage", "gcs") from None
        self._make = google.cloud.storage.Client
        self._kms_key = kms_key
        self._client = client

    def _put(self, path: Path, name: str, content_type: str, more: dict[str, str]) -> bool:
        import requests
        from google.api_core.exceptions import GoogleAPIError, PreconditionFailed
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.exceptions import GoogleCloudError
        from google.cloud.storage.retry import DEFAULT_RETRY

        retry = DEFAULT_RETRY.with_timeout(self._timeout)
        where = f"gs://{self.bucket}/{name}"
        try:
            if self._client is None:
                self._client = self._make()
            bucket = self._client.bucket(self.bucket)
            blob = bucket.blob(name, chunk_size=CHUNK, kms_key_name=self._kms_key or None)
            blob.metadata = more
            try:
                blob.upload_from_filename(
                    str(path), content_type=content_type, if_generation_match=0, checksum="crc32c",
                    timeout=(10, 60), retry=retry,
                )  # fmt: skip
            except PreconditionFailed:
                # It is there: of another recording, or of this one by a try whose answer was lost.
                blob.reload(timeout=(10, 60), retry=retry)
                return bool(blob.crc32c == crc32c(path) and blob.size == path.stat().st_size)
        except (
            GoogleAPIError,
            GoogleCloudError,
            GoogleAuthError,
            requests.RequestException,
            OSError,
        ) as error:
            raise StorageError(f"{where} was not stored: {error}") from error
        return True


def crc32c(path: Path) -> str:
    """The checksum Google keeps of an object: CRC32C, big-endian, base64."""
    import google_crc32c

    found: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    with path.open("rb") as file:
        while piece := file.read(1024 * 1024):
            found.update(piece)
    return base64.b64encode(found.digest()).decode()
