"""The joins of documents, as pure functions of a group of records: the order of the records makes no difference.

Everything is decided by a total order: time, then draft before link, then the place in the CSV.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from resplice.transforms.documents import SOURCES, identify, logical_parts
from resplice.transforms.records import Reason

Ref = tuple[int, int]
"""A row of a run: the number of its source, its index in the CSV. Refs sort in reading order."""


class Found(NamedTuple):
    """A row that passed its own checks, with what its response file is: digest, code points, number of its root."""

    ref: Ref
    task_id: str
    combo_id: str
    template: str
    model: str
    ticks: int
    key: str
    sha256: str
    chars: int
    root: int
    essay: str = ""
    generation: str = ""

    @classmethod
    def of(cls, value: list[Any]) -> Found:
        """Make it of what JSON holds of it."""
        return cls(_ref(value[0]), *value[1:])


class Candidate(NamedTuple):
    """What a later row may point to: a document, by its own task id and time or by those of a duplicate of it."""

    ref: Ref
    task_id: str
    combo_id: str
    model: str
    ticks: int
    doc_id: str

    @classmethod
    def of(cls, value: list[Any]) -> Candidate:
        """Make it of what JSON holds of it."""
        return cls(_ref(value[0]), *value[1:])


class Decision(NamedTuple):
    """What becomes of a row: a document, or a refusal if it has a reason."""

    ref: Ref
    reason: str = ""
    detail: str = ""
    doc_id: str = ""
    logical_id: str = ""
    parent_id: str = ""
    sha256: str = ""
    chars: int = 0
    root: int = 0

    @classmethod
    def of(cls, value: list[Any]) -> Decision:
        """Make it of what JSON holds of it."""
        return cls(_ref(value[0]), *value[1:])


class Id(NamedTuple):
    """One id of a document, and the digest of what it stands for: two things with one id collide."""

    ref: Ref
    id: str
    stands_for: str

    @classmethod
    def of(cls, value: list[Any]) -> Id:
        """Make it of what JSON holds of it."""
        return cls(_ref(value[0]), *value[1:])


def _ref(value: list[int]) -> Ref:
    source, number = value
    return source, number


def document(found: Found, run_id: str, parent_id: str = "") -> Decision:
    """Return the document that a row becomes."""
    logical = identify(*logical_parts(found.ref[0], found.combo_id, parent_id, found.template, found.model))
    doc = identify(logical, run_id, found.key)
    return Decision(found.ref, "", "", doc, logical, parent_id, found.sha256, found.chars, found.root)


def candidate(found: Found, doc_id: str) -> Candidate:
    """Return a row as later ones may point to it."""
    return Candidate(found.ref, found.task_id, found.combo_id, found.model, found.ticks, doc_id)


def ids(found: Found, made: Decision) -> Iterator[Id]:
    """Yield the ids of a document: that of its logical key, and its own, which is of its row alone."""
    parts = logical_parts(found.ref[0], found.combo_id, made.parent_id, found.template, found.model)
    told = "".join(f"{len(part)}:{part}" for part in parts)
    yield Id(found.ref, made.logical_id, hashlib.blake2b(told.encode(), digest_size=16).hexdigest())
    yield Id(found.ref, made.doc_id, f"row {found.ref[1]} of {found.ref[0]}")


def without_duplicates(drafts: Iterable[Found], run_id: str) -> Iterator[tuple[Found, Decision, Candidate]]:
    """Yield each draft of a group with its decision: the first of those with the same bytes is the document."""
    first: dict[str, Decision] = {}
    for found in sorted(drafts):
        made = first.get(found.sha256)
        if made is None:
            made = first[found.sha256] = document(found, run_id)
            decision = made
        else:
            csv = SOURCES[made.ref[0]].csv
            detail = f"the bytes of document {made.doc_id} (row {made.ref[1]} of {csv})"
            decision = Decision(found.ref, str(Reason.DUPLICATE_SAME_CONTENT), detail, made.doc_id)
        yield found, decision, candidate(found, made.doc_id)


def with_parents(essays: Iterable[Found], drafts: Iterable[Candidate], run_id: str) -> Iterator[tuple[Found, Decision]]:
    """Yield each essay of a group with its decision: its parent is the latest draft of its combo and model that is not
    later than itself; on a tie a draft before a link, then CSV order.
    """
    ordered: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
    for draft in sorted(drafts, key=_age):
        ordered[draft.combo_id, draft.model].append(draft)
    times = {key: [draft.ticks for draft in group] for key, group in ordered.items()}
    for essay in essays:
        key = essay.combo_id, essay.model
        place = bisect_right(times.get(key, ()), essay.ticks)
        if place:
            yield essay, document(essay, run_id, ordered[key][place - 1].doc_id)
        else:
            yield essay, _without_parent(essay, len(ordered.get(key, ())))


def _age(found: Candidate) -> tuple[int, int, int]:
    """Return what candidates are sorted by: the last one of a time is the one that is taken."""
    return found.ticks, -found.ref[0], -found.ref[1]


def _without_parent(essay: Found, later: int) -> Decision:
    there = f"all {later} are later" if later else "there is none"
    detail = f"no draft of combo {essay.combo_id!r} and model {essay.model!r} at or before its time: {there}"
    return Decision(essay.ref, str(Reason.UNRESOLVED_PARENT), detail)


def with_targets(
    evaluations: Iterable[Found], candidates: Iterable[Candidate], run_id: str, task: Callable[[Found], str]
) -> Iterator[tuple[Found, Decision | None]]:
    """Yield each evaluation of a group with the document that it becomes, None if nothing has the task id `task` of it.

    Of several candidates with the task id: the latest, then CSV order.
    """
    latest: dict[str, Candidate] = {}
    for found in sorted(candidates, key=_age):
        latest[found.task_id] = found
    for evaluation in evaluations:
        target = latest.get(task(evaluation))
        yield evaluation, document(evaluation, run_id, target.doc_id) if target else None


def without_target(evaluation: Found) -> Decision:
    """Return the refusal of an evaluation that nothing is a target of."""
    asked = {"essay_task_id": evaluation.essay, "generation_task_id": evaluation.generation}
    given = " and ".join(f"{name} {value!r}" for name, value in asked.items() if value)
    detail = f"no document of this run has the {given}" if given else "it names no task"
    return Decision(evaluation.ref, str(Reason.UNRESOLVED_TARGET), detail)


def collisions(group: Iterable[Id]) -> Iterator[Decision]:
    """Yield a refusal for each row whose id stands for something else in an earlier row."""
    by_id: dict[str, list[Id]] = defaultdict(list)
    for entry in group:
        by_id[entry.id].append(entry)
    for entries in by_id.values():
        first = min(entries)
        for entry in entries:
            if entry.stands_for != first.stands_for:
                yield collision(entry.ref, entry.id, f"row {first.ref[1]} of {SOURCES[first.ref[0]].csv}")


def collision(ref: Ref, id_: str, other: str) -> Decision:
    """Return the refusal of a row that has an id of something else."""
    return Decision(ref, str(Reason.ID_COLLISION), f"{id_} is an id of {other}, which is another document")


def of_the_first_stage(refused: Iterable[Decision]) -> list[Decision]:
    """Return the collisions of the earliest stage that has some, one a row: others may follow from them."""
    found = sorted(refused)
    if not found:
        return []
    stage = SOURCES[found[0].ref[0]].stage
    return list({decision.ref: decision for decision in reversed(found) if _stage(decision) == stage}.values())


def _stage(decision: Decision) -> str:
    return SOURCES[decision.ref[0]].stage
