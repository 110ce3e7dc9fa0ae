"""Work that one thread does now and then while others work: taking over what they have made durable."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from resplice.transforms.records import UserError

_EVERY_S = 0.5
_LOAD_SHARE = 20.0
"""It takes at most one part in so many of the time."""


@contextlib.contextmanager
def folding(fold: Callable[[], None], last: Callable[[], None]) -> Iterator[None]:
    """Call `fold` now and then while the block runs, and `last` when it has ended.

    An OSError or UserError of `fold` is left for `last` to meet; after an error of the block, what ended it is told.
    """
    ended = threading.Event()
    thread = threading.Thread(target=_fold, args=(fold, ended), daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError, UserError):
            last()
        raise
    ended.set()
    thread.join()
    last()


def _fold(fold: Callable[[], None], ended: threading.Event) -> None:
    wait = _EVERY_S
    while not ended.wait(wait):
        began = time.monotonic()
        with contextlib.suppress(OSError, UserError):
            fold()
        wait = max(_EVERY_S, _LOAD_SHARE * (time.monotonic() - began))
