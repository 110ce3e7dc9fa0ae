"""The few records that a pipeline hands back to its driver: one JSON lines file, sorted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from resplice.io import documents, refusals
from resplice.io.context import Context
from resplice.transforms import provenance


def _key(context: Context, stage: str, name: str) -> str:
    return f"{context.stage(stage)}/{name}.jsonl"


class Gather:
    """Write all records of a collection (JSON-able, no order) as `{stage}/{name}.jsonl`."""

    def __init__(self, context: Context, stage: str, name: str) -> None:
        self._context = context
        self._key = _key(context, stage, name)

    def __call__(self, records: Iterable[Any]) -> int:
        """Write the records and return their number."""
        lines = sorted(provenance.line(record) for record in records)
        data = "".join(text + "\n" for text in lines).encode()
        refusals.put(self._context.workspace.store, self._key, data)
        return len(lines)


def gathered(context: Context, stage: str, name: str) -> list[dict[str, Any]]:
    """Return the records that `Gather` wrote."""
    return documents.load_lines(context.workspace.store, _key(context, stage, name))
