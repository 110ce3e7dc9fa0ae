"""The joins of documents over the workers: rows are examined in blocks, then joined part by part.

Only where small records stand crosses a shuffle; a response is read where its bytes are needed. Each step yields
(name, parcel); the name says which join takes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from resplice.io import csvs, responses
from resplice.io.csvs import Block
from resplice.io.parcels import Parcels, Sent, Where, part_of
from resplice.transforms.documents import DRAFT, ESSAY, LINK, Row, checked
from resplice.transforms.lineage import (
    Candidate,
    Decision,
    Found,
    Id,
    Ref,
    candidate,
    collisions,
    ids,
    with_parents,
    with_targets,
    without_duplicates,
    without_target,
)
from resplice.transforms.records import Refusal

DRAFTS, ESSAYS, EVALUATIONS, REST = "drafts", "essays", "evaluations", "rest"
PARENTS, TARGETS, DECIDED, IDS = "parents", "targets", "decided", "ids"
Tagged = tuple[str, tuple[Any, Where]]
Group = tuple[int, dict[str, Iterable[Where]]]
"""A part of a join: its number, and the parcels of each side."""


@dataclass(frozen=True)
class Places:
    """What a backfill reads and writes: the roots of responses, the root of documents, the URL of the index.

    `parts` is how many parts a join has, `indexed` whether there is an index yet.
    """

    roots: tuple[str, ...]
    docs: str
    db: str
    parts: int
    indexed: bool


class Examine:
    """Check the rows of a block and hash their responses. `colliding` are rows that a pass before refused for an id."""

    def __init__(self, places: Places, parcels: Parcels, colliding: Mapping[Ref, Decision]) -> None:
        self._places = places
        self._parcels = parcels
        self._colliding = colliding

    def __call__(self, block: Block) -> Iterator[Tagged]:
        """Examine one block: what passes goes to a join, what does not is decided."""
        yield from self._parcels.put(self._examined(row) for row in csvs.read(block))

    def _examined(self, row: Row) -> Sent:
        ref = row.source, row.number
        try:
            found = self._found(row)
        except Refusal as refusal:
            return _decided(Decision(ref, str(refusal.reason), refusal.detail))
        if ref in self._colliding:
            return _decided(self._colliding[ref])
        return _sent(_join_of(found), found, self._places.parts)

    def _found(self, row: Row) -> Found:
        moment = checked(row)
        response = responses.examine(self._places.roots, row.file)
        return Found(
            (row.source, row.number), row.task_id, row.combo_id, row.template, row.model, moment, row.key,
            response.sha256, response.chars, response.root, row.essay, row.generation,
        )  # fmt: skip


def _join_of(found: Found) -> str:
    if found.ref[0] in (DRAFT, LINK):
        return DRAFTS
    if found.ref[0] == ESSAY:
        return ESSAYS
    return EVALUATIONS if found.essay else REST


def _by_combo(record: Found | Candidate) -> str:
    return f"{record.combo_id}\0{record.model}"


_by_task = attrgetter("task_id")
_KEYS: dict[str, Callable[[Any], str]] = {
    DRAFTS: attrgetter("sha256"),
    ESSAYS: _by_combo,
    EVALUATIONS: attrgetter("essay"),
    REST: attrgetter("generation"),
    PARENTS: _by_combo,
    TARGETS: _by_task,
    IDS: attrgetter("id"),
}


def _sent(join: str, record: Any, parts: int) -> Sent:
    return join, part_of(_KEYS[join](record), parts), record


def _decided(decision: Decision) -> Sent:
    """Send a decision to the block that has its row."""
    return DECIDED, csvs.block_name(*decision.ref), decision


class _Join(ABC):
    """A join of one run, of so many parts."""

    def __init__(self, run_id: str, parts: int, parcels: Parcels) -> None:
        self._run_id = run_id
        self._parts = parts
        self._parcels = parcels

    def __call__(self, group: Group) -> Iterator[Tagged]:
        """Join one part."""
        yield from self._parcels.put(self._joined(group[1]))

    @abstractmethod
    def _joined(self, sides: dict[str, Iterable[Where]]) -> Iterator[Sent]:
        """Join the records of one part."""

    def _candidate(self, join: str, known_as: Candidate) -> Sent:
        return _sent(join, known_as, self._parts)

    def _made(self, found: Found, made: Decision) -> Iterator[Sent]:
        yield _decided(made)
        for mark in ids(found, made):
            yield _sent(IDS, mark, self._parts)


class Duplicates(_Join):
    """Join drafts and links by the digest of their bytes: one is a document, the others are known as it."""

    def _joined(self, sides: dict[str, Iterable[Where]]) -> Iterator[Sent]:
        drafts = self._parcels.get(sides[DRAFTS], Found.of)
        for found, decision, known_as in without_duplicates(drafts, self._run_id):
            yield self._candidate(PARENTS, known_as)
            yield self._candidate(TARGETS, known_as)
            yield from [_decided(decision)] if decision.reason else self._made(found, decision)


class Parents(_Join):
    """Join essays with the drafts of their combo and model."""

    def _joined(self, sides: dict[str, Iterable[Where]]) -> Iterator[Sent]:
        essays = self._parcels.get(sides[ESSAYS], Found.of)
        drafts = self._parcels.get(sides[PARENTS], Candidate.of)
        for found, decision in with_parents(essays, drafts, self._run_id):
            if decision.reason:
                yield _decided(decision)
            else:
                yield self._candidate(TARGETS, candidate(found, decision.doc_id))
                yield from self._made(found, decision)


class Targets(_Join):
    """Join evaluations with the documents of the task that their column `column` names.

    One that finds none goes on to the next join, if it names a task there, else it is refused.
    """

    def __init__(self, run_id: str, parts: int, parcels: Parcels, column: str) -> None:
        super().__init__(run_id, parts, parcels)
        self._column = column

    def _joined(self, sides: dict[str, Iterable[Where]]) -> Iterator[Sent]:
        evaluations = self._parcels.get(sides[EVALUATIONS], Found.of)
        candidates = self._parcels.get(sides[TARGETS], Candidate.of)
        for found, made in with_targets(evaluations, candidates, self._run_id, attrgetter(self._column)):
            if made:
                yield from self._made(found, made)
            elif self._column == "essay" and found.generation:
                yield _sent(REST, found, self._parts)
            else:
                yield _decided(without_target(found))


class Collide:
    """Join ids: the refusals of rows whose id stands for something else in an earlier row, if there should be some."""

    def __init__(self, parcels: Parcels) -> None:
        self._parcels = parcels

    def __call__(self, group: Group) -> Iterator[list[Any]]:
        """Join one part."""
        yield from (list(decision) for decision in collisions(self._parcels.get(group[1][IDS], Id.of)))
