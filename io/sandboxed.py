"""The child of a sandbox: a process that runs functions by name until its parent closes the pipe or is gone."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pickle
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, NoReturn

from resplice.io import messages
from resplice.transforms.records import DISK_FULL, Damage, Reason, Refusal, UserError

START_S = 120.0  # to start Python and import the function's module, on a cold disk; also to prepare a child
GRACE_S = 5.0  # after its time for a child to be killed, before it ends itself
_LOADED: set[str] = set()  # modules of functions


def serve() -> NoReturn:
    """Answer calls until the parent closes the pipe or is gone; options stand in the second argument."""
    options = json.loads(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_follow, args=(options["parent"],), daemon=True).start()
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "r+b") as null:
        os.dup2(null.fileno(), 0)
    os.dup2(2, 1)  # a plug-in that prints must not print into an answer
    with contextlib.suppress(BrokenPipeError):  # the parent has gone, as on Ctrl-C: nobody is left to tell
        while True:
            call = json.loads(_request(requests)[0])
            messages.write(answers, _answer(requests, answers, call, options["memory_mb"]))
            signal.setitimer(signal.ITIMER_REAL, 0)
    os._exit(0)


def _answer(requests: IO[bytes], answers: IO[bytes], call: dict[str, Any], memory_mb: int) -> list[messages.Part]:
    """Run one call and return its pickled outcome; a failed import is answered before the arguments are read."""
    try:
        _end_after(START_S)
        function = _load(call["function"], memory_mb)
        messages.write(answers, [])
        _end_after(call["seconds"])
        packed, *buffers = _request(requests)
        arguments = pickle.loads(packed, buffers=buffers)
        if call["prepare"]:
            with _idle(memory_mb):
                function(*arguments)
            return messages.pickled(("returned", None))
        return messages.pickled(("returned", function(*arguments)))
    except (Refusal, Damage, UserError) as error:
        return messages.pickled(("raised", error))
    except MemoryError as error:
        detail = f"more than {memory_mb} MiB above idle: {describe(error)}"
        return messages.pickled(("refused", Refusal(Reason.OUT_OF_MEMORY, detail)))
    except BaseException as error:  # SystemExit too
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return messages.pickled(("raised", OSError(error.errno, error.strerror, error.filename)))
        return messages.pickled(("refused", Refusal(Reason.CRASHED, describe(error))))


def _request(pipe: IO[bytes]) -> list[bytes]:
    """Read one message; the end of the pipe is the end of this process."""
    return messages.read(pipe) or os._exit(0)


def _end_after(seconds: float) -> None:
    """End an orphan even where a call never lets go of the interpreter: the kernel does it, `_follow` could not."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds + GRACE_S)


def _load(name: str, memory_mb: int) -> Callable[..., Any]:
    """Return the function "module:qualname"; a module that is new counts as idle."""
    module, _, qualname = name.partition(":")
    if module not in _LOADED:
        with _idle(memory_mb):
            importlib.import_module(module)
        _LOADED.add(module)
    target: Any = sys.modules[module]
    for part in qualname.split("."):
        target = getattr(target, part)
    return target  # type: ignore[no-any-return]


@contextlib.contextmanager
def _idle(memory_mb: int) -> Iterator[None]:
    """Let a block take the memory that it needs, and set the limit anew above what there is after it."""
    _limit(resource.RLIM_INFINITY)
    try:
        yield
    finally:
        _limit(_address_space() + memory_mb * 2**20)


def _limit(soft: int) -> None:
    """Set the soft limit of the address space, in bytes, within the hard one."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    finite = [value for value in (soft, hard) if value != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(finite, default=resource.RLIM_INFINITY), hard))


def _address_space() -> int:
    """Return the bytes of address space this process has (Linux; elsewhere the limit counts from 0)."""
    with contextlib.suppress(OSError), open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
    return 0


def _follow(parent: int) -> NoReturn:
    """End this process, and what it started, soon after its parent (which may be killed while a call runs)."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.killpg(0, signal.SIGKILL)
    raise SystemExit


def describe(error: BaseException) -> str:
    """Return the type and the text of an error."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
