"""Recordings in Google Cloud Storage. Wants ``voxtra[gcs]``."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from voxtra.errors import MissingExtraError, StorageError
from voxtra.recording.objects import NAME, ObjectSink
from voxtra.recording.sink import RecordingSink

CHUNK = 8 * 1024 * 1024
"""Files above this size go up in pieces of it; what breaks off goes on from the last one."""


class GCSSink(ObjectSink):
    """Stores recordings in a bucket of Google Cloud Storage.

    Args:
        bucket, name, content_type, metadata, keep_file, timeout, keep_days, then: see :class:`ObjectSink`.
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
        keep_days: float = 0,
        then: RecordingSink | None = None,
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
            keep_days=keep_days,
            then=then,
        )
        try:
            import google.cloud.storage
        except ImportError:
            raise MissingExtraError("Google Cloud Storage", "gcs") from None
        self._make = google.cloud.storage.Client
        self._kms_key = kms_key
        self._client = client

    def _put(self, path: Path, name: str, content_type: str, more: dict[str, str]) -> bool:
        from google.api_core.exceptions import PreconditionFailed

        retry = self._retry()
        with self._named(f"gs://{self.bucket}/{name} was not stored"):
            bucket = self._connected().bucket(self.bucket)
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
        return True

    def _set_rule(self, prefix: str, days: int) -> bool:
        with self._named(f"gs://{self.bucket}: no lifecycle rule could be set"):
            bucket = self._connected().get_bucket(self.bucket, timeout=(10, 60), retry=self._retry())
            condition: dict[str, Any] = {"age": days} | ({"matchesPrefix": [prefix]} if prefix else {})
            rule = {"action": {"type": "Delete"}, "condition": condition}
            rules = [dict(each) for each in bucket.lifecycle_rules]
            if rule in rules:
                return False
            # Rules have no names here: one of ours is known by deleting by age under this very prefix.
            ours = [each for each in rules if _is_ours(each, prefix)]
            bucket.lifecycle_rules = [*(each for each in rules if each not in ours), rule]
            bucket.patch(timeout=(10, 60), if_metageneration_match=bucket.metageneration)
        return True

    def _connected(self) -> Any:
        if self._client is None:
            self._client = self._make()
        return self._client

    def _retry(self) -> Any:
        from google.cloud.storage.retry import DEFAULT_RETRY

        return DEFAULT_RETRY.with_timeout(self._timeout)

    @staticmethod
    @contextlib.contextmanager
    def _named(what: str) -> Iterator[None]:
        import requests
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.exceptions import GoogleCloudError
        from google.resumable_media import DataCorruption

        try:
            yield
        except (
            DataCorruption,
            GoogleAPIError,
            GoogleCloudError,
            GoogleAuthError,
            requests.RequestException,
            OSError,
        ) as error:
            raise StorageError(f"{what}: {error}") from error


def _is_ours(rule: dict[str, Any], prefix: str) -> bool:
    """Whether it deletes by age alone, under ``prefix`` and nowhere else."""
    condition = dict(rule.get("condition", {}))
    condition.pop("age", None)
    same = condition == ({"matchesPrefix": [prefix]} if prefix else {})
    return rule.get("action", {}).get("type") == "Delete" and same


def crc32c(path: Path) -> str:
    """The checksum Google keeps of an object: CRC32C, big-endian, base64."""
    import google_crc32c

    found: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    with path.open("rb") as file:
        while piece := file.read(1024 * 1024):
            found.update(piece)
    return base64.b64encode(found.digest()).decode()
