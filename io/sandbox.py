"""A worker process that may crash, hang or exhaust its memory: that costs one call, never the run.

Parent and child exchange messages (`messages`) over two pipes. A call is: the function's name → no part once its module
is imported → the pickled arguments → the pickled answer.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import pickle
import resource
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO, Any, NoReturn

from resplice.io import messages
from resplice.transforms.records import DISK_FULL, Damage, Reason, Refusal, UserError

START_S = 120.0  # to start Python and import the function's module, on a cold disk
CLOSED_S = 5.0  # for a child that closed its pipe to be gone
GRACE_S = 5.0  # after its time for a child to be killed, before it ends itself
RECYCLE_AFTER = 2000  # calls: bounds what a leaking decoder can gather
_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from resplice.io.sandbox import serve; serve()"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_HEAP = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20), "MALLOC_ARENA_MAX": "1",
}  # fmt: skip
"""glibc keeps blocks of audio that are free; by default it returns them, and the kernel zeroes them again each time.
A second thread would reserve 64 MiB of address space for an arena of its own, which the limit counts."""
_CHUNK = 1 << 20
_LOADED: set[str] = set()  # modules of functions, in the child


class Sandbox:
    """One killable child process that runs functions by name; for use by one thread at a time.

    Args:
        timeout_s: seconds that one call may take, without the start of the child.
        memory_mb: MiB of address space that the child may use above what it has when the function's module is loaded.
    """

    def __init__(self, timeout_s: float, memory_mb: int) -> None:
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._child: subprocess.Popen[bytes] | None = None
        self._calls = 0

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def call(self, function: str, *args: Any) -> Any:
        """Run `function` ("module:qualname") with picklable arguments in the child and return its result.

        Raises:
            Refusal: `timeout`, `crashed` or `out_of_memory` of the child (the next call starts another one);
                `crashed` for any exception of the function other than the three below, or a result without a pickle.
            Refusal, Damage, UserError, OSError of a full disk: as the function raised them.
        """
        request = messages.pickled(tuple(pickle.PickleBuffer(arg) if isinstance(arg, bytes) else arg for arg in args))
        if self._calls >= RECYCLE_AFTER:
            self.close()
        try:
            child = self._child = self._child or self._start()
            self._calls += 1
            answer = _Exchange(child, [function.encode()], START_S).answer()
            answer = answer or _Exchange(child, request, self._timeout_s).answer()
        except BaseException:  # also Ctrl-C: the pipes are in the middle of a message
            self.close()
            raise
        return self._open(answer)

    def close(self) -> None:
        """Kill the child, if there is one."""
        child, self._child, self._calls = self._child, None, 0
        if child is not None:
            _kill(child)

    def _start(self) -> subprocess.Popen[bytes]:
        options = {"parent": os.getpid(), "timeout_s": self._timeout_s, "memory_mb": self._memory_mb}
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOT, json.dumps([str(p) for p in sys.path]), json.dumps(options)],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a group of its own: what a plug-in starts is killed with it, no Ctrl-C
            env={**_HEAP, **os.environ, **dict.fromkeys(_THREADS, "1")},
        )
        for pipe in (child.stdin, child.stdout):
            os.set_blocking(_pipe(pipe).fileno(), False)
            _widen(_pipe(pipe).fileno())
        return child

    def _open(self, answer: Sequence[bytes]) -> Any:
        """Return the result in an answer, or raise what the child reports."""
        try:
            kind, content = pickle.loads(answer[0], buffers=answer[1:])
        except Exception as error:
            raise Refusal(Reason.CRASHED, f"the worker's answer cannot be read: {_describe(error)}") from error
        if kind == "returned":
            return content
        if kind == "refused":  # what an unforeseen exception or exhausted memory leaves behind is not used again
            self.close()
        raise content


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _widen(pipe: int) -> None:
    """Let a pipe hold more than 64 KiB, where the system allows it: fewer switches between the two processes."""
    with contextlib.suppress(OSError, AttributeError):  # Linux only
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _CHUNK)


class _Exchange:
    """Sending one message while the next one of the child is awaited: it may answer before it has read."""

    def __init__(self, child: subprocess.Popen[bytes], parts: Sequence[messages.Part], timeout_s: float) -> None:
        self._child = child
        self._outgoing = [memoryview(part) for part in (messages.head(parts), *parts)]
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s

    def answer(self) -> list[bytes]:
        """Return the parts of the child's message."""
        with selectors.DefaultSelector() as self._selector:
            self._selector.register(_pipe(self._child.stdin), selectors.EVENT_WRITE, data="send")
            self._selector.register(_pipe(self._child.stdout), selectors.EVENT_READ)
            (count,) = messages.LENGTH.unpack(self._read(messages.LENGTH.size))
            lengths = messages.LENGTH.iter_unpack(self._read(count * messages.LENGTH.size))
            return [self._read(length) for (length,) in lengths]

    def _read(self, size: int) -> bytes:
        blocks = []
        while size:
            events = self._selector.select(max(self._deadline - time.monotonic(), 0))
            if time.monotonic() >= self._deadline:
                raise Refusal(Reason.TIMEOUT, f"no answer in {self._timeout_s:g} s")
            for key, _ in events:
                if key.data:
                    self._send()
                else:
                    blocks.append(self._receive(min(size, _CHUNK)))
                    size -= len(blocks[-1])
        return b"".join(blocks)

    def _receive(self, most: int) -> bytes:
        """Return what the pipe holds; its end is a death."""
        block = os.read(_pipe(self._child.stdout).fileno(), most)
        if not block:
            raise _death(self._child)
        return block

    def _send(self) -> None:
        """Write what the pipe takes; nothing is left to send to a child that is gone."""
        stdin = _pipe(self._child.stdin)
        try:
            self._outgoing[0] = self._outgoing[0][os.write(stdin.fileno(), self._outgoing[0]) :]
        except BrokenPipeError:
            self._outgoing.clear()
        while self._outgoing and not self._outgoing[0]:
            self._outgoing.pop(0)
        if not self._outgoing:
            self._selector.unregister(stdin)


