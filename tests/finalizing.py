"""A small finalized world: what finalize and undo change, how to break it, and their workers without Beam."""

import contextlib
import json
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from owned import owned

from resplice.io import shards, snapshots
from resplice.io.context import Context
from resplice.io.effects import Examine, ReplaceTars, SetStatuses
from resplice.io.gather import Gather
from resplice.io.inventory import VIDEO_SCHEMA
from resplice.io.journal import Effect
from resplice.pipelines import finalize
from resplice.pipelines.args import Finalize, Undo
from resplice.pipelines.config import Resolved
from resplice.pipelines.launch import Session
from resplice.transforms import provenance
from resplice.transforms.provenance import Run
from resplice.transforms.replace import Replaced, Snapshot, Tar
from resplice.transforms.settings import Corpus, Database, Settings

RUNNER = ("--runner=FnApiRunner", "--direct_running_mode=in_memory", "--direct_num_workers=1")
# video: old tar, new tar, reasons, buckets of its rows, status
VIDEOS: dict[str, tuple[bytes | None, bytes | None, list[str], list[str], str | None]] = {
    "both": (b"old both", b"new both", ["tar_mismatch"], ["validated", "validated"], "validation_failed"),
    "missing": (None, b"new missing", ["tar_missing"], ["validated"], None),
    "partly": (b"old partly", b"new partly", ["split_rows"], ["validated", "unaccounted"], "pending"),
    "right": (b"right", None, ["validation_missing"], ["validated"], "pending"),
    "refused": (b"old refused", None, ["tar_mismatch"], ["raw_missing"], "pending"),
    "rowless": (b"old rowless", None, ["tar_mismatch"], [], "pending"),
    "unlisted": (b"old unlisted", None, ["validation_missing"], ["validated"], None),
}
OLD_STATUSES = {video: v[4] for video, v in VIDEOS.items() if video != "unlisted"} | {"other": "pending"}
NEW_STATUSES = OLD_STATUSES | dict.fromkeys(("both", "missing", "right"), "validated")
OLD_TARS = {video: v[0] for video, v in VIDEOS.items() if v[0]} | {"other": b"other"}
NEW_TARS = OLD_TARS | {video: v[1] for video, v in VIDEOS.items() if v[1]}
CHANGED = ["both", "missing", "partly", "right"]


