"""The handle of one call's sound."""

from __future__ import annotations

import weakref
from typing import Self

from voxtra.voice.bridging import Attaching, Hearer, OnFrame, check_callback, check_role
from voxtra.voice.delivery import FRAMES, ThreadDelivery
from voxtra.voice.runner import Runner
from voxtra.voice.tap import Tap
from voxtra.wire import AudioFormat


class AudioBridge:
    """The sound of one call, both ways. Made by ``audio_bridge.attach`` and ``attach_caller``.

    Hold it for the call's lifetime: dropping the last reference closes both tracks at once. A callback that uses the
    bridge is a reference, too, until the call ends. A connection that breaks is made again, and publishes and
    subscribes as before; what was late by then is dropped.
    """

    def __init__(
        self, runner: Runner, attaching: Attaching, tap: Tap, hearer: Hearer, delivery: ThreadDelivery
    ) -> None:
        self._runner = runner
        self._attaching = attaching
        self._tap = tap
        self._hearer = hearer
        self._delivery = delivery
        self._finalizer = weakref.finalize(self, tap.abort)

    @classmethod
    def _open(cls, runner: Runner, attaching: Attaching) -> Self:
        delivery = ThreadDelivery(f"frames of {attaching.request.sid}", FRAMES)
        hearer = Hearer(attaching.callback, delivery)
        return cls(runner, attaching, runner.run(attaching.open(hearer)), hearer, delivery)

    @property
    def call_sid(self) -> str:
        """The call."""
        return self._attaching.request.sid

    @property
    def format(self) -> AudioFormat:
        """How frames are coded, both ways."""
        return self._tap.format

    @property
    def closed(self) -> bool:
        """Whether it is over: closed, or the call has ended."""
        return self._tap.over or self._tap.closed

    @property
    def dropped(self) -> int:
        """Frames lost here: published faster than they could be sent, or heard faster than the callback ran."""
        return self._tap.dropped + self._delivery.dropped

    @property
    def reconnected(self) -> int:
        """How often the connection broke and was made again."""
        return self._tap.reconnected

    def publish_downlink(self, frame: bytes, *, timestamp_us: int | None = None) -> None:
        """Send sound to the caller, after what was sent before. It never waits; any thread may.

        Args:
            frame: one Opus packet; of the other codecs a piece of any length, up to a minute ahead.
            timestamp_us: its time; None: following on, by the monotonic clock.

        Raises:
            VoiceError: BAD_ARGUMENT: it can't be sound of this codec; CLOSED. After the call's end it goes nowhere,
                and nothing is raised.
        """
        check_role(self._attaching.role, "server", "publish_downlink")
        self._tap.publish(frame, timestamp_us)

    def publish_uplink(self, frame: bytes, *, timestamp_us: int | None = None) -> None:
        """Say something in the call, of a bridge made by ``attach_caller``; else as :meth:`publish_downlink`."""
        check_role(self._attaching.role, "caller", "publish_uplink")
        self._tap.publish(frame, timestamp_us)

    def on_uplink(self, callback: OnFrame | None) -> None:
        """Hear the caller with another callback from now on; None hears nothing."""
        check_role(self._attaching.role, "server", "on_uplink")
        check_callback(callback, "on_uplink")
        self._hearer.callback = callback

    def on_downlink(self, callback: OnFrame | None) -> None:
        """The same of a bridge made by ``attach_caller``."""
        check_role(self._attaching.role, "caller", "on_downlink")
        check_callback(callback, "on_downlink")
        self._hearer.callback = callback

    def close(self) -> None:
        """End both tracks; what was published is sent first (at most 2 s). The call and its agent go on.

        Afterwards no callback runs any more. Twice is as good as once.
        """
        if self._finalizer.detach() is not None:
            self._runner.run_if_open(self._tap.close())
        self._delivery.close()
        self._delivery.join(1.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
