"""The process of the proxy of `proxy.py`: what it does with one request after the other."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from typing import Any
from xml.etree import ElementTree

import aiohttp
from aiohttp import web
from proxy import Chance, Fault, Request, Rules
from yarl import URL

HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}
"""Headers of one connection, not of the request; botocore signs none of them."""
CODES = {400: "InvalidPart", 429: "TooManyRequests", 500: "InternalError", 501: "NotImplemented", 503: "SlowDown"}
GONE = (OSError, aiohttp.ClientError, asyncio.IncompleteReadError)
"""What a broken connection raises, to the server or to the client."""


class Lost(Exception):
    """The client gets no reply, or no more of it."""


@dataclass
class Plan:
    """What is to happen to the requests of one count, and what happened."""

    rules: Rules = field(default_factory=Rules)
    faults: dict[int, Fault] = field(default_factory=dict)
    chance: Chance | None = None
    log: list[Request] = field(default_factory=list)
    waiting: dict[int, asyncio.Future[bool]] = field(default_factory=dict)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def enter(self, request: web.Request) -> Request:
        """Number a request and choose its fault."""
        path, _, query = request.raw_path.partition("?")
        number = len(self.log) + 1
        entry = Request(number, request.method, path, query, stored(request), self._fault(number))
        self.log.append(entry)
        return entry

    def _fault(self, number: int) -> Fault | None:
        if number in self.faults or not self.chance:
            return self.faults.get(number)
        draw = random.Random(f"{self.chance.seed}/{number}")
        return draw.choice(self.chance.faults) if draw.random() < self.chance.probability else None

    async def wait(self, entry: Request, seconds: float | None) -> None:
        """Hold a request until it is released or some seconds have passed."""
        future = self.waiting[entry.number] = asyncio.get_running_loop().create_future()
        self.arrived.set()
        await asyncio.wait([future], timeout=seconds)
        if self.waiting.pop(entry.number, None) and not self.waiting:
            self.arrived.clear()
        if future.done() and not future.result():
            raise Lost

    def release(self, forward: bool) -> None:
        """Let all that waits go on, or lose it."""
        for future in self.waiting.values():
            future.set_result(forward)
        self.waiting.clear()
        self.arrived.clear()


class Store:
    """What R2 knows beyond the server: when each key was written last, and the sizes of the parts of each upload."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._written: dict[str, float] = {}
        self._parts: dict[tuple[str, str], int] = {}

    def refuse(self, rules: Rules, request: web.Request, entry: Request, body: bytes | None) -> int | None:
        """Return the status with which the rules refuse a request; None: they do not, and it is noted."""
        if request.method == "DELETE" and "If-Match" in request.headers and not rules.conditional_delete:
            return 501
        upload = request.query.get("uploadId", "")
        if request.method == "PUT" and upload:
            self._parts[upload, request.query["partNumber"]] = entry.size
        elif completes(request) and rules.equal_parts and not self._equal(upload, body or b""):
            return 400
        elif completes(request) or request.method == "PUT":
            return self._paced(entry.path, rules.write_interval)
        return None

    def _equal(self, upload: str, body: bytes) -> bool:
        numbers = [each.text or "" for each in ElementTree.fromstring(body).iter() if each.tag.endswith("PartNumber")]
        sizes = [self._parts[upload, each] for each in numbers if (upload, each) in self._parts]
        return len(set(sizes[:-1])) <= 1 and sizes[-1:] <= sizes[:1]

    def _paced(self, key: str, interval: float) -> int | None:
        now = asyncio.get_running_loop().time() + self.ahead
        if now - self._written.get(key, -float("inf")) < interval:
            return 429
        self._written[key] = now
        return None