@dataclass
class World:
    root: Path

    @property
    def settings(self) -> Settings:
        names = ("raw", "transcribed", "validation", "workspace")
        corpus = Corpus(**{name: str(self.root / name) for name in names})
        return Settings(corpus=corpus, database=Database(url=f"sqlite:///{self.root}/corpus.sqlite"))

    @property
    def context(self) -> Context:
        return Context(Run("r", self.settings.corpus.workspace, "finalize", ""), self.settings)

    @property
    def stage(self) -> Path:
        return self.root / "workspace/runs/r"

    def tar(self, video: str) -> Path:
        return self.root / f"transcribed/{video}_transcribed.tar"

    def tars(self) -> dict[str, bytes]:
        files = (self.root / "transcribed").iterdir()
        return {path.name.removesuffix("_transcribed.tar"): path.read_bytes() for path in files}

    def originals(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.stage / "finalize/originals").glob("*")}

    def sql(self, text: str, *values: Any) -> list[Any]:
        with sqlite3.connect(self.root / "corpus.sqlite") as connection:
            return connection.execute(text, values).fetchall()

    def statuses(self) -> dict[str, str | None]:
        return dict(self.sql("SELECT video_id, validation_status FROM videos"))

    def set_status(self, video: str, status: str | None) -> None:
        self.sql("UPDATE videos SET validation_status = ? WHERE video_id = ?", status, video)

    def run(self, args: type[Finalize] = Finalize, **given: Any) -> int:
        return finalize.run(args(run_id="r", quiet=True, **given), Resolved(self.settings, {}, None), RUNNER)

    def apply(self, **given: Any) -> int:
        return self.run(apply=True, **given)

    def undo(self, **given: Any) -> int:
        return self.run(Undo, apply=True, **given)

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(text) for text in (self.stage / name).read_text().splitlines()]

    def summary(self, stage: str = "finalize") -> dict[str, Any]:
        return dict(json.loads((self.stage / stage / "summary.json").read_text()))

    def publish(self, number: int, new: dict[str, bytes | None]) -> None:
        store = self.context.workspace.store
        entries = {}
        for video, data in new.items():
            if data is not None:
                store.replace(f"made/{video}", data, None)
                object_, sha = owned(store, f"made/{video}", ".tar")
                entries[video] = Replaced("r", number, Tar(object_, sha, len(data)))
        parent = snapshots.digest_of(store, number - 1)
        assert snapshots.publish(store, Snapshot(number, number - 1 or None, parent, "r", "merge", (), entries))

    def freeze(self, rows: dict[str, int]) -> None:
        """Write baseline, plan and coverage of what is now."""
        store, stage = self.context.workspace.store, "runs/r"
        statuses, records = self.statuses(), []
        for video in VIDEOS:
            head = self.context.transcribed.store.head(self.tar(video).name)
            records.append(
                {"video_id": video, "rows": rows[video], "split_rows": 0, "historical_rows": 0, "rows_digest": "",
                 "transcribed_token": head.token if head else None, "validation_status": statuses.get(video)}
            )  # fmt: skip
        self.parquet("baseline/videos.parquet", pa.Table.from_pylist(records, VIDEO_SCHEMA))
        affected = [{"video_id": v, "reasons": VIDEOS[v][2], "audio_s": 1.0} for v in sorted(VIDEOS)]
        self.parquet("plan/affected.parquet", pa.Table.from_pylist(affected))
        text = "".join(f"{video}\n" for video in sorted(VIDEOS)).encode()
        facts = {"snapshot": 0, "affected_sha256": provenance.sha256(text)}
        store.replace(f"{stage}/plan/affected.txt", text, None)
        store.replace(f"{stage}/plan/plan.json", provenance.document(facts), None)

    def verify(self, number: int, buckets: dict[str, list[str]]) -> None:
        rows = [{"video_id": video, "bucket": bucket} for video, of in buckets.items() for bucket in of]
        self.parquet("verify/coverage.parquet", pa.Table.from_pylist(rows))
        data = provenance.document({"snapshot": number})
        self.context.workspace.store.replace("runs/r/verify/coverage.json", data, None)

    def parquet(self, key: str, table: pa.Table) -> None:
        self.context.workspace.store.replace(f"runs/r/{key}", shards.encode(table, {}), None)


def make(root: Path) -> World:
    world = World(root)
    (root / "transcribed").mkdir(parents=True)
    for video, data in OLD_TARS.items():
        world.tar(video).write_bytes(data)
    world.sql("CREATE TABLE videos (video_id TEXT PRIMARY KEY, status TEXT, validation_status TEXT, updated_at TEXT)")
    for video, status in OLD_STATUSES.items():
        world.sql("INSERT INTO videos VALUES (?, 'transcribed', ?, 'then')", video, status)
    world.freeze({video: len(v[3]) for video, v in VIDEOS.items()})
    world.publish(1, {video: v[1] for video, v in VIDEOS.items()})
    world.verify(1, {video: v[3] for video, v in VIDEOS.items()} | {"other": ["validated"]})
    return world


def change_status(world: World) -> None:
    world.set_status("both", "checked")


def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call the workers themselves, in the order of the elements."""

    def examine(_: Any, context: Context, stage: str, tars: Any) -> None:
        Gather(context, stage, "examined")((0, [asdict(o) for one in tars for o in Examine(context)(one)]))

    def change(_: Any, context: Context, stage: str, effects: list[Effect]) -> None:
        outcomes = [o for e in effects if e.line.kind == "tar" for o in ReplaceTars(context)(e)]
        outcomes += SetStatuses(context)(tuple(e for e in effects if e.line.kind == "status"))
        Gather(context, stage, "outcomes")((0, [asdict(o) for o in outcomes]))

    monkeypatch.setattr(Session, "pipeline", lambda self: contextlib.nullcontext())
    monkeypatch.setattr(finalize, "build_examine", examine)
    monkeypatch.setattr(finalize, "build", change)
