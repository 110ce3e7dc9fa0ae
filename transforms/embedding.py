"""What is to be embedded: the requested files or segments, decided one by one, and packed into items of work."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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
CURED = "cured"
"""Reason of the line in a log of failures after which a content counts from 0 again: it has its vectors."""
Failing = Identity
"""What fails: a content, of one embedder and windows; both "": whatever is to be made of it."""


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
    """The current rows of a unit: of which identity, of which writing (number and run), where; `result`: if they have
    these columns, status and reasons.
    """

    identity: Identity
    writing: tuple[int, str]
    at: Vector
    result: Mapping[str, Any] | None = None


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
    """Decide each unit: with `resume` what is completed (or there) with its identity is left; what fails again and
    again is too. `quarantined` are contents, and keys.

    Everything else is queued; with `resume` a content that is there under another key is known, and only
    gets its row.
    """
    made = Decision()
    for unit in units:
        there = present.get(unit.key)
        same = there is not None and there.identity == Identity(unit.sha256, embedder, windows)
        told = there is not None and unit.result in (None, there.result)  # else its row is written anew, as a known one
        if resume and same and told:
            (made.checkpoint if unit.key in completed else made.existing).append(unit)
        elif unit.key in quarantined or (unit.sha256 and unit.sha256 in quarantined):
            made.quarantined.append(unit)
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


def failing(line: Mapping[str, Any]) -> Failing:
    """Return what a line of the log of failures, or a row of the quarantine, is about: a content, and the identity of
    the vectors if it is the model that fails; of a row without a digest its path.
    """
    content = line.get("content_sha256") or line["path"]
    of_model = line.get("phase") == EMBED or "phase" not in line
    embedder, windows = line.get("embedder_digest") or "", line.get("windows") or ""
    return Identity(content, embedder, windows) if of_model else Identity(content, "", "")


def concerns(about: Failing, embedder: str, windows: str) -> bool:
    """Return whether what fails has no vectors of an embedder and windows because of it."""
    return (about.embedder, about.windows) in (("", ""), (embedder, windows))


def open_failures(failures: Iterable[Mapping[str, Any]]) -> dict[Failing, list[Mapping[str, Any]]]:
    """Return the lines of each failing content since it last succeeded. What is `missing` says nothing of a content,
    and what is `unsupported` may be supported by the next run.

    `failures`: lines of a failed log, in order, with `content_sha256` and `size_bytes`; those of reason CURED end it.
    """
    failed: dict[Failing, list[Mapping[str, Any]]] = {}
    for line in failures:
        if line["reason"] == CURED:
            for about in {failing(line), Identity(line["content_sha256"], "", "")}:
                failed.pop(about, None)
        elif line["content_sha256"] and line["reason"] not in (Reason.MISSING, Reason.UNSUPPORTED):
            failed.setdefault(failing(line), []).append(line)
    return failed


def quarantine(
    before: Iterable[Mapping[str, Any]], failures: Iterable[Mapping[str, Any]], cured: Callable[[Failing], bool],
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the rows of a quarantine, sorted: one for each content that failed in three runs and has not succeeded
    since.

    `before`: its rows; `failures`: as `open_failures` takes them; `cured` tells whether something has vectors by now.
    """
    rows = {about: dict(row) for row in before if not cured(about := failing(row))}
    for about, lines in open_failures(failures).items():
        runs = {line["run_id"] for line in lines}
        if not cured(about) and (len(runs) >= RUNS_TO_QUARANTINE or about in rows):
            rows[about] = {
                "path": lines[-1]["path"], "reason": lines[-1]["reason"], "first_seen": lines[0]["timestamp"],
                "last_seen": lines[-1]["timestamp"], "attempts": len(runs), "size_bytes": lines[-1]["size_bytes"],
                "content_sha256": about.content,
                **({"embedder_digest": about.embedder, "windows": about.windows} if about.embedder else {}),
            }  # fmt: skip
    return sorted(rows.values(), key=lambda row: (row["path"], failing(row).content, failing(row).windows))