def _death(child: subprocess.Popen[bytes]) -> Refusal:
    """Return the refusal for a child that closed its pipe."""
    try:
        status = child.wait(CLOSED_S)
    except subprocess.TimeoutExpired:
        return Refusal(Reason.CRASHED, "worker closed its pipe")
    if status == -signal.SIGKILL:
        return Refusal(Reason.OUT_OF_MEMORY, "worker died by SIGKILL, which the kernel sends when memory is short")
    if status >= 0:
        return Refusal(Reason.CRASHED, f"worker exited with status {status}")
    with contextlib.suppress(ValueError):
        return Refusal(Reason.CRASHED, f"worker died by {signal.Signals(-status).name}")
    return Refusal(Reason.CRASHED, f"worker died by signal {-status}")


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and what it started; its group exists until the child is waited for."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout):
        _pipe(pipe).close()


# The child.


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
            name = _request(requests)[0].decode()
            messages.write(answers, _answer(requests, answers, name, options))
            signal.setitimer(signal.ITIMER_REAL, 0)
    os._exit(0)


def _answer(requests: IO[bytes], answers: IO[bytes], name: str, options: dict[str, Any]) -> list[messages.Part]:
    """Run one call and return its pickled outcome; a failed import is answered before the arguments are read."""
    try:
        _end_after(START_S)
        function = _load(name, options["memory_mb"])
        messages.write(answers, [])
        _end_after(options["timeout_s"])
        arguments, *buffers = _request(requests)
        return messages.pickled(("returned", function(*pickle.loads(arguments, buffers=buffers))))
    except (Refusal, Damage, UserError) as error:
        return messages.pickled(("raised", error))
    except MemoryError as error:
        detail = f"more than {options['memory_mb']} MiB above idle: {_describe(error)}"
        return messages.pickled(("refused", Refusal(Reason.OUT_OF_MEMORY, detail)))
    except BaseException as error:  # SystemExit too
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return messages.pickled(("raised", OSError(error.errno, error.strerror, error.filename)))
        return messages.pickled(("refused", Refusal(Reason.CRASHED, _describe(error))))


def _request(pipe: IO[bytes]) -> list[bytes]:
    """Read one message; the end of the pipe is the end of this process."""
    return messages.read(pipe) or os._exit(0)


def _end_after(seconds: float) -> None:
    """End an orphan even where a call never lets go of the interpreter: the kernel does it, `_follow` could not."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds + GRACE_S)


def _load(name: str, memory_mb: int) -> Callable[..., Any]:
    """Return the function "module:qualname"; a module that is new sets the limit anew, above its own size."""
    module, _, qualname = name.partition(":")
    if module not in _LOADED:
        _limit(resource.RLIM_INFINITY)
        try:
            importlib.import_module(module)
        finally:
            _limit(_address_space() + memory_mb * 2**20)
        _LOADED.add(module)
    target: Any = sys.modules[module]
    for part in qualname.split("."):
        target = getattr(target, part)
    return target  # type: ignore[no-any-return]


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


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
