"""What is to be embedded: the requested files or segments, decided one by one, and packed into items of work."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resplice.transforms import provenance
from resplice.transforms.library import Identity
from resplice.transforms.records import Reason

READ, DECODE, EMBED = "read", "decode", "embed"
"""The phases in which something fails."""
PHASES = {
    Reason.MISSING: READ, Reason.EMPTY: READ, Reason.UNSUPPORTED: DECODE, Reason.UNDECODABLE: DECODE,
    Reason.TOO_SHORT: DECODE, Reason.TIMEOUT: DECODE, Reason.CRASHED: DECODE, Reason.NON_FINITE: DECODE,
}  # fmt: skip
ITEM_BYTES = 256 << 20
RUNS_TO_QUARANTINE = 3


@dataclass(frozen=True)
class Unit:
    """One requested file or segment.

    `key` is its identity (a normalised path, or `video_id/stem`), `path` the text that opens a file ("" for a segment).
    `sha256` is that of its bytes, "" if they cannot be read; `size` in bytes, `token` its version. `result`: of a
    segment status and reasons of the live result, if they were asked for.
    """

    key: str
    path: str
    sha256: str = ""
    token: str = ""
    size: int = 0
    video_id: str = ""
    segment: str = ""
    result: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Vector:
    """Where the rows of a unit are: the shard, and the rows in it from `first` on."""

    shard: str
    first: int
    rows: int


@dataclass(frozen=True)
class Present:
    """The current rows of a unit: of which identity, of which writing (number and run), where."""

    identity: Identity
    writing: tuple[int, str]
    at: Vector


@dataclass(frozen=True)
class Decision:
    """What becomes of each requested unit. `known` are rows of the same identity under another key, by content."""

    queued: list[Unit] = field(default_factory=list)
    checkpoint: list[Unit] = field(default_factory=list)
    existing: list[Unit] = field(default_factory=list)
    quarantined: list[Unit] = field(default_factory=list)
    known: dict[str, Vector] = field(default_factory=dict)

    def counters(self) -> dict[str, int]:
        """Return what a checkpoint counts before anything is embedded."""
        return {
            "requested": len(self.queued) + len(self.checkpoint) + len(self.existing) + len(self.quarantined),
            "queued": len(self.queued),
            "succeeded": 0,
            "failed": 0,
            "skipped_checkpoint": len(self.checkpoint),
            "skipped_existing": len(self.existing),
            "skipped_quarantined": len(self.quarantined),
        }


def decide(
    units: Iterable[Unit], present: Mapping[str, Present], embedder: str, windows: str, completed: Collection[str],
    quarantined: Collection[str], resume: bool,
) -> Decision:  # fmt: skip
    """Decide each unit: what fails again and again is left, what is completed (or there) with its identity too.

    Without `resume` everything else is queued; with it a content that is there under another key is known, and only
    gets its row.
    """
    made = Decision()
    for unit in units:
        there = present.get(unit.key)
        same = there is not None and there.identity == Identity(unit.sha256, embedder, windows)
        if unit.sha256 and unit.sha256 in quarantined:
            made.quarantined.append(unit)
        elif resume and same:
            (made.checkpoint if unit.key in completed else made.existing).append(unit)
        else:
            made.queued.append(unit)
    if resume and made.queued:
        wanted = {unit.sha256 for unit in made.queued} - {""}
        for there in present.values():
            if there.identity.content in wanted and (there.identity.embedder, there.identity.windows) == (
                embedder,
                windows,
            ):
                made.known.setdefault(there.identity.content, there.at)
    return made


@dataclass(frozen=True)
class Task:
    """One content to embed, and the units that have it; `known`: where its rows are already."""

    units: tuple[Unit, ...]
    known: Vector | None = None

    @property
    def unit(self) -> Unit:
        """Return the unit that is read for all of them."""
        return self.units[0]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Task:
        """Make a task from what JSON says of it."""
        return cls(tuple(Unit(**unit) for unit in value["units"]), value["known"] and Vector(**value["known"]))


@dataclass(frozen=True)
class Item:
    """One item of work: some contents, whose rows become one shard. Its name depends on them alone."""

    name: str
    tasks: tuple[Task, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Item:
        """Make an item from what JSON says of it."""
        return cls(value["name"], tuple(map(Task.from_json, value["tasks"])))


def items(units: Iterable[Unit], todo: Collection[str], known: Mapping[str, Vector], most: int, of: str) -> list[Item]:
    """Pack units into items of at most `most` contents and about 256 MiB of bytes; equal contents are one task.

    `units` decide how they are packed, so that a run which was killed packs alike; of these only the keys in `todo` are
    worked on. `of` tells what is made of them: embedder, windows, code.
    """
    made = []
    for number, together in enumerate(_packed(_by_content(units), most)):
        tasks = tuple(
            Task(wanted, known.get(wanted[0].sha256))
            for same in together
            if (wanted := tuple(unit for unit in same if unit.key in todo))
        )
        if tasks:
            told = [[[unit.key, unit.sha256, unit.result] for unit in task.units] for task in tasks]
            digest = provenance.sha256(provenance.line([of, told]).encode())
            made.append(Item(f"{number:05d}-{digest[:12]}", tasks))
    return made


def _by_content(units: Iterable[Unit]) -> list[list[Unit]]:
    """Return the units of each content, in the order of their keys; one that cannot be read is by itself."""
    found: dict[tuple[str, str], list[Unit]] = {}
    for unit in sorted(units, key=lambda unit: unit.key):
        own = "" if unit.sha256 else unit.key
        found.setdefault((unit.sha256, own or unit.path.rpartition(".")[2].lower()), []).append(unit)
    return list(found.values())


def _packed(contents: Sequence[list[Unit]], most: int) -> Iterator[list[list[Unit]]]:
    together: list[list[Unit]] = []
    size = 0
    for same in contents:
        if together and (len(together) >= most or size + same[0].size > ITEM_BYTES):
            yield together
            together, size = [], 0
        together.append(same)
        size += same[0].size
    if together:
        yield together


def quarantine(
    before: Mapping[str, Mapping[str, Any]], failures: Iterable[Mapping[str, Any]], cured: Collection[str],
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the rows of a quarantine, sorted: one for each content that failed in three runs and has not succeeded
    since.

    `before`: content → its row; `failures`: lines of a failed log with `content_sha256` and `size_bytes`, in order.
    """
    rows = {content: dict(row) for content, row in before.items() if content not in cured}
    failed: dict[str, list[Mapping[str, Any]]] = {}
    for line in failures:
        if line["content_sha256"] and line["content_sha256"] not in cured:
            failed.setdefault(line["content_sha256"], []).append(line)
    for content, lines in failed.items():
        runs = {line["run_id"] for line in lines}
        if len(runs) >= RUNS_TO_QUARANTINE or content in rows:
            rows[content] = {
                "path": lines[-1]["path"], "reason": lines[-1]["reason"], "first_seen": lines[0]["timestamp"],
                "last_seen": lines[-1]["timestamp"], "attempts": len(runs), "size_bytes": lines[-1]["size_bytes"],
                "content_sha256": content,
            }  # fmt: skip
    return sorted(rows.values(), key=lambda row: (row["path"], row["content_sha256"]))
