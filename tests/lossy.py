"""A store over a connection that loses requests and answers, at one of its writes or at every one."""

from __future__ import annotations

import threading
from typing import Any

from resplice.io.store import Store

REQUEST, ANSWER, REFUSED = "request", "answer", "refused"
"""What is lost: the request (OSError, nothing happened), the answer (OSError, it happened), or the answer to a first
try that happened, so that the store's own second try is refused (False).
"""


class Lossy:
    """Pass everything on to a store, but lose something at the write number `at` (None: at each); `writes` counts."""

    def __init__(self, below: Store, lost: str, at: int | None = None) -> None:
        self._below, self._lost, self._at = below, lost, at
        self._lock = threading.Lock()
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._below, name)
        return (lambda *args: self._write(name, found, args)) if name in WRITES else found

    def _write(self, name: str, write: Any, args: tuple[Any, ...]) -> Any:
        with self._lock:
            number, self.writes = self.writes, self.writes + 1
        if self._at not in (None, number):
            return write(*args)
        if self._lost != REQUEST:
            done = write(*args)
            if self._lost == REFUSED:
                conditional = name == "create" or (name == "replace" and args[2] is not None)
                return False if conditional else done
        raise ConnectionError("the connection was lost")


WRITES = ("create", "replace", "copy", "delete")
