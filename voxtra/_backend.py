"""Settings of the backend that is told of calls."""

from __future__ import annotations

from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from voxtra._checks import can_be_host
from voxtra._settings import Settings
from voxtra.errors import ConfigurationError
from voxtra.events import EventType

_SENT = sorted({str(each) for each in EventType if not str(each).startswith("audio.frame.")})


def _split(value: object) -> object:
    """``call.started,call.ended``, as an environment variable has it."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _known(value: str) -> str:
    if value not in _SENT:
        raise ValueError(f"must be one of {', '.join(_SENT)}")
    return value


def _http(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and can_be_host(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if value and not good:
        raise ValueError("must be an address like https://backend.example/voxtra")
    return value


class BackendConfig(Settings):
    """The backend that is told of every call's events, see docs/webhooks.md. ``VoxtraApp(webhook=...)`` is above it.

    Attributes:
        url: http or https; "" = nobody is told.
        signing_secret: when set, requests are signed.
        events: names of events; empty = all but audio frames.
        timeout: of one request, s.
        retries: tries after the first one.
        backoff: wait before the first retry, s; it doubles each time.
        private_urls: let the URL lead into private networks and to this machine.
        spool: a folder that keeps events until they are delivered; "" = they are kept in memory.
        left: without a spool, the folder for what could not be delivered before a stop; "" = it is lost.
        max_waiting: events that may wait; what comes then is lost, and logged.
        parallel: requests at a time.
        flush: how long stopping waits for deliveries, s.
    """

    section = "backend"
    url: Annotated[str, AfterValidator(_http)] = ""
    signing_secret: SecretStr = SecretStr("")
    events: Annotated[list[Annotated[str, AfterValidator(_known)]], BeforeValidator(_split)] = Field(
        default_factory=list
    )
    timeout: float = Field(10.0, gt=0, le=600)
    retries: int = Field(3, ge=0, le=1000)
    backoff: float = Field(1.0, gt=0, le=3600)
    private_urls: bool = False
    spool: str = ""
    left: str = "webhook-left"
    max_waiting: int = Field(10_000, ge=1)
    parallel: int = Field(8, ge=1, le=1000)
    flush: float = Field(5.0, ge=0, le=3600)

    @model_validator(mode="after")
    def _public(self) -> Self:
        if self.url and not self.private_urls:
            from voxtra._public_net import check_url  # not for settings that name no backend

            try:
                check_url(self.url, private=False, allowed_by="backend.private_urls: true allows it")
            except ConfigurationError as error:
                raise ValueError(str(error)) from None
        return self

    def arguments(self) -> dict[str, Any]:
        """Those of :class:`~voxtra.webhook.WebhookConfig`."""
        return {**self.model_dump(), "spool": self.spool or None, "left": self.left or None}
