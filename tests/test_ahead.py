"""Reading over requests: the same bytes as reading in place, at no more than the cost of either simple way."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hostile_tars import DAMAGES, END, TWO, header, padded, record
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_tars import BytesSource, contents, write

from resplice.io import ahead
from resplice.io.ahead import ReadAhead
from resplice.io.tars import Source, read_members
from resplice.transforms.records import Damage

SMALL = {name: data for name, (_, data) in DAMAGES.items() if isinstance(data, bytes)}
COSTS = [*range(1, 64), 511, 512, 513, 1023, 1024, 1025, 4096, 1 << 20]


@dataclass
class Answer:
    remote: Remote
    data: io.BytesIO

    def read(self, length: int) -> bytes:
        data = self.data.read(length)
        self.remote.read += len(data)
        return data

    def close(self) -> None:
        self.remote.open -= 1
        self.remote.broken += bool(self.data.read(1))


@dataclass
class Remote:
    """An object that counts its requests, the bytes that were read and the answers that are open or were left."""

    data: bytes
    requests: list[tuple[int, int]] = field(default_factory=list)
    read: int = 0
    open: int = 0
    broken: int = 0

    def request(self, offset: int, length: int) -> Answer:
        assert length > 0 and offset + length <= len(self.data)
        self.requests.append((offset, length))
        self.open += 1
        assert self.open == 1
        return Answer(self, io.BytesIO(self.data[offset : offset + length]))

    def cost(self, request: int) -> int:
        return len(self.requests) * request + self.read


def outcome(source: Source) -> object:
    try:
        return read_members(source)
    except Damage as damage:
        return str(damage)


def walked(data: bytes, cost: int) -> tuple[object, Remote]:
    remote = Remote(data)
    blob = ReadAhead(len(data), "v1", remote.request, cost)
    found = outcome(blob)
    blob.close()
    assert remote.open == 0
    return found, remote


def one_by_one(data: bytes, cost: int) -> int:
    source = BytesSource(data)
    outcome(source)
    return sum(cost + length for length in source.requests if length)


def check(data: bytes, cost: int) -> None:
    found, remote = walked(data, cost)
    assert found == outcome(BytesSource(data))
    assert remote.cost(cost) <= cost + len(data)
    assert remote.cost(cost) <= one_by_one(data, cost) * (1 + 1 / 64) + cost // 64


@pytest.mark.parametrize("data", SMALL.values(), ids=SMALL.keys())
def test_damage_is_the_same_whatever_a_request_costs(data: bytes) -> None:
    for cost in COSTS if len(data) < 10_000 else (1, 700, 1 << 20):
        check(data, cost)


LARGE = b"".join(header(f"large{i}", 5000) + padded(bytes(5000)) for i in range(3))


@pytest.mark.parametrize("data", SMALL.values(), ids=SMALL.keys())
def test_damage_is_the_same_wherever_an_answer_ends(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Short answers follow the large members; here they are as long as `cost`, and so end at any place of a header."""
    monkeypatch.setattr(ahead, "_SHORT", 1)
    for cost in range(400, 1400, 29 if len(data) < 10_000 else 499):
        found, remote = walked(LARGE + data, cost)
        assert found == outcome(BytesSource(LARGE + data))
        assert remote.cost(cost) <= cost + len(LARGE + data)


runs = st.tuples(st.sampled_from([0, 40, 600, 1700, 3000, 9000, 40_000]), st.integers(1, 20))
sizes = st.lists(runs, max_size=4).map(lambda runs: [size for size, times in runs for _ in range(times)])


@settings(deadline=None, max_examples=300)
@given(sizes, st.integers(1, 40_000), st.integers(0, 3000))
@example([40_000] * 4 + [1700] * 40, 32_768, 0)
def test_a_walk_costs_no_more_than_either_simple_way(members: list[int], cost: int, padding: int) -> None:
    check(write({str(i): bytes(size) for i, size in enumerate(members)}) + bytes(padding), cost)


