"""The killable workers of this process: as many as are in use at once, kept for the next borrower."""

from __future__ import annotations

import atexit
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from resplice.io.sandbox import Sandbox

_IDLE: dict[tuple[float, int, tuple[Any, ...]], list[Sandbox]] = {}
_LOCK = threading.Lock()


@contextlib.contextmanager
def borrowed(timeout_s: float, memory_mb: int, prepare: tuple[Any, ...] = ()) -> Iterator[Sandbox]:
    """Lend a killable worker with these limits, prepared in this way (see `Sandbox`)."""
    with _LOCK:
        idle = _IDLE.setdefault((timeout_s, memory_mb, prepare), [])
        sandbox = idle.pop() if idle else Sandbox(timeout_s, memory_mb, prepare)
    try:
        yield sandbox
    except BaseException:
        sandbox.close()
        raise
    with _LOCK:
        idle.append(sandbox)


@atexit.register
def close_all() -> None:
    """End the idle workers."""
    with _LOCK:
        for sandboxes in _IDLE.values():
            while sandboxes:
                sandboxes.pop().close()
