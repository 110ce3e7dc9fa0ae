"""Ask the chain of engines about the segments of a tar, in the killable worker: a death costs one segment."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any

from resplice.io import pool
from resplice.io.chain import DECODE
from resplice.io.context import Context
from resplice.io.engines import ChainSpec, Judged
from resplice.io.rows import Row
from resplice.io.sandbox import Sandbox
from resplice.io.tars import Member
from resplice.io.tarstate import OpenTar
from resplice.transforms.records import Refusal

Task = tuple[Member, Row]
LOST = "lost"
"""What the time of a worker that died counts for, where more than one engine could have been at work."""
_CHAIN = "resplice.io.chain"
_SHARE_OF_A_GROUP = 16
"""FLACs that go to the worker together are together at most this part of what one may have."""


def judged(context: Context, chain: ChainSpec, tar: OpenTar, tasks: Sequence[Task]) -> list[Judged]:
    """Return the verdict of the chain on each segment, in order."""
    run = context.settings.run
    with pool.borrowed(run.timeout_s, run.memory_mb) as sandbox:
        worker = _Worker(context, chain, tar, sandbox)
        return [verdict for group in worker.groups(tasks) for verdict in worker.judge(group)]


class _Worker:
    def __init__(self, context: Context, chain: ChainSpec, tar: OpenTar, sandbox: Sandbox) -> None:
        self._context = context
        self._chain = chain
        self._tar = tar
        self._sandbox = sandbox
        self._limit = context.settings.run.memory_mb << 19

    def groups(self, todo: Sequence[Task]) -> Iterator[Sequence[Task]]:
        """Divide segments into what one call of the worker judges: one, or as many as an engine wants at once."""
        room = self._limit // _SHARE_OF_A_GROUP
        while todo:
            sizes = itertools.accumulate(member.size for member, _ in todo[: self._chain.batch])
            count = max(1, sum(size <= room for size in sizes))
            yield todo[:count]
            todo = todo[count:]

    def judge(self, group: Sequence[Task]) -> list[Judged]:
        """Judge some segments together; if the worker dies of them, one by one."""
        if len(group) == 1:
            return [self._alone(*group[0])]
        flacs, rows = [self._tar.read(member) for member, _ in group], [self._row(row) for _, row in group]
        try:
            return list(self._sandbox.call(f"{_CHAIN}:judge_segments", flacs, rows, self._chain, self._limit))
        except Refusal:
            return [self._alone(*task) for task in group]

    def _alone(self, member: Member, row: Row) -> Judged:
        """Judge one segment; the worker's death is an error of this segment alone."""
        began, chain = time.perf_counter(), self._chain
        if member.size > self._limit:
            detail = f"flac_too_large: {member.size} bytes, {self._limit} allowed; raise run.memory_mb"
            return Judged("failed", ("undecodable",), DECODE, 0, detail=detail)
        try:
            flac = self._tar.read(member)
            verdict: Judged = self._sandbox.call(f"{_CHAIN}:judge_segment", flac, self._row(row), chain, self._limit)
            return verdict
        except Refusal as refusal:
            engine = chain.names[0] if len(chain.names) == 1 else ""
            lost = ((engine or LOST, time.perf_counter() - began),)
            reasons = (str(refusal.reason),)
            return Judged("error", reasons, engine, len(chain.names), detail=refusal.detail, spent=lost)

    def _row(self, row: Row) -> dict[str, Any]:
        """Return what engines see of a row: every column, and our own names for the mapped ones."""
        ours = vars(self._context.settings.database.columns)
        mapped = {name: row.columns.get(theirs) for name, theirs in ours.items() if theirs}
        return {**row.columns, **mapped, "transcription": row.transcription, "duration_s": row.duration_s}
