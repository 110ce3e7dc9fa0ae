"""A proxy before an S3 server that keeps R2's rules and breaks requests where a test says; it runs in its own process.

    with Proxy(server.endpoint) as proxy:
        client = server.connect(proxy.endpoint)
        proxy.reset(rules=R2, faults={3: REPLY_LOST})  # the third request from here
        ...
        [first, *others] = proxy.log()

It needs no key: Host and the encoded path go on untouched, so that signatures stay valid. `before` a fault the server
has not seen the request, `after` it the server has carried it out whole. To kill a client exactly there:

    proxy.reset(faults={3: Fault("before", "wait")})
    ...  # start the client as a process
    proxy.held(), process.kill(), proxy.release(forward=False)
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Literal, Self

from processes import PATIENCE, Group


@dataclass(frozen=True)
class Rules:
    """What a store refuses beyond S3; without arguments nothing."""

    equal_parts: bool = False
    """All parts of an upload but the last have one size, the last is no larger: else 400 InvalidPart at completion."""
    write_interval: float = 0.0
    """Seconds between two writes of one key (puts, copies, completed uploads): earlier ones get 429 TooManyRequests."""
    conditional_delete: bool = True
    """Whether a DELETE may carry If-Match: else 501 NotImplemented."""


R2 = Rules(equal_parts=True, write_interval=1.0, conditional_delete=False)


@dataclass(frozen=True)
class Fault:
    """What happens to a request, before or after the server carries it out."""

    when: Literal["before", "after"]
    what: Literal["lose", "cut", "error", "wait"]
    """Close the connection without a reply; close it in the middle of the reply's body (without one: as `lose`); reply
    with `status`; wait for `release` or `seconds`, and go on."""
    status: int = 503
    seconds: float | None = None


REQUEST_LOST = Fault("before", "lose")
REPLY_LOST = Fault("after", "lose")
REPLY_CUT = Fault("after", "cut")
SLOW_DOWN = Fault("before", "error", 503)


@dataclass(frozen=True)
class Chance:
    """Any request may meet one of some faults; the seed and its number decide, not the order of threads."""

    probability: float
    faults: Sequence[Fault]
    seed: int = 0


@dataclass
class Request:
    """One request that came: which, the bytes that it stores, what happened to it, and what became of it."""

    number: int
    method: str
    path: str
    query: str
    size: int
    fault: Fault | None = None
    server: int | None = None
    """The status that the server gave; None: the server has not seen the request, or has not answered it."""
    status: int | None = None
    """The status that the client was given; None: no reply, not yet or never."""


class Proxy:
    """The proxy's process: its `endpoint` for clients and its controls for tests."""

    def __init__(self, server: str) -> None:
        self._server = server

    def start(self) -> None:
        """Start the process and learn its ports."""
        program = [sys.executable, str(Path(__file__).parent / "proxying.py"), self._server]
        self._group = Group(program, stdout=subprocess.PIPE)
        assert self._group.leader.stdout
        endpoint, self._control = json.loads(self._group.leader.stdout.readline())
        self.endpoint = f"http://127.0.0.1:{endpoint}"

    def stop(self) -> None:
        """End the process."""
        self._group.end()
        assert self._group.leader.stdout
        self._group.leader.stdout.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def reset(
        self, rules: Rules | None = None, faults: Mapping[int, Fault] | None = None, chance: Chance | None = None
    ) -> None:
        """Forget all rules, faults and requests, drop what is held, wait until nothing is under way, and count from 1.

        What the store would still know stays known: sizes of parts, and when a key was written.
        """
        self._do(
            "reset",
            rules=asdict(rules or Rules()),
            faults={number: asdict(fault) for number, fault in (faults or {}).items()},
            chance=chance and asdict(chance),
        )

    def log(self) -> list[Request]:
        """Return the requests since the last reset, in the order in which they came."""
        return [_request(each) for each in self._do("log")]

    def held(self, seconds: float = PATIENCE) -> Request | None:
        """Return the first request that waits, as soon as one does; None if none did in some seconds."""
        found = self._do("held", seconds=seconds)
        return found and _request(found)

    def release(self, forward: bool = True) -> None:
        """Let all that waits go on, or close its connections: a request held before the server never gets there."""
        self._do("release", forward=forward)

    def advance(self, seconds: float) -> None:
        """Let the clock of the write interval jump ahead."""
        self._do("advance", seconds=seconds)

    def _do(self, command: str, **arguments: Any) -> Any:
        connection = HTTPConnection("127.0.0.1", self._control, timeout=2 * PATIENCE)
        try:
            connection.request("POST", f"/{command}", json.dumps(arguments), {"Content-Type": "application/json"})
            reply = connection.getresponse()
            content = reply.read()
        finally:
            connection.close()
        assert reply.status == 200, content
        return json.loads(content)


def _request(found: dict[str, Any]) -> Request:
    return Request(**{**found, "fault": found["fault"] and Fault(**found["fault"])})
