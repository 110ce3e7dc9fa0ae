"""finalize and undo: what they change, what they leave, and what they refuse."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from finalizing import NEW_STATUSES, NEW_TARS, OLD_STATUSES, OLD_TARS, VIDEOS, World, change_status

from resplice.io import shards, snapshots
from resplice.io.journal import Effect, Line
from resplice.pipelines import finalize
from resplice.pipelines.__main__ import main
from resplice.pipelines.args import Undo
from resplice.transforms import provenance
from resplice.transforms.records import UserError

pytestmark = pytest.mark.usefixtures("plain_path")


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
    digest = snapshots.digest_of(world.context.workspace.store, 1)
    snapshots.publish(
        world.context.workspace.store, replace(latest, number=2, parent=1, parent_sha256=digest, videos=videos)
    )
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
