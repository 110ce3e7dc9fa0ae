"""finalize and undo: what they change, what they leave, and that a kill at any effect costs nothing."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest

from resplice.io import shards, snapshots
from resplice.io import store as stores
from resplice.io.context import Context
from resplice.io.effects import Examine, ReplaceTars, SetStatuses
from resplice.io.gather import Gather
from resplice.io.inventory import VIDEO_SCHEMA
from resplice.io.journal import Effect, Line, append, load
from resplice.io.rows import Rows
from resplice.io.store import LocalStore, Place, Store
from resplice.pipelines import finalize
from resplice.pipelines.__main__ import main
from resplice.pipelines.args import Finalize, Undo
from resplice.pipelines.config import Resolved
from resplice.pipelines.launch import Session
from resplice.transforms import provenance
from resplice.transforms.provenance import Run
from resplice.transforms.records import UserError
from resplice.transforms.replace import Replaced, Snapshot
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
                entries[video] = Replaced(
                    "r", number, snapshots.own_tar(store, f"made/{video}", provenance.sha256(data))
                )
        snapshots.publish(store, Snapshot(number, None, "", "r", "merge", (), entries))

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


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make(tmp_path)


@pytest.fixture
def on_beam() -> None:
    """Run the pipelines on Beam."""


@pytest.fixture(autouse=True)
def plain_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Call the workers themselves, in the order of the elements, where a test does not ask for Beam."""
    if "on_beam" in request.fixturenames:
        return

    def examine(_: Any, context: Context, stage: str, tars: Any) -> None:
        Gather(context, stage, "examined")([asdict(o) for one in tars for o in Examine(context)(one)])

    def change(_: Any, context: Context, stage: str, effects: list[Effect]) -> None:
        outcomes = [o for e in effects if e.line.kind == "tar" for o in ReplaceTars(context)(e)]
        outcomes += SetStatuses(context)(tuple(e for e in effects if e.line.kind == "status"))
        Gather(context, stage, "outcomes")([asdict(o) for o in outcomes])

    monkeypatch.setattr(Session, "pipeline", lambda self: contextlib.nullcontext())
    monkeypatch.setattr(finalize, "build_examine", examine)
    monkeypatch.setattr(finalize, "build", change)


def everything(world: World) -> dict[str, bytes]:
    return {str(path.relative_to(world.root)): path.read_bytes() for path in world.root.rglob("*") if path.is_file()}


def test_without_apply_it_shows_the_effects_and_writes_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything(world)
    assert world.run() == 0
    out = capsys.readouterr().out
    assert "would replace 3 tars and set 3 statuses; 0 are done already" in out
    assert "tar      missing: none -> " in out
    assert everything(world) == before


def test_apply_replaces_tars_keeps_originals_and_sets_only_fully_validated_videos(world: World, on_beam: None) -> None:
    assert world.apply() == 0
    assert world.tars() == NEW_TARS
    assert world.statuses() == NEW_STATUSES
    assert world.originals() == {f"{v}_transcribed.tar": OLD_TARS[v] for v in ("both", "partly")}
    assert world.summary() == {"stage": "finalize", "unit": "video", "in": 4, "done": 4, "skipped": 0, "refused": 0,
                               "by_reason": {}}  # fmt: skip
    assert {updated for (updated,) in world.sql("SELECT updated_at FROM videos")} == {"then"}


def test_the_journal_has_one_line_an_effect_with_both_sides(world: World) -> None:
    world.apply()
    lines = {(line["kind"], line["unit"]): line for line in world.lines("finalize/journal.jsonl")}
    assert len(lines) == len(world.lines("finalize/journal.jsonl")) == 6
    both = lines["tar", "both"]
    assert both["before"]["sha256"] == provenance.sha256(b"old both")
    assert both["after"] == {"sha256": provenance.sha256(b"new both")}
    assert both["original"] == "both_transcribed.tar"
    assert lines["tar", "missing"]["before"] == {"sha256": None, "token": ""}
    assert lines["status", "right"]["before"] == {"value": "pending"}


