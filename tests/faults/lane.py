"""Children forked from a warm process that run commands behind a proxy of their own, which breaks their requests."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from faults import warm
from faults.shelf import Shelf, serving
from proxy import Fault, Proxy, Request
from servers import Server

from resplice.pipelines.__main__ import main
from resplice.transforms.settings import StoreOptions


class Lane:
    """A server, a proxy and a corpus for one process."""

    def __init__(self, server: Server, proxy: Proxy, folder: Path) -> None:
        self.proxy, self.shelf, self.cpu_s = proxy, Shelf(server, proxy.endpoint, folder), 0.0
        self._log, self._answer = folder / "log", folder / "seen"
        options = StoreOptions(proxy.endpoint, "us-east-1", "path")
        self._patient, self._hasty = (warm.client(options, seconds) for seconds in (warm.LONG_S, warm.SHORT_S))
        self._reader = warm.client(self.shelf.view, warm.LONG_S)
        self._clients = [self._patient, self._hasty, self._reader, server.client]

    def warm_up(self, commands: Sequence[str]) -> None:
        """Run commands in this process, so that its children find everything imported; the corpus stays as it is."""
        warm.patch()
        before = self.shelf.keep()
        for client in (self._hasty, self._patient):
            warm.use(client)
            with self._silence():
                codes = [main(self.shelf.arguments(command)) for command in commands]
            assert not any(codes), self.said()
            self.shelf.put_back(before)
        warm.use(self._reader)
        self.shelf.seen()
        warm.ready(self._clients)

    @contextlib.contextmanager
    def _silence(self) -> Iterator[None]:
        with self._log.open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            yield

    def run(self, command: str, faults: Mapping[int, Fault], hasty: bool = False) -> int:
        """Run a command in a child, some of its requests broken; return its exit code."""
        return self._ended(self._start(command, faults, hasty))

    def kill(self, command: str, number: int, fault: Fault) -> bool:
        """Run a command in a child that is killed as soon as its request of a number waits; return whether it was."""
        child = self._start(command, {number: fault})
        while not self.proxy.held(0.2):
            if os.waitpid(child, os.WNOHANG)[0]:
                return False
        os.kill(child, signal.SIGKILL)
        self._ended(child)
        self.proxy.release(forward=False)
        return True

    def log(self) -> list[Request]:
        """Return the requests of the last child."""
        return self.proxy.log()

    def said(self) -> str:
        """Return what the last child printed."""
        return self._log.read_text(errors="replace")

    def seen(self) -> str:
        """Return the digest of what a reader of the results sees now."""
        code = self._ended(warm.forked(self._see, self._log))
        assert code == 0, self.said()
        return self._answer.read_text()

    def _see(self) -> int:
        warm.use(self._reader)
        self._answer.write_text(self.shelf.seen())
        return 0

    def _start(self, command: str, faults: Mapping[int, Fault], hasty: bool = False) -> int:
        self.proxy.reset(faults=faults)
        warm.use(self._hasty if hasty else self._patient)
        return warm.forked(partial(main, self.shelf.arguments(command)), self._log)

    def _ended(self, child: int) -> int:
        _, status, used = os.wait4(child, 0)
        self.cpu_s += used.ru_utime + used.ru_stime
        return os.waitstatus_to_exitcode(status)


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Lane]:
    """Start a server and a proxy, and give the lane."""
    with serving(folder / "server") as server, Proxy(server.endpoint) as proxy:
        yield Lane(server, proxy, folder)
