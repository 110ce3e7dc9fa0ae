"""The joins of documents over the workers: rows are examined in blocks, then joined part by part.

Only small records cross a shuffle, dealt into parcels; a response is read where its bytes are needed. Each step here
yields (name, parcel); the name says which join takes it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from resplice.io import csvs, responses
from resplice.io.csvs import Block
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
from resplice.transforms.parcels import dealt, opened, part_of
from resplice.transforms.records import Refusal

DRAFTS, ESSAYS, EVALUATIONS, REST = "drafts", "essays", "evaluations", "rest"
PARENTS, TARGETS, DECIDED, IDS = "parents", "targets", "decided", "ids"
Tagged = tuple[str, tuple[Any, bytes]]
Group = tuple[int, dict[str, Iterable[bytes]]]
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

    def __init__(self, places: Places, colliding: Mapping[Ref, Decision]) -> None:
        self._places = places
        self._colliding = colliding

    def __call__(self, block: Block) -> Iterator[Tagged]:
        """Examine one block: what passes goes to a join, what does not is decided."""
        found: dict[str, list[Found]] = defaultdict(list)
        refused: list[Decision] = []
        for row in csvs.read(block):
            ref = row.source, row.number
            try:
                one = self._found(row)
            except Refusal as refusal:
                refused.append(Decision(ref, str(refusal.reason), refusal.detail))
                continue
            if ref in self._colliding:
                refused.append(self._colliding[ref])
            else:
                found[_join_of(one)].append(one)
        for name, some in found.items():
            yield from _sent(name, some, _KEYS[name], self._places.parts)
        yield from _decided(refused)

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


def _sent(name: str, records: Iterable[Any], key: Callable[[Any], str], parts: int) -> Iterator[Tagged]:
    for parcel in dealt(records, lambda record: part_of(key(record), parts)):
        yield name, parcel


def _decided(decisions: Iterable[Decision]) -> Iterator[Tagged]:
    """Yield decisions in parcels, one for each block that has a row of them."""
    for parcel in dealt(decisions, lambda decision: csvs.block_name(*decision.ref)):
        yield DECIDED, parcel


class _Join:
    """A join of one run, of so many parts."""

    def __init__(self, run_id: str, parts: int) -> None:
        self._run_id = run_id
        self._parts = parts

    def _out(self, **records: Iterable[Any]) -> Iterator[Tagged]:
        for name, some in records.items():
            yield from _decided(some) if name == DECIDED else _sent(name, some, _KEYS[name], self._parts)


class Duplicates(_Join):
    """Join drafts and links by the digest of their bytes: one is a document, the others are known as it."""

    def __call__(self, group: Group) -> Iterator[Tagged]:
        """Join one part."""
        candidates: list[Candidate] = []
        decisions: list[Decision] = []
        marks: list[Id] = []
        for found, decision, known_as in without_duplicates(opened(group[1][DRAFTS]), self._run_id):
            candidates.append(known_as)
            decisions.append(decision)
            if not decision.reason:
                marks += ids(found, decision)
        yield from self._out(parents=candidates, targets=candidates, decided=decisions, ids=marks)


class Parents(_Join):
    """Join essays with the drafts of their combo and model."""

    def __call__(self, group: Group) -> Iterator[Tagged]:
        """Join one part."""
        candidates: list[Candidate] = []
        decisions: list[Decision] = []
        marks: list[Id] = []
        essays, drafts = opened(group[1][ESSAYS]), opened(group[1][PARENTS])
        for found, decision in with_parents(essays, drafts, self._run_id):
            decisions.append(decision)
            if not decision.reason:
                candidates.append(candidate(found, decision.doc_id))
                marks += ids(found, decision)
        yield from self._out(targets=candidates, decided=decisions, ids=marks)


class Targets(_Join):
    """Join evaluations with the documents of the task that their column `column` names.

    One that finds none goes on to the next join, if it names a task there, else it is refused.
    """

    def __init__(self, run_id: str, parts: int, column: str) -> None:
        super().__init__(run_id, parts)
        self._column = column

    def __call__(self, group: Group) -> Iterator[Tagged]:
        """Join one part."""
        decisions: list[Decision] = []
        marks: list[Id] = []
        rest: list[Found] = []
        evaluations, candidates = opened(group[1][EVALUATIONS]), opened(group[1][TARGETS])
        for found, made in with_targets(evaluations, candidates, self._run_id, attrgetter(self._column)):
            if made:
                marks += ids(found, made)
            elif self._column == "essay" and found.generation:
                rest.append(found)
                continue
            decisions.append(made or without_target(found))
        yield from self._out(rest=rest, decided=decisions, ids=marks)


class Collide:
    """Join ids: the refusals of rows whose id stands for something else in an earlier row, if there should be some."""

    def __call__(self, group: Group) -> Iterator[list[Any]]:
        """Join one part."""
        yield from (list(decision) for decision in collisions(opened(group[1][IDS])))