def test_a_second_process_changes_no_byte(world: World) -> None:
    world.apply()
    before = everything(world)
    assert world.apply() == 0
    changed = {name for name, data in everything(world).items() if before.get(name) != data}
    assert changed == {"workspace/runs/r/run.json", "workspace/runs/r/finalize/examined.jsonl"}


@pytest.mark.parametrize(("first", "second"), [("tars", "statuses"), ("statuses", "tars")])
def test_one_half_after_the_other_is_the_same_as_both_at_once(world: World, first: str, second: str) -> None:
    assert world.apply(**{first: True}) == 0
    assert (world.tars() == NEW_TARS, world.statuses() == NEW_STATUSES) == (first == "tars", first == "statuses")
    early = world.lines("finalize/journal.jsonl")
    assert world.apply(**{second: True}) == 0
    assert (world.tars(), world.statuses()) == (NEW_TARS, NEW_STATUSES)
    assert world.lines("finalize/journal.jsonl")[: len(early)] == early
    assert world.summary()["done"] == 4


def change_tar(world: World) -> None:
    world.tar("both").write_bytes(b"somebody's")


def touch_tar(world: World) -> None:
    world.tar("both").write_bytes(b"old both")


def remove_tar(world: World) -> None:
    world.tar("both").unlink()


def bring_tar(world: World) -> None:
    world.tar("missing").write_bytes(b"somebody's")


def change_status(world: World) -> None:
    world.set_status("both", "checked")


def clear_status(world: World) -> None:
    world.set_status("both", None)


def fill_status(world: World) -> None:
    world.set_status("missing", "checked")


def remove_video(world: World) -> None:
    world.sql("DELETE FROM videos WHERE video_id = 'both'")


def damage_object(world: World) -> None:
    tar = snapshots.latest(world.context.workspace.store).videos["both"].tar
    assert tar
    (world.root / "workspace" / tar.key).write_bytes(b"damaged!")


def foreign_original(world: World) -> None:
    world.context.workspace.store.create("runs/r/finalize/originals/both_transcribed.tar", b"foreign")


@pytest.mark.parametrize(
    ("damage", "kind", "detail"),
    [
        (change_tar, "tar", "the baseline saw version"),
        (touch_tar, "tar", "the baseline saw version"),
        (remove_tar, "tar", "there is no tar, the baseline saw version"),
        (bring_tar, "tar", "the baseline saw none"),
        (change_status, "status", "validation_status is 'checked', the baseline saw 'validation_failed'"),
        (clear_status, "status", "validation_status is null, the baseline saw 'validation_failed'"),
        (fill_status, "status", "validation_status is 'checked', the baseline saw null"),
        (remove_video, "status", "the video is not in the table, the baseline saw 'validation_failed'"),
        (damage_object, "tar", "expected"),
        (foreign_original, "tar", "expected"),
    ],
)
def test_what_is_not_as_the_baseline_saw_it_is_a_conflict_and_left(
    world: World, damage: Any, kind: str, detail: str
) -> None:
    damage(world)
    tars, statuses = world.tars(), world.statuses()
    assert world.apply() == 4
    [refused] = world.lines("finalize/refused.jsonl")
    unit = refused["unit"]
    assert unit in ("both", "missing")
    assert refused["reason"] == "conflict"
    assert refused["detail"].startswith(kind + ":") and detail in refused["detail"]
    if kind == "tar":
        assert world.tars() == {k: v for k, v in (NEW_TARS | {unit: tars.get(unit)}).items() if v is not None}
        assert world.statuses() == NEW_STATUSES
    else:
        assert world.statuses() == {k: v for k, v in NEW_STATUSES.items() if k in statuses} | {
            k: v for k, v in statuses.items() if k == unit
        }
        assert world.tars() == NEW_TARS
    assert (world.summary()["done"], world.summary()["by_reason"]) == (3, {"conflict": 1})


