"""Labels that people gave to segments: a CSV, joined with the stored measures of a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resplice.io import shards, sidecars
from resplice.io.context import Context
from resplice.io.store import mapped
from resplice.transforms import provenance
from resplice.transforms.calibration import Labelled
from resplice.transforms.records import UserError

COLUMNS = ("video_id", "stem", "label")
WHY = "why"
Label = tuple[bool, str]


def judged(context: Context) -> str:
    """Return the digest of the verdicts of a run, by which a calibration knows whether it was judged again since."""
    store, folder = context.workspace.store, f"{context.stage('validate')}/shards/"
    keys = sorted(head.key for head in store.list(folder) if head.key.endswith(sidecars.SUFFIX))
    found = mapped(store, lambda key: sidecars.load(store, key.removesuffix(sidecars.SUFFIX)), keys)
    digests = [sidecar["run_provenance"]["outputs"]["shard"]["sha256"] for sidecar in found if sidecar]
    return provenance.sha256(provenance.line(digests).encode())


def load(path: str) -> dict[tuple[str, str], Label]:
    """Return {(video_id, stem): (bad, why)} of a CSV with the columns video_id, stem, label (good or bad) and, if it is
    known, why (a reason). UserError that names the line where it is none.
    """
    try:
        text = Path(path).read_text("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give a CSV with the columns {', '.join(COLUMNS)}, {WHY}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from None
    reader = csv.DictReader(io.StringIO(text))
    there = reader.fieldnames or []
    if lacking := [name for name in COLUMNS if name not in there]:
        raise UserError(f"{path} has no column {', '.join(lacking)} (it has: {', '.join(there) or 'none'})")
    found: dict[tuple[str, str], Label] = {}
    for row in reader:
        where, key = f"{path}: line {reader.line_num}", (row["video_id"] or "", row["stem"] or "")
        label = _label(where, row)
        if found.setdefault(key, label) != label:
            raise UserError(f"{where}: {key[0]} {key[1]} has another label or reason above; keep one of them")
    return found


def _label(where: str, row: dict[str, Any]) -> Label:
    label, why = (row["label"] or "").strip(), (row.get(WHY) or "").strip()
    if label not in ("good", "bad"):
        raise UserError(f"{where}: label is {label!r}; good or bad is expected")
    if why and label == "good":
        raise UserError(f"{where}: a good segment has no reason, but why is {why!r}")
    return label == "bad", why


def joined(context: Context, labels: dict[tuple[str, str], Label], measures: Sequence[str]) -> Labelled:
    """Return the labelled segments that the run has results of (errors have none), with the measures named."""
    rows = sorted(_rows(context, labels, measures), key=lambda row: (row["video_id"], row["segment_file"]))
    known = [labels[row["video_id"], row["segment_file"]] for row in rows]
    columns = {name: np.array([_number(row.get(name)) for row in rows], np.float64) for name in measures}
    failed = np.array([row["status"] == "failed" for row in rows], np.bool_)
    bad, whys = np.array([bad for bad, _ in known], np.bool_), [why for _, why in known]
    return Labelled(columns, bad, whys, failed, [row["reasons"] for row in rows])


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _rows(context: Context, labels: dict[tuple[str, str], Label], measures: Sequence[str]) -> Iterator[dict[str, Any]]:
    store = context.workspace.store
    there = {head.key for head in store.list(f"{context.stage('validate')}/shards/")}
    videos = pa.array(sorted({video for video, _ in labels}), pa.string())
    wanted = ["video_id", "segment_file", "status", "reasons", *measures]
    for key in sorted(key for key in there if key + sidecars.SUFFIX in there):
        file = shards.open_file(store, key)
        for batch in file.iter_batches(columns=[name for name in wanted if name in file.schema_arrow.names]):
            of_labels = batch.filter(pc.is_in(batch.column("video_id"), value_set=videos))
            for row in of_labels.to_pylist():
                if (row["video_id"], row["segment_file"]) in labels and row["status"] != "error":
                    yield row
