"""Objects published by several threads through a store of which every fifth request fails.

    python tests/faults objects                       # 2,000 objects
    python tests/faults objects --objects 200 --seed 5

Each object is created, read back, replaced under its version, and read again, through S3Store; every hundredth is
written in parts. A fault is one of:
request lost, answer lost, answer cut, 500 before or after the request was carried out, 503, no answer in time. Every
object must hold its last version whole, or its error must name it; no create or replace may be taken for another
writer's. The requests are counted and compared with those that are needed without faults.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from proxy import REPLY_CUT, REPLY_LOST, REQUEST_LOST, SLOW_DOWN, Chance, Fault, Proxy
from servers import Server, running

from resplice.io import requests
from resplice.io.s3 import S3Store
from resplice.transforms.records import UserError
from resplice.transforms.settings import StoreOptions

READ_S = 1.0
FAULTS = (
    REQUEST_LOST,
    REPLY_LOST,
    REPLY_CUT,
    Fault("before", "error", 500),
    Fault("after", "error", 500),
    SLOW_DOWN,
    Fault("after", "wait", seconds=3 * READ_S),
)
SIZES, LARGE = (0, 200_000), (11 << 20, 16 << 20)
"""Bytes of an object; every `LARGE_EVERY`th is written in parts."""
LARGE_EVERY = 100
PART = 5 << 20


@dataclass(frozen=True)
class Published:
    """What became of an object: `error` says why it was refused, `problem` which promise was broken."""

    key: str
    error: str = ""
    problem: str = ""


def contents(seed: int, key: str) -> tuple[bytes, bytes]:
    """Return both versions of an object."""
    lot = random.Random(f"{seed}/{key}")
    sizes = SIZES if int(key) % LARGE_EVERY else LARGE
    return lot.randbytes(lot.randint(*sizes)), lot.randbytes(lot.randint(*sizes))


def needed(seed: int, key: str) -> int:
    """Return the requests that publishing an object takes without faults: each version is written, and read by one."""
    sizes = [len(data) for data in contents(seed, key)]
    return sum(2 if size <= PART else 3 + math.ceil(size / PART) for size in sizes)


def publish(store: S3Store, key: str, seed: int) -> Published:
    """Create, read, replace and read one object."""
    first, second = contents(seed, key)
    try:
        return Published(key, problem=next(broken(store, key, first, second), ""))
    except (UserError, FileNotFoundError) as error:
        return Published(key, error=str(error), problem="" if key in str(error) else f"its error is: {error}")


def broken(store: S3Store, key: str, first: bytes, second: bytes) -> Iterator[str]:
    """Yield the promises that a store does not keep."""
    if not store.create(key, first):
        yield "its create was taken for another writer's"
    blob = store.open(key)
    if blob.read_at(0, blob.size) != first:
        yield "it was read other than it was created"
    if not store.replace(key, second, blob.token):
        yield "its replace was taken for another writer's"
    if store.read(key) != second:
        yield "it was read other than it was replaced"


def names(count: int) -> list[str]:
    """Return the keys of some objects."""
    return [f"{number:05d}" for number in range(count)]


def storm(server: Server, proxy: Proxy, count: int, share: float, seed: int, threads: int = 8) -> list[Published]:
    """Publish objects while a share of the requests fails; return what became of each, seen behind the proxy."""
    bucket = server.bucket()
    store = S3Store(f"s3://{bucket}/objects", StoreOptions(proxy.endpoint, "us-east-1", "path"), part=PART)
    proxy.reset(chance=Chance(share, FAULTS, seed))
    with ThreadPoolExecutor(threads) as pool:
        published = list(pool.map(lambda key: publish(store, key, seed), names(count)))
    return [each if each.problem else looked_at(server, bucket, each, seed) for each in published]


def looked_at(server: Server, bucket: str, published: Published, seed: int) -> Published:
    """Return what became of an object, after a look at what the server holds: a version of it, whole."""
    first, second = contents(seed, published.key)
    listed = server.client.list_objects_v2(Bucket=bucket, Prefix=f"objects/{published.key}").get("Contents", [])
    held = [server.client.get_object(Bucket=bucket, Key=each["Key"])["Body"].read() for each in listed]
    right = held in ([], [first], [second]) if published.error else held == [second]
    return published if right else Published(published.key, problem="the server holds something else")


def main(arguments: Sequence[str]) -> int:
    """Publish, print the figures, and return 1 if a promise was broken."""
    assert __doc__
    parser = argparse.ArgumentParser("faults objects", description=__doc__.partition("\n")[0])
    parser.add_argument("--objects", type=int, default=2000)
    parser.add_argument("--share", type=float, default=0.2, help="of the requests that fail")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--server", default="minio")
    options = parser.parse_args(arguments)
    requests.READ_S, began = READ_S, time.monotonic()
    with tempfile.TemporaryDirectory() as folder, running(options.server, Path(folder)) as server:
        os.environ.update(AWS_ACCESS_KEY_ID=server.access_key, AWS_SECRET_ACCESS_KEY=server.secret_key)
        with Proxy(server.endpoint) as proxy:
            published = storm(server, proxy, options.objects, options.share, options.seed)
            log = proxy.log()
    for each in published:
        if each.problem:
            print(f"BROKEN {each.key}: {each.problem}")
    refused, wrong = (sum(bool(getattr(each, name)) for each in published) for name in ("error", "problem"))
    met = Counter(f"{each.fault.when} {each.fault.what}" for each in log if each.fault)
    ratio = len(log) / sum(needed(options.seed, key) for key in names(options.objects))
    print(f"seed {options.seed}: {len(published)} objects, {refused} refused, {wrong} broken")
    print(f"{len(log)} requests, {met.total()} of them broken ({dict(met)}): {ratio:.2f} of what is needed without")
    print(f"{time.monotonic() - began:.0f} s")
    return int(wrong > 0 or ratio > 2)