def test_a_dry_run_shows_a_conflict_with_the_same_exit_code(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    change_tar(world)
    assert world.run() == 4
    assert "1 left as they are (conflict)" in capsys.readouterr().out


def test_what_is_as_wanted_already_is_done_and_not_ours_to_undo(world: World) -> None:
    world.tar("both").write_bytes(b"new both")
    world.set_status("right", "validated")
    assert world.apply() == 0
    assert world.undo() == 0
    assert world.tars() == OLD_TARS | {"both": b"new both"}
    assert world.statuses() == OLD_STATUSES | {"right": "validated"}


def test_finalize_needs_a_verified_and_still_current_snapshot(world: World) -> None:
    world.publish(2, {})
    with pytest.raises(UserError, match="verify of run 'r' saw snapshot 1, the latest is 2") as stale:
        world.apply()
    assert stale.value.exit_code == 4
    (world.stage / "verify/coverage.json").unlink()
    with pytest.raises(UserError, match="resplice verify --run-id r") as missing:
        world.apply()
    assert missing.value.exit_code == 2
    assert (world.tars(), world.statuses()) == (OLD_TARS, OLD_STATUSES)


def test_a_missing_object_ends_with_4_before_any_effect(world: World) -> None:
    tar = snapshots.latest(world.context.workspace.store).videos["partly"].tar
    assert tar
    (world.root / "workspace" / tar.key).unlink()
    with pytest.raises(UserError, match="it is missing") as error:
        world.apply()
    assert error.value.exit_code == 4
    assert (world.tars(), world.statuses()) == (OLD_TARS, OLD_STATUSES)


def test_a_tar_that_another_run_replaced_is_not_touched(world: World) -> None:
    latest = snapshots.latest(world.context.workspace.store)
    videos = latest.videos | {"both": replace(latest.videos["both"], run_id="other-run")}
    snapshots.publish(world.context.workspace.store, replace(latest, number=2, videos=videos))
    world.verify(2, {video: v[3] for video, v in VIDEOS.items()})
    assert world.apply() == 0
    assert world.tars() == NEW_TARS | {"both": b"old both"}


def test_a_video_with_more_rows_than_the_coverage_is_not_fully_validated(world: World) -> None:
    world.verify(1, {"both": ["validated"], "missing": ["validated"], "right": ["validated"]})
    assert world.apply() == 0
    assert world.statuses() == NEW_STATUSES | {"both": "validation_failed"}


def test_apply_and_dry_run_contradict_each_other(world: World) -> None:
    with pytest.raises(UserError, match="--apply and --dry-run") as error:
        world.run(apply=True, dry_run=True)
    assert error.value.exit_code == 2


def test_undo_restores_everything_twice_is_a_no_op_and_finalize_works_again(world: World, on_beam: None) -> None:
    world.apply()
    journal = (world.stage / "finalize/journal.jsonl").read_bytes()
    assert world.run(Undo) == 0
    assert world.tars() == NEW_TARS
    for _ in range(2):
        assert world.undo() == 0
        assert (world.tars(), world.statuses()) == (OLD_TARS, OLD_STATUSES)
        assert (world.summary("undo")["in"], world.summary("undo")["done"]) == (4, 4)
    assert world.apply() == 0
    assert (world.tars(), world.statuses()) == (NEW_TARS, NEW_STATUSES)
    assert (world.stage / "finalize/journal.jsonl").read_bytes() == journal


@pytest.mark.parametrize("half", ["tars", "statuses"])
def test_undo_of_one_half_leaves_the_other(world: World, half: str) -> None:
    world.apply()
    assert world.undo(**{half: True}) == 0
    assert world.tars() == (OLD_TARS if half == "tars" else NEW_TARS)
    assert world.statuses() == (OLD_STATUSES if half == "statuses" else NEW_STATUSES)


@pytest.mark.parametrize("damage", [change_tar, remove_tar, change_status, clear_status, remove_video])
def test_undo_leaves_what_is_not_what_we_wrote(world: World, damage: Any) -> None:
    world.apply()
    damage(world)
    tars, statuses = world.tars(), world.statuses()
    assert world.undo() == 4
    assert [line["unit"] for line in world.lines("undo/refused.jsonl")] == ["both"]
    assert {k: v for k, v in world.tars().items() if k != "both"} == {k: v for k, v in OLD_TARS.items() if k != "both"}
    assert world.tars().get("both") in (tars.get("both"), b"old both")
    assert world.statuses().get("both") in (statuses.get("both"), "validation_failed")
    assert world.tars().get("both") == tars.get("both") or world.statuses().get("both") == statuses.get("both")


def test_undo_leaves_a_tar_whose_original_is_gone(world: World) -> None:
    world.apply()
    (world.stage / "finalize/originals/both_transcribed.tar").unlink()
    assert world.undo() == 4
    assert world.tars() == OLD_TARS | {"both": b"new both"}
    assert "is missing" in world.lines("undo/refused.jsonl")[0]["detail"]


def test_undo_without_a_finalize_is_2_and_names_it(world: World) -> None:
    assert world.run() == 0
    with pytest.raises(UserError, match="resplice finalize --run-id r --apply") as error:
        world.undo()
    assert error.value.exit_code == 2


def test_a_tar_repaired_anew_keeps_the_first_original(world: World) -> None:
    world.apply()
    world.freeze({video: len(v[3]) for video, v in VIDEOS.items()})
    world.publish(2, {"both": b"newer both", "partly": b"new partly", "missing": b"new missing"})
    world.verify(2, {video: v[3] for video, v in VIDEOS.items()})
    assert world.apply() == 0
    assert world.tars() == NEW_TARS | {"both": b"newer both"}
    assert world.undo() == 0
    assert (world.tars(), world.statuses()) == (OLD_TARS, OLD_STATUSES)


def test_a_tar_that_came_after_a_refresh_gets_an_original_of_its_own(world: World) -> None:
    world.apply()
    change_tar(world)
    world.freeze({video: len(v[3]) for video, v in VIDEOS.items()})
    assert world.apply() == 0
    assert world.tars() == NEW_TARS
    assert sorted(world.originals().values()) == [b"old both", b"old partly", b"somebody's"]
    assert world.undo(tars=True) == 0
    assert world.tars() == OLD_TARS | {"both": b"somebody's"}


class Killed(Exception):
    pass


class Faults:
    """Count the effects of a process on stores and database, and raise just before or after one of them."""

    def __init__(self, at: int = -1, after: bool = False) -> None:
        self.at, self.after, self.count = at, after, 0

    def __call__(self, effect: Any, *args: Any) -> Any:
        number, self.count = self.count, self.count + 1
        if number == self.at and not self.after:
            raise Killed(number)
        value = effect(*args)
        if number == self.at:
            raise Killed(number)
        return value


class Faulty:
    """A store whose writing methods go through Faults."""

    def __init__(self, below: Store, faults: Faults) -> None:
        self._below, self._faults = below, faults

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._below, name)
        if name not in ("create", "replace", "delete"):
            return found
        return lambda key, *args: found(key, *args) if key.endswith("run.json") else self._faults(found, key, *args)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    set_status = Rows.set_status

    def install(world: World, faults: Faults | None) -> None:
        for name in ("transcribed", "workspace"):
            place = Place(str(world.root / name))
            below = LocalStore(place.url)
            stores._PLACES[place] = Faulty(below, faults) if faults else below
        patched = (lambda *args: faults(set_status, *args)) if faults else set_status
        monkeypatch.setattr(Rows, "set_status", patched)

    yield install


