"""A process on a terminal of its own, and what it shows there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Sequence

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class OnTerminal:
    """`python -m resplice.pipelines ARGUMENTS` on a pseudo terminal of 120 columns."""

    def __init__(self, arguments: Sequence[str]) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        command = [sys.executable, "-m", "resplice.pipelines", *arguments]
        environment = {**os.environ, "TERM": "xterm"}
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=environment
        )
        os.close(theirs)
        self._shown = b""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, args=(ours,), daemon=True)
        self._reader.start()

    def _read(self, number: int) -> None:
        while True:
            try:
                block = os.read(number, 1 << 16)
            except OSError:  # Linux: nobody holds the other side any more
                block = b""
            with self._changed:
                self._shown += block
                self._changed.notify_all()
            if not block:
                os.close(number)
                return

    @property
    def text(self) -> str:
        """Return all that was ever shown, without colours and movements."""
        return _ESCAPES.sub("", self._shown.decode())

    @property
    def moves(self) -> bool:
        """Return whether something was drawn over: a live display."""
        return b"\x1b[1A" in self._shown or b"\x1b[2K" in self._shown

    def wait_for(self, text: str) -> None:
        """Wait until a text is shown."""
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.text, timeout=300), self.text

    def end(self) -> int:
        """Wait for the process and return its exit code."""
        code = self.process.wait(timeout=300)
        self._reader.join(timeout=60)
        return code
