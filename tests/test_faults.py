"""Faults on purpose, a sample of what `python tests/faults` does in full."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs

import parts
import pytest
from faults import objects
from faults.outcome import differences
from faults.shelf import Shelf, serving
from proxy import R2, REPLY_LOST, REQUEST_LOST, SLOW_DOWN, Chance, Fault, Proxy, Request
from servers import Server

from resplice.io import requests
from resplice.io.s3 import S3Store
from resplice.pipelines.__main__ import main

SEED = 1
SAMPLE = 77
"""Cases: one of each fault at each stage."""
Storm = Callable[[int, float], tuple[list[objects.Published], int]]
COMMANDS = ("recover --yes", "finalize --apply", "undo --apply", "gc --apply")
PART = 5 << 20


def harness(*arguments: str) -> str:
    parts.demand("versitygw")
    program = [sys.executable, str(Path(__file__).parent / "faults"), *arguments, "--seed", str(SEED)]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    return done.stdout


@pytest.mark.slow
def test_a_request_that_breaks_in_any_stage_costs_nothing() -> None:
    assert f"seed {SEED}" in harness("requests", "--sample", str(SAMPLE))


@pytest.mark.slow
def test_the_real_command_killed_at_random_moments_ends_as_one_that_was_not() -> None:
    assert "4 kills" in harness("kills", "--rounds", "4")


@pytest.fixture
def storm(minio: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storm]:
    minio.credentials(monkeypatch)
    monkeypatch.setattr(requests, "READ_S", objects.READ_S)
    monkeypatch.setattr(objects, "LARGE_EVERY", 30)
    with Proxy(minio.endpoint) as proxy:  # of its own: clients of a shared one are kept, with other time limits

        def run(count: int, share: float) -> tuple[list[objects.Published], int]:
            published = objects.storm(minio, proxy, count, share, SEED)
            return published, len(proxy.log())

        yield run


def test_objects_take_no_request_more_than_needed(storm: Storm) -> None:
    published, asked = storm(60, 0.0)
    assert published == [objects.Published(key) for key in objects.names(60)]
    assert asked == sum(objects.needed(SEED, key) for key in objects.names(60))


def test_every_fifth_request_that_breaks_is_made_good_with_less_than_twice_the_requests(
    storm: Storm,
) -> None:
    published, asked = storm(60, 0.2)
    assert published == [objects.Published(key) for key in objects.names(60)]
    assert asked <= 2 * sum(objects.needed(SEED, key) for key in objects.names(60))


def test_what_is_not_published_is_refused_by_its_name_and_whole(storm: Storm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "TRIES", 2)
    published, _ = storm(60, 0.5)
    refused = [each for each in published if each.error]
    assert 0 < len(refused) < 60
    assert [each.problem for each in published] == [""] * 60


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.05])
def test_a_recovery_keeps_the_rules_of_r2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    monkeypatch.setattr(S3Store.__init__, "__defaults__", (PART,))
    faults = (REQUEST_LOST, REPLY_LOST, SLOW_DOWN, Fault("after", "error", 500))
    with serving(tmp_path / "server") as server, Proxy(server.endpoint) as proxy:
        shelf = Shelf(server, proxy.endpoint, tmp_path, large=True)
        before = shelf.keep()
        assert [main(shelf.arguments(command)) for command in COMMANDS] == [0] * len(COMMANDS)
        expected = shelf.outcome()
        shelf.put_back(before)
        proxy.reset(rules=R2, chance=Chance(share, faults, SEED))
        assert [main(shelf.arguments(command)) for command in COMMANDS] == [0] * len(COMMANDS)
        assert differences(shelf.outcome(), expected) == []
        log = proxy.log()
    assert any(request.status == 429 for request in log)  # the rule was in force
    uploads = sizes(log)
    assert uploads
    for each in uploads:
        assert set(each[:-1]) == {PART} and 0 < each[-1] <= PART


def sizes(log: list[Request]) -> list[list[int]]:
    """Return the bytes of the parts of every upload, in their order."""
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for request in log:
        query = parse_qs(request.query)
        if request.method == "PUT" and "partNumber" in query:
            found[query["uploadId"][0]][int(query["partNumber"][0])] = request.size
    return [[size for _, size in sorted(each.items())] for each in found.values()]
