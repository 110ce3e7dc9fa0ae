"""The baseline's reading of tar headers, over a slow network and on a local folder.

    python benchmarks/baseline.py [--shape NAME ...] [--connections 8] [--repeat 5] [--latency-ms 25] [--mb-s 60]

Writes corpora of several shapes (sparse files: only headers and STREAMINFO take room) and reads all their tars through
a store that waits for each request and paces each connection, in three ways in turn: as the workers of `resplice
baseline` do, header by header, and whole (`rival_baseline.py`: Python's tarfile, the same connections). Prints the
medians of the seconds, requests and bytes, the ratios, and `least`: what no reader can beat that learns from each
header where the next one is. Then the bytes read on a local folder, and the headers walked a second and core. Exit 1
if a target is missed.
"""

from __future__ import annotations

import argparse
import io
import random
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import rival_baseline
from slowly import Network, SlowStore

from resplice.io.local import LocalBlob, LocalStore
from resplice.io.store import Head, Store
from resplice.io.tars import read_members
from resplice.io.tarstate import RAW, TRANSCRIBED, Side, TarState, open_sides
from resplice.transforms.flac import parse_streaminfo

KB, MB = 1000, 1000 * 1000
OF_HEADERS, OF_WHOLE, OF_LEAST = 0.5, 1.0, 1.05
CLOCK = 0.02
"""Two equal sides differ by so much from run to run."""
LOCAL_SHARE, WALK_RATE = 0.03, 150_000
BLOCK = 512
Found = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Shape:
    """A corpus: `videos` of FLACs in runs of (how many, from, to bytes), each with a raw and a transcribed tar."""

    videos: int
    runs: tuple[tuple[int, int, int], ...]


SHAPES = {
    "small": Shape(48, ((15, 10 * KB, 30 * KB),)),
    "middle": Shape(8, ((67, 100 * KB, 500 * KB),)),
    "large": Shape(8, ((16, 5 * MB, 20 * MB),)),
    "break-even": Shape(8, ((30, 1 * MB, 2 * MB),)),
    "small, then huge": Shape(8, ((200, 10 * KB, 30 * KB), (5, 10 * MB, 30 * MB))),
    "huge, then small": Shape(8, ((5, 10 * MB, 30 * MB), (200, 10 * KB, 30 * KB))),
    "huge between small": Shape(8, ((20, 10 * KB, 30 * KB), (1, 20 * MB, 30 * MB)) * 4),
}
MIXED = {"small": 40, "middle": 8, "large": 2}
"""The videos of each shape in the mixed corpus."""


def write_tar(path: Path, files: Sequence[tuple[str, int]]) -> None:
    """Write a tar of files of these sizes as holes; FLACs begin with a STREAMINFO. Padded as Python pads its tars."""
    with path.open("wb") as file:
        for number, (name, size) in enumerate(files):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname = size, 1_700_000_000, "user"
            head = b""
            if name.endswith(".flac"):
                packed = (16_000 << 44 | 15 << 36 | size).to_bytes(8, "big")
                head = b"fLaC\x80\0\0\x22" + bytes(10) + packed + number.to_bytes(16, "big")
            file.write(info.tobuf(tarfile.USTAR_FORMAT) + head)
            file.seek(size + -size % BLOCK - len(head), io.SEEK_CUR)
        end = file.tell() + 2 * BLOCK
        file.truncate(end + -end % tarfile.RECORDSIZE)


def write_corpus(root: Path, shape: Shape, name: str = "v") -> list[str]:
    """Write the tars of a shape; return the ids of its videos."""
    rng = random.Random(name)
    videos = [f"{name}{number:04d}" for number in range(shape.videos)]
    for kind in (RAW, TRANSCRIBED):
        (root / kind).mkdir(parents=True, exist_ok=True)
    for video in videos:
        sizes = [rng.randint(low, high) for count, low, high in shape.runs for _ in range(count)]
        flacs = [(f"{video}/segments/{number:05d}.flac", size) for number, size in enumerate(sizes)]
        jsons = [(f"{video}/transcriptions/{n:05d}.json", rng.randint(300, 900)) for n in range(len(sizes))]
        write_tar(root / RAW / f"{video}.tar", [*flacs, ("metadata.json", 200)])
        write_tar(root / TRANSCRIBED / f"{video}_transcribed.tar", [*flacs, *jsons, ("metadata.json", 200)])
    return videos