class Forwarder:
    """The two listeners: one for clients, one for the test."""

    def __init__(self, server: str) -> None:
        self.server, self.plan, self.store, self.under_way = server, Plan(), Store(), 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Carry out one request of a client."""
        plan = self.plan
        entry = plan.enter(request)
        self.under_way += 1
        try:
            return await self._carry(plan, entry, request)
        except (Lost, *GONE):
            if request.transport:
                request.transport.close()
            return web.Response()
        finally:
            self.under_way -= 1

    async def _carry(self, plan: Plan, entry: Request, request: web.Request) -> web.StreamResponse:
        before = entry.fault if entry.fault and entry.fault.when == "before" else None
        # The client of a request that meets a fault may be gone before the server has its body.
        body = await request.read() if entry.fault or completes(request) else None
        if before and before.what == "wait":
            await plan.wait(entry, before.seconds)
        elif before:
            return failed(entry, before)
        if status := self.store.refuse(plan.rules, request, entry, body):
            await drain(request)
            return error(entry, status)
        async with self._ask(request, body) as reply:
            entry.server = reply.status
            if entry.fault and not before:
                return await self._after(plan, entry, entry.fault, request, reply)
            return await answer(request, entry, reply, reply.content.iter_any())

    async def _after(
        self, plan: Plan, entry: Request, fault: Fault, request: web.Request, reply: Any
    ) -> web.StreamResponse:
        body = await reply.read()  # now the request has been carried out whole
        if fault.what == "wait":
            await plan.wait(entry, fault.seconds)
            return await answer(request, entry, reply, whole(body))
        if fault.what == "cut" and len(body) > 1:
            return await answer(request, entry, reply, half(body))
        return failed(entry, fault)

    def _ask(self, request: web.Request, body: bytes | None) -> Any:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP]
        content = request.content.iter_any() if request.body_exists and body is None else body or None
        url = URL(self.server + request.raw_path, encoded=True)
        return self.session.request(request.method, url, headers=headers, data=content, allow_redirects=False)

    async def control(self, request: web.Request) -> web.Response:
        """Carry out one command of the test."""
        found = await getattr(self, "do_" + request.match_info["command"])(**await request.json())
        return web.json_response(found)

    async def do_reset(self, rules: dict[str, Any], faults: dict[str, Any], chance: dict[str, Any] | None) -> None:
        self.plan.release(False)
        while self.under_way:
            await asyncio.sleep(0.001)
            self.plan.release(False)
        if chance:
            chance["faults"] = [Fault(**each) for each in chance["faults"]]
        planned = {int(number): Fault(**fault) for number, fault in faults.items()}
        self.plan = Plan(Rules(**rules), planned, chance and Chance(**chance))

    async def do_log(self) -> list[dict[str, Any]]:
        return [asdict(each) for each in self.plan.log]

    async def do_held(self, seconds: float) -> dict[str, Any] | None:
        try:
            await asyncio.wait_for(self.plan.arrived.wait(), seconds)
        except TimeoutError:
            return None
        return asdict(self.plan.log[min(self.plan.waiting) - 1])

    async def do_release(self, forward: bool) -> None:
        self.plan.release(forward)

    async def do_advance(self, seconds: float) -> None:
        self.store.ahead += seconds

    async def run(self) -> None:
        """Listen on two free ports, print them, and serve until the process is ended."""
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(),
            auto_decompress=False,
            skip_auto_headers=["User-Agent", "Accept", "Accept-Encoding", "Content-Type"],
        )
        self.session._retry_connection = False  # aiohttp would send a request twice, and a test count it once
        ports = [
            await listening(web.route("*", "/{path:.*}", self.handle)),
            await listening(web.post("/{command}", self.control)),
        ]
        print(json.dumps(ports), flush=True)
        await asyncio.Event().wait()


async def listening(route: web.RouteDef) -> int:
    """Serve a route on a free port and return the port."""
    application = web.Application(client_max_size=0)
    application.add_routes([route])
    runner = web.AppRunner(application, access_log=None, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    return int(runner.addresses[0][1])


def completes(request: web.Request) -> bool:
    """Return whether a request completes an upload of parts."""
    return request.method == "POST" and "uploadId" in request.query


def stored(request: web.Request) -> int:
    """Return the number of bytes that a request stores, without the frames of a streamed signature."""
    return int(request.headers.get("X-Amz-Decoded-Content-Length") or request.headers.get("Content-Length") or 0)


async def drain(request: web.Request) -> None:
    """Read what the client sends and forget it."""
    async for _ in request.content.iter_any():
        pass


def failed(entry: Request, fault: Fault) -> web.Response:
    """Return the reply of a fault that has one."""
    if fault.what != "error":
        raise Lost
    return error(entry, fault.status)


def error(entry: Request, status: int) -> web.Response:
    """Return an error as S3 words it."""
    entry.status = status
    code = CODES.get(status, "InternalError")
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>the proxy says so</Message></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")


async def answer(request: web.Request, entry: Request, reply: Any, pieces: AsyncIterator[bytes]) -> web.StreamResponse:
    """Pass the server's reply on, with a body in pieces."""
    headers = [(name, value) for name, value in reply.headers.items() if name.lower() not in HOP]
    response = web.StreamResponse(status=reply.status, reason=reply.reason, headers=headers)
    entry.status = reply.status
    await response.prepare(request)
    async for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response


async def whole(body: bytes) -> AsyncIterator[bytes]:
    """Give a body."""
    yield body


async def half(body: bytes) -> AsyncIterator[bytes]:
    """Give the first half of a body, and then lose the connection."""
    yield body[: len(body) // 2]
    raise Lost


if __name__ == "__main__":
    asyncio.run(Forwarder(sys.argv[1]).run())
