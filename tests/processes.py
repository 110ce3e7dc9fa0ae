"""Process groups that tests start and that never outlive them."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

PATIENCE = 120
"""Seconds until a process that neither answers nor ends is given up; never a measure of its speed."""


class Group:
    """A process group with a guard, which kills the group when the starting process ends in whatever way."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        options = {"stdin": subprocess.DEVNULL, **options}
        with uninterrupted():
            self.leader: subprocess.Popen[bytes] = subprocess.Popen(command, start_new_session=True, **options)
            script = f"read _ || kill -s KILL -- -{self.leader.pid}"  # end of file: the other end of the pipe is gone
            self._guard = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, start_new_session=True)

    def end(self, number: int = signal.SIGTERM) -> None:
        """Send a signal to the group, wait for its leader, kill what is left, and dismiss the guard."""
        for each in (number, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.leader.pid, each)
            with suppress(subprocess.TimeoutExpired):
                self.leader.wait(PATIENCE)
        self._guard.communicate(b"\n")


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block: a process that is half started has no guard yet."""
    if threading.current_thread() is not threading.main_thread():  # Ctrl-C does not reach it
        yield
        return
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if asked:
            signal.raise_signal(signal.SIGINT)


def free_port() -> int:
    """Return a free port below those of outgoing connections: it stays free between a kill and the next start."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