def tars_of(root: Path, videos: Sequence[str]) -> list[Path]:
    """Return the tars of some videos, in the order in which a range of the baseline reads them."""
    raw = [f"{RAW}/{video}.tar" for video in videos]
    return [root / name for name in [*raw, *(f"{TRANSCRIBED}/{video}_transcribed.tar" for video in videos)]]


def states(root: Path, videos: Sequence[str], store: Callable[[str], Store]) -> Iterator[tuple[TarState, ...]]:
    """Read the tars of each video as a range of the baseline is read: the raw and the transcribed one."""

    def side(kind: str, suffix: str) -> Side:
        place = store(f"{root}/{kind}")
        listed = {head.key: head for head in place.list()}
        return Side(kind, place, {v: listed[f"{v}{suffix}"] for v in videos if f"{v}{suffix}" in listed})

    return open_sides(videos, side(RAW, ".tar"), side(TRANSCRIBED, "_transcribed.tar"))


def by_resplice(root: Path, videos: Sequence[str], network: Network, connections: int) -> Found:
    """Read the tars as a range of the baseline is read: the STREAMINFO of each FLAC, by tar."""
    pairs = states(root, videos, lambda url: SlowStore(url, network, connections))
    tars = [tar for side in zip(*pairs, strict=True) for tar in side]
    return {
        path.name: {tar.content.flacs[name]: info for name, info in (tar.infos or {}).items()}
        for path, tar in zip(tars_of(root, videos), tars, strict=True)
    }


def by_rival(walk: Callable[..., list[Any]], root: Path, videos: Sequence[str], network: Network, n: int) -> Found:
    """Read the tars as a rival does."""
    store = SlowStore(str(root), network, n)
    paths = tars_of(root, videos)
    found = walk(store.get, [(str(path.relative_to(root)), path.stat().st_size) for path in paths], n)
    return {
        path.name: {name: parse_streaminfo(head) for name, _, head in members if head}
        for path, members in zip(paths, found, strict=True)
    }


def sides(root: Path, videos: Sequence[str], connections: int) -> dict[str, Callable[[Network], Found]]:
    """Return the three ways to read a corpus over a network."""
    return {
        "resplice": lambda net: by_resplice(root, videos, net, connections),
        "headers": lambda net: by_rival(rival_baseline.headers, root, videos, net, connections),
        "whole": lambda net: by_rival(rival_baseline.whole, root, videos, net, connections),
    }


