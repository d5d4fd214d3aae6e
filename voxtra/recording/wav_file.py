"""A stereo WAV file that is written while a call goes on, by a few threads that all recordings share.

The header is written anew with every batch, so a file left behind by a process that was killed is a whole
WAV up to its last second.
"""

from __future__ import annotations

import asyncio
import logging
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

from voxtra.errors import MediaError
from voxtra.recording.tape import Write

log = logging.getLogger("voxtra.recording")

HEADER_BYTES = 44
_SAMPLE_BYTES = 4
MAX_PENDING_BYTES = 8 * 1024 * 1024
"""Sound that may wait for a slow disk (over 2 min at 16 kHz); what is beyond is silence in the file."""
CLOSE_DEADLINE_S = 10.0
_MAX_SIZE = 0xFFFFFFFF


def wav_header(rate: int, samples: int) -> bytes:
    """The header of a stereo 16-bit WAV file of ``samples`` a channel."""
    size = min(samples * _SAMPLE_BYTES, _MAX_SIZE - 36)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, rate, rate * _SAMPLE_BYTES, _SAMPLE_BYTES, 16)
    return struct.pack("<4sI4s", b"RIFF", size + 36, b"WAVE") + form + struct.pack("<4sI", b"data", size)


@cache
def recording_threads() -> ThreadPoolExecutor:
    """The few threads that all recordings share."""
    return ThreadPoolExecutor(2, "voxtra-recording")


class WavFile:
    """Batches of writes go in, one after another; an error ends the writing and is kept in ``error``.

    Args:
        path: the file; its folder is made, a file that is there is replaced.
        rate: Hz.

    Raises:
        MediaError: it can't be opened for writing.
    """

    def __init__(self, path: Path, rate: int) -> None:
        self.path = path
        self.error: MediaError | None = None
        self.dropped_bytes = 0
        """Sound that was not written, because the disk was too slow."""
        self._rate = rate
        self._samples = 0
        self._waiting: list[Write] = []
        self._waiting_bytes = 0
        self._job: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
            try:
                os.pwrite(self._fd, wav_header(rate, 0), 0)
            except OSError:
                os.close(self._fd)
                raise
        except OSError as error:
            raise MediaError(f"can't record to {path}: {error.strerror or error}") from error

    def write(self, writes: list[Write]) -> None:
        """Have ``writes`` carried out in order. Never blocks."""
        if self.error is not None:
            return
        for each in writes:
            if self._waiting_bytes + len(each.pcm) > MAX_PENDING_BYTES:
                if not self.dropped_bytes:
                    log.error("the disk is too slow for the recording %s: parts of it are silence", self.path)
                self.dropped_bytes += len(each.pcm)
                continue
            self._waiting.append(each)
            self._waiting_bytes += len(each.pcm)
        self._start()

    def _start(self) -> None:
        if self._job is None and self._waiting and self.error is None:
            batch, self._waiting = self._waiting, []
            size = sum(len(each.pcm) for each in batch)
            self._job = self._loop.run_in_executor(recording_threads(), self._carry_out, batch)
            self._job.add_done_callback(lambda job: self._done(job, size))

    def _done(self, job: asyncio.Future[None], size: int) -> None:
        self._job = None
        self._waiting_bytes -= size
        if job.cancelled():
            return
        error = job.exception()
        if error is not None:
            self.error = MediaError(f"the recording {self.path} broke off: {error}")
            log.error("%s", self.error)
            self._waiting.clear()
        else:
            self._start()

    async def caught_up(self) -> None:
        """Wait until what was to be written is, the writing broke off, or ``CLOSE_DEADLINE_S`` have passed."""
        deadline = self._loop.time() + CLOSE_DEADLINE_S
        while self._job is not None and (left := deadline - self._loop.time()) > 0:
            await asyncio.wait((self._job,), timeout=left)
            await asyncio.sleep(0)  # what follows on it begins the next batch

    async def close(self, samples: int) -> None:
        """Write what waits, make the file ``samples`` long, sync and close it. Logs what went wrong."""
        deadline = self._loop.time() + CLOSE_DEADLINE_S
        while self._job is not None:
            left = deadline - self._loop.time()
            if left <= 0:
                self.error = MediaError(f"the disk did not take the recording {self.path} in time")
                log.error("%s", self.error)
                # The thread still uses the file: it is closed when that is done.
                self._job.add_done_callback(lambda _: os.close(self._fd))
                return
            await asyncio.wait((self._job,), timeout=left)
        last = self._loop.run_in_executor(recording_threads(), self._finish, samples)
        await asyncio.wait((last,), timeout=max(1.0, deadline - self._loop.time()))
        if last.done() and (error := last.exception()) is not None:
            self.error = MediaError(f"the recording {self.path} could not be finished: {error}")
            log.error("%s", self.error)

    # -- on a thread of the pool

    def _carry_out(self, batch: list[Write]) -> None:
        for each in batch:
            if each.lane is None:
                self._put(each.at, each.pcm)
            else:
                self._change(each)
        os.pwrite(self._fd, wav_header(self._rate, self._samples), 0)

    def _put(self, at: int, pcm: bytes) -> None:
        view = memoryview(pcm)
        offset = HEADER_BYTES + at * _SAMPLE_BYTES
        while view:
            done = os.pwrite(self._fd, view, offset)
            view = view[done:]
            offset += done
        self._samples = max(self._samples, at + len(pcm) // _SAMPLE_BYTES)

    def _change(self, write: Write) -> None:
        """Change one lane of what is in the file."""
        size = len(write.pcm) * 2
        there = os.pread(self._fd, size, HEADER_BYTES + write.at * _SAMPLE_BYTES)
        both = np.frombuffer(there.ljust(size, b"\0"), "<i2").reshape(-1, 2).copy()
        both[:, write.lane] = np.frombuffer(write.pcm, "<i2")
        self._put(write.at, both.tobytes())

    def _finish(self, samples: int) -> None:
        try:
            if self.error is None:
                os.ftruncate(self._fd, HEADER_BYTES + samples * _SAMPLE_BYTES)
                os.pwrite(self._fd, wav_header(self._rate, samples), 0)
            os.fsync(self._fd)
        finally:
            os.close(self._fd)
