"""A worker process that may crash, hang or exhaust its memory: that costs one call, never the run.

Parent and child (`sandboxed`) exchange messages (`messages`) over two pipes. A call is: the function's name, how many
seconds it has, and whether it prepares others → no part once its module is imported → the pickled arguments → the
pickled answer.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pickle
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Any

from resplice.io import messages
from resplice.io.sandboxed import START_S, describe
from resplice.transforms.records import Reason, Refusal, UserError

CLOSED_S = 5.0  # for a child that closed its pipe to be gone
RECYCLE_AFTER = 2000  # calls: bounds what a leaking decoder can gather
_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from resplice.io.sandboxed import serve; serve()"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_HEAP = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20), "MALLOC_ARENA_MAX": "1",
}  # fmt: skip
"""glibc keeps blocks of audio that are free; by default it returns them, and the kernel zeroes them again each time.
A second thread would reserve 64 MiB of address space for an arena of its own, which the limit counts."""
_CHUNK = 1 << 20


class Sandbox:
    """One killable child process that runs functions by name; for use by one thread at a time.

    Args:
        timeout_s: seconds that one call may take, without the start of the child.
        memory_mb: MiB of address space that the child may use above what it has when the function's module is loaded.
        prepare: a function ("module:qualname") and its arguments, called once in each child before all others. It loads
            what they need, e.g. a model, for which neither limit holds.
    """

    def __init__(self, timeout_s: float, memory_mb: int, prepare: Sequence[Any] = ()) -> None:
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._prepare = prepare
        self._child: subprocess.Popen[bytes] | None = None
        self._calls = 0

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def call(self, function: str, *args: Any, times: int = 1) -> Any:
        """Run `function` ("module:qualname") with picklable arguments in the child and return its result.

        It may take `times` times the seconds of a call: it is about as many things.

        Raises:
            Refusal: `timeout`, `crashed` or `out_of_memory` of the child (the next call starts another one);
                `crashed` for any exception of the function other than the three below, or a result without a pickle.
            Refusal, Damage, UserError, OSError of a full disk: as the function raised them.
            UserError: what prepares the child failed, or killed it.
        """
        request = messages.pickled(tuple(pickle.PickleBuffer(arg) if isinstance(arg, bytes) else arg for arg in args))
        if self._calls >= RECYCLE_AFTER:
            self.close()
        try:
            if self._child is None:
                self._begin()
            self._calls += 1
            answer = self._ask(function, request, times * self._timeout_s)
        except BaseException:  # also Ctrl-C: the pipes are in the middle of a message
            self.close()
            raise
        return self._open(answer)

    def _begin(self) -> None:
        """Start the child, and prepare it."""
        self._child = self._start()
        if self._prepare:
            function, *args = self._prepare
            try:
                self._open(self._ask(function, messages.pickled(tuple(args)), START_S, prepare=True))
            except Refusal as refusal:
                raise UserError(f"a worker process could not load what it needs: {refusal.detail}") from None

    def _ask(
        self, function: str, request: Sequence[messages.Part], seconds: float, prepare: bool = False
    ) -> list[bytes]:
        assert self._child is not None
        call = json.dumps({"function": function, "seconds": seconds, "prepare": prepare}).encode()
        answer = _Exchange(self._child, [call], START_S).answer()
        return answer or _Exchange(self._child, request, seconds).answer()

    def close(self) -> None:
        """Kill the child, if there is one."""
        child, self._child, self._calls = self._child, None, 0
        if child is not None:
            _kill(child)

    def _start(self) -> subprocess.Popen[bytes]:
        options = {"parent": os.getpid(), "memory_mb": self._memory_mb}
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
            raise Refusal(Reason.CRASHED, f"the worker's answer cannot be read: {describe(error)}") from error
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
