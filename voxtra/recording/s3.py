"""Recordings in Amazon S3, and in what speaks its protocol. Wants ``voxtra[s3]``."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voxtra.errors import ConfigurationError, MissingExtraError, StorageError
from voxtra.recording.objects import NAME, RULE, ObjectSink
from voxtra.recording.sink import RecordingSink

PART = 16 * 1024 * 1024
"""Files above this size go up in parts of it, each tried again on its own."""
_THERE = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")


class S3Sink(ObjectSink):
    """Stores recordings in an S3 bucket.

    Args:
        bucket, name, content_type, metadata, keep_file, timeout, keep_days, then: see :class:`ObjectSink`.
        endpoint_url: of another store than Amazon's.
        region: else by the environment.
        encryption: ``AES256`` or ``aws:kms``; "" is the bucket's own.
        kms_key: id of the key for ``aws:kms``.
        client: a ``boto3`` S3 client; else one by the environment's credentials.

    Raises:
        ConfigurationError: ``endpoint_url`` is none, or as :class:`ObjectSink`.
        MissingExtraError: boto3 is not installed.
    """

    scheme = "s3"

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
        endpoint_url: str = "",
        region: str = "",
        encryption: str = "",
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
            import boto3  # noqa: F401
        except ImportError:
            raise MissingExtraError("Amazon S3", "s3") from None
        if endpoint_url and not endpoint_url.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"S3Sink: endpoint_url={endpoint_url!r} is no URL: write http://host:port or https://host"
            )
        self._endpoint = endpoint_url
        self._region = region
        self._options: dict[str, str] = {"ServerSideEncryption": encryption} if encryption else {}
        if kms_key:
            self._options = {"ServerSideEncryption": encryption or "aws:kms", "SSEKMSKeyId": kms_key}
        self._client = client

    def _connect(self) -> Any:
        import boto3
        from botocore.config import Config

        # Made in a thread, and not by the module's default session, which is not safe there.
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self._endpoint or None,
            region_name=self._region or None,
            config=Config(
                retries={"max_attempts": 6, "mode": "standard"}, connect_timeout=10, read_timeout=60
            ),
        )

    def _put(self, path: Path, name: str, content_type: str, more: dict[str, str]) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        where = f"s3://{self.bucket}/{name}"
        digest = _sha256(path)
        options = {
            "Bucket": self.bucket, "Key": name, "ContentType": content_type, **self._options,
            "Metadata": {key: _ascii(value) for key, value in more.items()} | {"sha256": digest},
        }  # fmt: skip
        try:
            if self._client is None:
                self._client = self._connect()
            try:
                self._upload(path, options)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") not in _THERE:
                    raise
                # It is there: of another recording, or of this one by a try whose answer was lost.
                found = self._client.head_object(Bucket=self.bucket, Key=name)
                return bool(found.get("Metadata", {}).get("sha256") == digest)
        except (BotoCoreError, ClientError, OSError) as error:
            raise StorageError(f"{where} was not stored: {error}") from error
        return True

    def _set_rule(self, prefix: str, days: int) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        rule = {
            "ID": RULE + (f"-{prefix.strip('/').replace('/', '-')}" if prefix else ""), "Status": "Enabled",
            "Filter": {"Prefix": prefix}, "Expiration": {"Days": days},
        }  # fmt: skip
        try:
            if self._client is None:
                self._client = self._connect()
            try:
                rules = self._client.get_bucket_lifecycle_configuration(Bucket=self.bucket)["Rules"]
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") != "NoSuchLifecycleConfiguration":
                    raise
                rules = []
            if rule in rules:
                return False
            kept = [each for each in rules if each.get("ID") != rule["ID"]]
            self._client.put_bucket_lifecycle_configuration(
                Bucket=self.bucket, LifecycleConfiguration={"Rules": [*kept, rule]}
            )
        except (BotoCoreError, ClientError, OSError) as error:
            raise StorageError(f"s3://{self.bucket}: no lifecycle rule could be set: {error}") from error
        return True

    def _upload(self, path: Path, options: dict[str, Any]) -> None:
        with path.open("rb") as file:
            if path.stat().st_size <= PART:
                self._client.put_object(Body=file, IfNoneMatch="*", **options)
                return
            place = {name: options[name] for name in ("Bucket", "Key")}
            upload = place | {"UploadId": self._client.create_multipart_upload(**options)["UploadId"]}
            try:
                parts: list[dict[str, Any]] = []
                while piece := file.read(PART):
                    number = len(parts) + 1
                    sent = self._client.upload_part(Body=piece, PartNumber=number, **upload)
                    parts.append({"PartNumber": number, "ETag": sent["ETag"]})
                self._client.complete_multipart_upload(
                    MultipartUpload={"Parts": parts}, IfNoneMatch="*", **upload
                )
            except BaseException:
                with contextlib.suppress(
                    Exception
                ):  # the parts cost money; a bucket's own rule may clear them
                    self._client.abort_multipart_upload(**upload)
                raise


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ascii(value: str) -> str:
    """S3 keeps metadata as headers."""
    return value.encode("ascii", "backslashreplace").decode()