@settings(deadline=None)
@given(contents, st.integers(1, 3000), st.data())
def test_any_tar_cut_or_changed_anywhere_reads_the_same(
    members: dict[str, bytes], cost: int, data: st.DataObject
) -> None:
    tar = bytearray(write(members))
    for _ in range(data.draw(st.integers(0, 3))):
        tar[data.draw(st.integers(0, len(tar) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(tar[: data.draw(st.integers(0, len(tar)))]), cost)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=3000), st.integers(1, 2000), st.data())
def test_any_reads_in_any_order_give_the_bytes_of_the_object(data: bytes, cost: int, draw: st.DataObject) -> None:
    remote = Remote(data)
    blob = ReadAhead(len(data), "v1", remote.request, cost)
    for _ in range(20):
        offset = draw.draw(st.integers(0, len(data) + 10))
        length = draw.draw(st.one_of(st.integers(0, 80), st.integers(0, len(data) + 10)))
        assert blob.read_at(offset, length) == data[offset : offset + length]
    blob.close()
    assert remote.open == 0


def shape(*sizes: int) -> bytes:
    return b"".join(header(str(i), size) + padded(bytes(size)) for i, size in enumerate(sizes)) + END


@pytest.mark.parametrize(
    ("data", "requests"),
    [
        (END, 1),
        (shape(*[500] * 200), 1),
        (shape(*[300_000] * 10), 11),
        (shape(*[300_000, 500] * 10), 11),
        (shape(*[500] * 100, *[300_000] * 10), 11),
        (shape(*[300_000] * 10, *[500] * 100), 12),
        (shape(*[300_000] * 10, *[1700] * 100), 12),
    ],
    ids=["empty", "small", "large", "pairs", "small, then large", "large, then small", "large, then not so small"],
)
def test_small_members_are_read_over_and_large_ones_jumped_over(data: bytes, requests: int) -> None:
    _, remote = walked(data, 256_000)
    assert len(remote.requests) == requests


def test_after_large_members_only_little_is_asked_for_so_that_connections_stay() -> None:
    _, remote = walked(shape(*[600_000] * 20), 256_000)
    assert [length for _, length in remote.requests[1:-1]] == [4000] * 19
    assert remote.broken == 1


def test_going_back_asks_for_what_is_wanted_and_forgets_nothing() -> None:
    data = shape(*[600_000] * 20)
    remote = Remote(data)
    blob = ReadAhead(len(data), "v1", remote.request, 256_000)
    first, again = read_members(blob), len(remote.requests)
    assert read_members(blob) == first
    assert [length for _, length in remote.requests[again:-1]] == [4000] * 20
    assert blob.read_at(512, 300_000) == bytes(300_000)
    assert remote.requests[-1] == (512, 300_000)


def test_a_header_that_was_read_is_not_asked_for_again() -> None:
    remote = Remote(TWO + END)
    blob = ReadAhead(len(remote.data), "v1", remote.request, 10_000)
    for at in ((0, 576), (512, 30), (0, 576), (100, 476), (512, 600)):
        assert blob.read_at(*at) == remote.data[at[0] : sum(at)]
    assert (len(remote.requests), remote.read) == (1, 1112)


def test_an_object_that_ends_early_is_read_to_where_it_ends() -> None:
    data = TWO + END
    cut: Callable[[int, int], Answer] = lambda offset, length: Answer(Remote(b""), io.BytesIO(data[offset:700]))
    for at in ((0, 800), (600, 200), (690, 20), (1600, 100)):
        blob = ReadAhead(len(data), "v1", cut, 10_000)
        assert blob.read_at(*at) == data[at[0] : min(700, sum(at))]


def test_a_name_header_is_read_by_the_answer_at_hand() -> None:
    long = header("p", 2000, b"x") + padded(record("path", "n" * 1900).ljust(2000, b"\0"))
    found, remote = walked(long + TWO + END, 1 << 20)
    assert "bad_size" in str(found) and len(remote.requests) == 1