class InFile:
    """A tar in an open file, or in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, io.SEEK_END)

    def read_at(self, offset: int, length: int) -> bytes:
        """Return bytes."""
        self._file.seek(offset)
        return self._file.read(length)


def least(paths: Sequence[Path], cost: int) -> int:
    """Return what reading must cost, in bytes: between two headers either the data or a request, whichever is less."""
    total = 0
    for path in paths:
        with path.open("rb") as file:
            members = read_members(InFile(file))
        gaps = [member.size - min(member.size, 42) for member in members]
        end = path.stat().st_size - (members[-1].offset + members[-1].size)
        total += cost + (BLOCK + 42) * len(members) + sum(min(cost, gap) for gap in gaps) + end
    return total


def compare(name: str, root: Path, videos: Sequence[str], args: argparse.Namespace) -> bool:
    """Measure the three sides on one corpus, in alternating order; print them and return whether the targets hold."""
    ways = sides(root, videos, args.connections)
    seconds: dict[str, list[float]] = {side: [] for side in ways}
    networks: dict[str, Network] = {}
    found: dict[str, Found] = {}
    for turn in range(args.repeat):
        for side in list(ways) if turn % 2 else reversed(ways):
            networks[side] = Network(args.latency_ms / 1000, args.mb_s * MB)
            began = time.monotonic()
            found[side] = ways[side](networks[side])
            seconds[side].append(time.monotonic() - began)
    if not found["resplice"] == found["headers"] == found["whole"]:
        raise SystemExit(f"{name}: the three sides do not find the same")
    medians = {side: statistics.median(times) for side, times in seconds.items()}
    paths = tars_of(root, videos)
    stored = sum(path.stat().st_size for path in paths)
    print(f"{name}: {len(paths)} tars, {stored / MB:.1f} MB")
    for side, network in networks.items():
        counted = f"{network.requests:6} requests {network.bytes / MB:8.1f} MB {network.broken:4} broken off"
        print(f"  {side:9}{medians[side]:8.3f} s {counted}")
    net = networks["headers"]
    floor = least(paths, net.cost) / (net.requests * net.cost + net.bytes)
    of_headers, of_whole = medians["resplice"] / medians["headers"], medians["resplice"] / medians["whole"]
    target = max(OF_HEADERS, floor * OF_LEAST) + CLOCK
    print(f"  of headers {of_headers:.2f} (at most {target - CLOCK:.2f}; least {floor:.2f}),"
          f" of whole {of_whole:.3f} (at most {OF_WHOLE:.1f})", flush=True)  # fmt: skip
    return of_headers <= target and of_whole <= OF_WHOLE + CLOCK


class CountingStore(LocalStore):
    """A local folder that counts the bytes that are read."""

    read_bytes = 0

    def open(self, key: str, head: Head | None = None) -> LocalBlob:
        """Open a file that counts."""
        blob = super().open(key, head)
        plain = blob.read_at

        def read_at(offset: int, length: int) -> bytes:
            data = plain(offset, length)
            CountingStore.read_bytes += len(data)
            return data

        blob.read_at = read_at  # type: ignore[method-assign]
        return blob


def local(name: str, root: Path, videos: Sequence[str]) -> tuple[int, int]:
    """Read a corpus on a local folder; print and return the bytes read and stored."""
    CountingStore.read_bytes = 0
    for _ in states(root, videos, CountingStore):
        pass
    stored = sum(path.stat().st_size for path in tars_of(root, videos))
    print(f"  {name:20}{CountingStore.read_bytes / MB:8.2f} of {stored / MB:8.1f} MB,"
          f" {CountingStore.read_bytes / stored:.2%}")  # fmt: skip
    return CountingStore.read_bytes, stored


def walk(headers: int, repeat: int) -> bool:
    """Walk headers in memory, by resplice and by tarfile; print the medians and return whether the target holds."""
    with tempfile.NamedTemporaryFile() as file:
        write_tar(Path(file.name), [(f"video/segments/{number:06d}.flac", 64) for number in range(headers)])
        data = Path(file.name).read_bytes()
    ways: dict[str, Callable[[], Any]] = {
        "resplice": lambda: read_members(InFile(io.BytesIO(data))),
        "tarfile": lambda: tarfile.TarFile(fileobj=io.BytesIO(data)).getmembers(),
    }
    rates: dict[str, list[float]] = {side: [] for side in ways}
    for turn in range(repeat):
        for side in list(ways) if turn % 2 else reversed(ways):
            began = time.process_time()
            ways[side]()
            rates[side].append(headers / (time.process_time() - began))
    ours, theirs = (statistics.median(rates[side]) for side in ways)
    print(f"headers a second and core: {ours:,.0f} (at least {WALK_RATE:,}), Python's tarfile {theirs:,.0f}")
    return ours >= WALK_RATE


def main() -> int:
    """Measure every shape, then the local folder and the walk."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", choices=[*SHAPES, "mixed"], default=[*SHAPES, "mixed"])
    parser.add_argument("--videos", type=int, help="of each shape; their own numbers unless given")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=5, help="runs of each side; the median counts")
    parser.add_argument("--latency-ms", type=float, default=25.0)
    parser.add_argument("--mb-s", type=float, default=60.0)
    parser.add_argument("--headers", type=int, default=50_000, help="headers of the walk in memory")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        videos = {
            name: write_corpus(root, replace(shape, videos=args.videos or shape.videos), name)
            for name, shape in SHAPES.items()
            if name in args.shape
        }
        if "mixed" in args.shape:
            parts = [write_corpus(root, replace(SHAPES[part], videos=n), f"mixed {part}") for part, n in MIXED.items()]
            videos["mixed"] = [video for part in parts for video in part]
        held = [compare(name, root, ids, args) for name, ids in videos.items()]
        print("bytes read on a local folder:")
        counts = [local(name, root, ids) for name, ids in videos.items()]
    read, stored = (sum(column) for column in zip(*counts, strict=True))
    print(f"  {'in all':20}{read / stored:.2%} (at most {LOCAL_SHARE:.0%})")
    held += [read / stored <= LOCAL_SHARE, walk(args.headers, args.repeat)]
    return int(not all(held))


if __name__ == "__main__":
    sys.exit(main())