def run_until_killed(world: World, install: Any, faults: Faults, undo: bool) -> int:
    install(world, faults)
    try:
        (world.undo if undo else world.apply)()
    except Exception as error:
        assert "Killed" in repr(error) or "Killed" in str(error)
    install(world, None)
    return faults.count


def final_state(world: World) -> Any:
    journal = [{**line, "at": "", "before": {**line["before"], "token": ""}}
               for line in world.lines("finalize/journal.jsonl")]  # fmt: skip
    summaries = [world.summary(stage) for stage in ("finalize", "undo") if (world.stage / stage).exists()]
    return world.tars(), world.statuses(), world.originals(), journal, summaries


def kill_everywhere(folder: Path, install: Any, undo: bool, after: bool) -> None:
    def fresh(name: str) -> World:
        world = make(folder / name)
        if undo:
            world.apply()
        return world

    whole = fresh("whole")
    effects = run_until_killed(whole, install, Faults(), undo)
    expected = final_state(whole)
    assert effects >= 8 and expected[:2] == ((OLD_TARS, OLD_STATUSES) if undo else (NEW_TARS, NEW_STATUSES))
    for number in range(effects):
        world = fresh(f"killed-{number}")
        run_until_killed(world, install, Faults(number, after), undo)
        assert (world.undo if undo else world.apply)() == 0
        assert final_state(world) == expected, number


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("undo", [False, True], ids=["finalize", "undo"])
def test_a_kill_at_any_effect_costs_nothing(tmp_path: Path, faulty: Any, undo: bool, after: bool) -> None:
    kill_everywhere(tmp_path, faulty, undo, after)


