"""Commands in children forked from a warm process: one request at a time, the same ones in the same order each time.

The parent may not hold a thread or an open connection when it forks: it runs whole commands first (which imports all
that they need, and leaves none), and closes its connections then.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from apache_beam.runners.portability.fn_api_runner import translations
from apache_beam.transforms import userstate

from resplice.io import ledger, pool, progress, requests, store
from resplice.pipelines import repair, validate
from resplice.transforms.settings import StoreOptions

SHORT_S, LONG_S = 0.3, 120.0
"""Seconds that a client waits for an answer: where the fault is that none comes, and elsewhere."""
UNFORESEEN = 70


class Serial:
    """An executor that makes each call where it is asked for."""

    def __init__(self, connections: int) -> None:
        pass

    def submit(self, function: Callable[[Any], Any], item: Any) -> Future[Any]:
        """Return the result of a call."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(item))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self, cancel_futures: bool) -> None:
        """Do nothing: nothing runs."""


class Here:
    """A sandbox that is no process: starting one takes longer than all requests of a stage, and makes none."""

    def call(self, function: str, *arguments: Any, times: int = 1) -> Any:
        """Call a function by its name."""
        module, _, name = function.partition(":")
        return getattr(importlib.import_module(module), name)(*arguments)


@contextlib.contextmanager
def borrowed(timeout_s: float, memory_mb: int, prepare: tuple[Any, ...] = ()) -> Iterator[Here]:
    """Lend what stands in for a worker process."""
    yield Here()


def patch() -> None:
    """Let the commands of this process make their requests one after the other, and lose no time between tries."""
    store.ThreadPoolExecutor = Serial  # type: ignore[assignment, misc]
    progress.MARK_EVERY_S = 1e9
    ledger.EVERY_S = 0.0  # what is entered depends on no clock
    requests.FIRST_WAIT_S = requests.LONGEST_WAIT_S = requests.JITTER_S = 0.001
    for module in (pool, repair, validate):
        module.borrowed = borrowed  # type: ignore[attr-defined, assignment]
    translations.Stage.__hash__ = lambda stage: hash(stage.name)  # by their addresses, stages came in any order
    _remember_states()


def _remember_states() -> None:
    """Let Beam look only once for the states of a class of DoFn: a third of the time of a small pipeline."""
    find = userstate.get_dofn_specs
    found: dict[type, Any] = {}

    @functools.wraps(find)
    def remembered(dofn: Any) -> Any:
        if type(dofn) not in found:
            found[type(dofn)] = find(dofn)
        return found[type(dofn)]

    userstate.get_dofn_specs = remembered


def client(options: StoreOptions, read_s: float) -> Any:
    """Return a client of a store."""
    requests.READ_S = read_s
    return requests._made(options)


def use(one: Any) -> None:
    """Let the commands of this process, and of those forked from it, use a client."""
    requests.client = lambda options: one  # type: ignore[assignment]


def ready(clients: Iterable[Any]) -> None:
    """Prepare to fork: close the connections, and keep the collector of garbage from touching what children share."""
    for one in clients:
        one._endpoint.http_session.close()
    assert threading.active_count() == 1, threading.enumerate()
    gc.collect()
    gc.freeze()
    gc.disable()


def forked(work: Callable[[], int], log: Path) -> int:
    """Start work in a child, what it prints in a file; return the child's id. Its exit code is the work's."""
    child = os.fork()
    if child:
        return child
    code = UNFORESEEN
    try:
        with log.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
