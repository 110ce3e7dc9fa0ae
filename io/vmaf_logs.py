"""Cached logs of libvmaf, read strictly as far as that is possible: they may hold NaN."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resplice.io import documents
from resplice.io.extracting import Task
from resplice.transforms import corpus_rows, provenance
from resplice.transforms.corpus_rows import Labels
from resplice.transforms.records import Damage, Reason, Refusal

STAGE = "bvi-dvc"
MOST_BYTES = 1 << 28


@dataclass(frozen=True)
class Read:
    """Make the rows of logs: task → its unit with its row, or with reason and detail. Picklable."""

    labels: Labels

    def __call__(self, task: Task) -> Iterator[dict[str, Any]]:
        """Make the row of one log."""
        try:
            yield {"unit": task.unit, "row": self._row(task)}
        except Refusal as refusal:
            yield {"unit": task.unit, "reason": str(refusal.reason), "detail": refusal.detail}
        except Damage as damage:
            yield {"unit": task.unit, "reason": str(Reason.UNREADABLE), "detail": str(damage)}

    def _row(self, task: Task) -> dict[str, Any]:
        (file,) = task.files
        clip = corpus_rows.clip(Path(task.unit).stem)
        try:
            data = Path(file.path).read_bytes()
        except OSError as error:
            raise Refusal(Reason.UNREADABLE, f"{error.strerror}") from None
        if provenance.sha256(data) != file.sha256:
            raise Refusal(Reason.DRIFTED, "it changed while it was read")
        return corpus_rows.row(clip, documents.lenient(data, unique=True), self.labels)