@pytest.mark.parametrize("undo", [False, True], ids=["finalize", "undo"])
def test_after_a_kill_at_any_effect_the_other_command_turns_it_round(tmp_path: Path, faulty: Any, undo: bool) -> None:
    def fresh(name: str) -> World:
        world = make(tmp_path / name)
        if undo:
            world.apply()
        return world

    for number in range(run_until_killed(fresh("whole"), faulty, Faults(), undo)):
        world = fresh(f"killed-{number}")
        run_until_killed(world, faulty, Faults(number, after=True), undo)
        if (world.stage / "finalize/journal.jsonl").exists():  # without it nothing has happened yet
            assert (world.apply if undo else world.undo)() == 0
        assert (world.tars(), world.statuses()) == ((NEW_TARS, NEW_STATUSES) if undo else (OLD_TARS, OLD_STATUSES))


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("undo", [False, True], ids=["finalize", "undo"])
def test_a_kill_on_beam_costs_nothing(tmp_path: Path, faulty: Any, undo: bool, after: bool, on_beam: None) -> None:
    kill_everywhere(tmp_path, faulty, undo, after)


def test_every_line_is_durable_before_its_effect(world: World, faulty: Any) -> None:
    seen = []

    class Watch(Faults):
        def __call__(self, effect: Any, *args: Any) -> Any:
            journal = world.stage / "finalize/journal.jsonl"
            key = args[1] if isinstance(args[0], Rows) else args[0]
            if isinstance(key, list) or "_transcribed.tar" in key:
                units = [change[0] for change in key] if isinstance(key, list) else [Path(key).name.split("_")[0]]
                lines = {line["unit"] for line in world.lines("finalize/journal.jsonl")} if journal.exists() else set()
                seen.append(set(units) <= lines)
            return super().__call__(effect, *args)

    run_until_killed(world, faulty, Watch(), undo=False)
    assert world.tars() == NEW_TARS
    assert seen == [True] * 6  # two originals, three tars, one batch


def test_effects_that_run_again_change_nothing_more(world: World, on_beam: None) -> None:
    again = (*RUNNER, "--direct_runner_bundle_repeat=2")
    args = Finalize(run_id="r", quiet=True, apply=True)
    assert finalize.run(args, Resolved(world.settings, {}, None), again) == 0
    assert (world.tars(), world.statuses(), len(world.originals())) == (NEW_TARS, NEW_STATUSES, 2)
    assert world.undo() == 0
    assert (world.tars(), world.statuses()) == (OLD_TARS, OLD_STATUSES)


def test_a_batch_of_statuses_leaves_a_value_that_changed_after_the_look(world: World) -> None:
    lines = [Line("status", "right", "pending", "validated"), Line("status", "both", "validation_failed", "validated")]
    change_status(world)
    list(SetStatuses(world.context)(tuple(Effect(line, line.before) for line in lines)))
    assert world.statuses() == OLD_STATUSES | {"right": "validated", "both": "checked"}


def test_two_processes_that_append_lose_no_line(world: World) -> None:
    store, key = world.context.workspace.store, "journal.jsonl"
    mine, theirs = Line("status", "a", None, "validated"), Line("tar", "b", None, "0" * 64)

    class Interleaved:
        def __init__(self) -> None:
            self.done = False

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def replace(self, *args: Any) -> bool:
            if not self.done:
                self.done = True
                append(store, key, [theirs])
            return store.replace(*args)

    append(Interleaved(), key, [mine])
    append(store, key, [mine, theirs])
    assert load(store, key) == {("tar", "b"): [theirs], ("status", "a"): [mine]}


def test_two_processes_at_once_do_no_harm(world: World) -> None:
    for job, tars, statuses in ((world.apply, NEW_TARS, NEW_STATUSES), (world.undo, OLD_TARS, OLD_STATUSES)):
        with ThreadPoolExecutor(3) as pool:
            assert [future.result() for future in [pool.submit(job) for _ in range(3)]] == [0, 0, 0]
        assert (world.tars(), world.statuses()) == (tars, statuses)
    assert len(world.lines("finalize/journal.jsonl")) == 6
    assert world.originals() == {f"{v}_transcribed.tar": OLD_TARS[v] for v in ("both", "partly")}


def test_the_graph_has_an_element_a_tar_and_one_a_batch_and_named_steps(world: World, on_beam: None) -> None:
    effects = [Effect(Line("tar", str(n), None, "0" * 64), None) for n in range(3)]
    effects += [Effect(Line("status", str(n), None, "validated"), None) for n in range(finalize.BATCH + 1)]
    pipeline = beam.Pipeline(runner="FnApiRunner")
    finalize.build(pipeline, world.context, "finalize", effects)
    labels: list[str] = []

    class Visitor(beam.pipeline.PipelineVisitor):  # type: ignore[misc]
        def enter_composite_transform(self, node: Any) -> None:
            labels.append(node.full_label)
            if isinstance(node.transform, beam.Create):
                labels.append(f"{node.full_label} {len(node.transform.values)}")

    pipeline.visit(Visitor())
    assert {"Items 3", "Batches 2", "ReplaceTars", "SetStatuses", "Outcomes"} <= set(labels)


@pytest.mark.slow
def test_a_recovered_demo_corpus_is_finalized_and_undone_to_the_byte(tmp_path: Path, on_beam: None) -> None:
    root = tmp_path / "demo"
    config = ["--config", str(root / "resplice.toml"), "--run-id", "r", "--quiet"]
    assert main(["demo", str(root)]) == 0
    assert main(["recover", *config, "--yes"]) == 0
    world = World(root)
    old = world.tars(), world.statuses()
    latest = snapshots.latest(world.context.workspace.store)
    new = {video: entry.tar.sha256 for video, entry in latest.videos.items() if entry.tar}
    rows = shards.open_file(world.context.workspace.store, "runs/r/verify/coverage.parquet").read().to_pylist()
    partly = {row["video_id"] for row in rows if row["bucket"] != "validated"}
    full = {row["video_id"] for row in rows} & latest.videos.keys() - partly
    for command, tars, statuses in (
        ("finalize", new, {video: "validated" for video in full if video in old[1]}),
        ("undo", {video: provenance.sha256(data) for video, data in old[0].items()}, old[1]),
    ):
        assert main([command, *config, "--apply"]) == 0
        digests = {video: provenance.sha256(data) for video, data in world.tars().items()}
        assert new and full and tars.items() <= digests.items()
        assert world.statuses() == old[1] | statuses
    assert world.tars() == old[0]
