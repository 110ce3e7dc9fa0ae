"""What is published: snapshots as a chain, rollback as one more of them, export as plain parquet."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lossy import ANSWER, REFUSED, REQUEST, Lossy
from owned import owned

from resplice.io import snapshots
from resplice.io.local import LocalBlob, LocalStore
from resplice.io.store import Store
from resplice.pipelines.__main__ import main
from resplice.transforms import provenance
from resplice.transforms.records import UserError
from resplice.transforms.replace import RUN, Shard, Snapshot, live_shards, merged, rolled_back

FOLDERS = ("raw", "transcribed", "validation", "workspace")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A corpus with two historical shards and no snapshot; the current folder, so that its resplice.toml holds."""
    corpus = tmp_path / "corpus"
    for folder in FOLDERS:
        (corpus / folder).mkdir(parents=True)
    (corpus / "resplice.toml").write_text("")
    old = {"video_id": ["a", "a", "b"], "segment_file": ["x.flac", "y.flac", "x.flac"], "score": [1, 2, 3]}
    pq.write_table(pa.table(old), corpus / "validation" / "one.parquet")
    (corpus / "validation" / "deep").mkdir()
    only_a = {"video_id": ["a"], "segment_file": ["z.flac"], "judge": ["nobody"]}
    pq.write_table(pa.table(only_a), corpus / "validation" / "deep" / "two.parquet")
    monkeypatch.chdir(corpus)
    yield corpus


def merge(root: Path, run_id: str, video: str, segments: list[str], **measures: list[object]) -> Snapshot:
    """Publish what a merge of one video would, without its pipeline."""
    workspace, validation = LocalStore(str(root / "workspace")), LocalStore(str(root / "validation"))
    path = root / "workspace" / "runs" / run_id / "shard.parquet"
    path.parent.mkdir(parents=True)
    status = ["passed"] * len(segments)
    columns = {"video_id": [video] * len(segments), "segment_file": segments, "status": status, **measures}
    pq.write_table(pa.table(columns), path)
    key, sha = owned(workspace, f"runs/{run_id}/shard.parquet", ".parquet")
    latest = snapshots.latest(workspace)
    live = [
        snapshots.adopt(workspace, validation, shard)
        for shard in live_shards(latest, snapshots.found_history(validation))
    ]
    new = [Shard(f"runs/{run_id}/shard.parquet", "", RUN, run_id, len(segments), key, sha)]
    parent = snapshots.digest_of(workspace, latest.number)
    drops = {shard.key: [video] for shard in live}
    snapshot = merged(latest, live, new, drops, {video: None}, run_id, parent)
    snapshots.check_columns(workspace, snapshot)
    assert snapshots.publish(workspace, snapshot)
    return snapshot


@pytest.fixture
def published(root: Path) -> Path:
    """Snapshot 1 replaces video a, snapshot 2 video b."""
    merge(root, "r1", "a", ["x", "y_split0", "y_split1"])
    merge(root, "r2", "b", ["x"])
    return root


def rows(root: Path, number: int | None = None) -> list[tuple[str, str]]:
    table = snapshots.dataset(str(root / "workspace"), number).to_table()
    return sorted(zip(table["video_id"].to_pylist(), table["segment_file"].to_pylist(), strict=True))


HISTORY = [("a", "x.flac"), ("a", "y.flac"), ("a", "z.flac"), ("b", "x.flac")]
ONE = [("a", "x"), ("a", "y_split0"), ("a", "y_split1"), ("b", "x.flac")]
TWO = [("a", "x"), ("a", "y_split0"), ("a", "y_split1"), ("b", "x")]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def exported(folder: Path) -> list[tuple[str, str]]:
    found = [row for part in sorted(folder.iterdir()) for row in pq.read_table(part).to_pylist()]
    return sorted((row["video_id"], row["segment_file"]) for row in found)


# snapshots


def test_snapshots_lists_what_counts_in_each(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["snapshots", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    found = [(s["number"], s["parent"], s["kind"], s["run_id"], s["shards"], s["rows"], s["videos"], s["fault"])
             for s in said["snapshots"]]  # fmt: skip
    assert found == [(1, None, "merge", "r1", 3, 4, 1, ""), (2, 1, "merge", "r2", 4, 4, 2, "")]
    assert all(s["bytes"] > 0 for s in said["snapshots"])
    assert main(["snapshots"]) == 0
    assert "digest of its parent holds" in capsys.readouterr().out


def test_snapshots_before_any_says_so(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["snapshots"]) == 0
    assert "no snapshot" in capsys.readouterr().out
    assert main(["snapshots", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"chain": "ok", "snapshots": []}


def add_space(root: Path) -> None:
    file = root / "workspace" / "snapshots" / "00000001.json"
    file.write_bytes(file.read_bytes() + b" ")


def remove_parent(root: Path) -> None:
    (root / "workspace" / "snapshots" / "00000001.json").unlink()


def break_json(root: Path) -> None:
    (root / "workspace" / "snapshots" / "00000002.json").write_text("{")


def exchange_numbers(root: Path) -> None:
    folder = root / "workspace" / "snapshots"
    shutil.copy(folder / "00000001.json", folder / "00000002.json")


def remove_object(root: Path) -> None:
    [snapshot] = [json.loads((root / "workspace" / "snapshots" / "00000002.json").read_text())]
    (root / "workspace" / snapshot["shards"][-1]["key"]).unlink()


def damage_object(root: Path) -> None:
    [snapshot] = [json.loads((root / "workspace" / "snapshots" / "00000002.json").read_text())]
    (root / "workspace" / snapshot["shards"][0]["key"]).write_bytes(b"PAR1")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (add_space, "parent_sha256"),
        (remove_parent, "parent is 1"),
        (break_json, "cannot be read"),
        (exchange_numbers, "says number 1"),
        (remove_object, "objects are gone"),
        (damage_object, "parquet_footer"),
    ],
)
def test_snapshots_tells_a_broken_chain(
    published: Path, capsys: pytest.CaptureFixture[str], damage: object, told: str
) -> None:
    assert callable(damage)
    damage(published)
    assert main(["snapshots", "--json"]) == 4
    said = json.loads(capsys.readouterr().out)
    assert said["chain"] == "broken"
    assert told in said["snapshots"][-1]["fault"]
    assert main(["snapshots"]) == 4


# rollback


@pytest.mark.parametrize(("to", "wanted"), [(0, HISTORY), (1, ONE)])
def test_rollback_publishes_an_earlier_state_as_a_new_snapshot(
    published: Path, to: int, wanted: list[tuple[str, str]]
) -> None:
    before = files(published / "workspace" / "snapshots")
    assert main(["rollback", "--to", str(to)]) == 0
    after = files(published / "workspace" / "snapshots")
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"00000003.json", "00000003.json.manifest.json"}
    assert rows(published) == rows(published, 3) == wanted
    assert rows(published, 2) == TWO


def test_rollbacks_can_be_rolled_back(published: Path) -> None:
    for to, wanted in ((1, ONE), (0, HISTORY), (2, TWO), (3, ONE), (0, HISTORY)):
        assert main(["rollback", "--to", str(to)]) == 0
        assert rows(published) == wanted
    assert main(["snapshots"]) == 0
    assert main(["manifest", "verify", "workspace/snapshots/00000007.json.manifest.json"]) == 0


def test_rollback_records_the_run_and_its_parent(published: Path) -> None:
    assert main(["rollback", "--to", "1", "--run-id", "undo-b"]) == 0
    store = LocalStore(str(published / "workspace"))
    new = snapshots.latest(store)
    assert (new.number, new.parent, new.kind, new.run_id) == (3, 2, "rollback", "undo-b")
    assert new.parent_sha256 == snapshots.digest_of(store, 2)


def test_rollback_to_the_current_state_does_nothing(published: Path) -> None:
    before = files(published)
    assert main(["rollback", "--to", "2"]) == 0
    assert files(published) == before
    assert main(["rollback", "--to", "1"]) == main(["rollback", "--to", "1"]) == 0
    assert snapshots.numbers(LocalStore(str(published / "workspace"))) == [1, 2, 3]


def test_rollback_killed_before_its_sidecar_only_adds_it(published: Path) -> None:
    assert main(["rollback", "--to", "1"]) == 0
    before = files(published)
    sidecar = published / "workspace" / "snapshots" / "00000003.json.manifest.json"
    said = json.loads(sidecar.read_text())["run_provenance"]["outputs"]
    sidecar.unlink()
    assert rows(published) == ONE
    assert main(["rollback", "--to", "1"]) == 0
    after = files(published)
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} <= {str(sidecar.relative_to(published))}
    assert json.loads(sidecar.read_text())["run_provenance"]["outputs"] == said


def test_rollback_dry_run_writes_nothing(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(published)
    assert main(["rollback", "--to", "1", "--dry-run"]) == 0
    assert files(published) == before
    assert "snapshot 3 would be the state of snapshot 1" in capsys.readouterr().out


def test_rollback_to_an_unknown_snapshot_names_those_there(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollback", "--to", "7"]) == 2
    assert "no snapshot 7" in (err := capsys.readouterr().err) and "1, 2" in err


@pytest.mark.parametrize("to", [0, 1])
def test_rollback_without_any_snapshot_is_usage(root: Path, to: int) -> None:
    assert main(["rollback", "--to", str(to)]) == 2
    assert files(root / "workspace") == {}


def test_rollback_to_a_state_whose_objects_are_gone_fails(published: Path) -> None:
    store = LocalStore(str(published / "workspace"))
    run_of_one = next(shard for shard in snapshots.load(store, 1).shards if shard.origin == RUN)
    store.delete(run_of_one.key)
    assert main(["rollback", "--to", "1"]) == 1
    assert snapshots.numbers(store) == [1, 2]


def test_a_publisher_knows_whether_the_number_is_its_own(published: Path) -> None:
    store = LocalStore(str(published / "workspace"))
    latest, digest = snapshots.latest(store), snapshots.digest_of(store, 2)
    mine, other = (rolled_back(latest, snapshots.load(store, 1), digest, run) for run in ("mine", "other"))
    assert [snapshots.publish(store, state) for state in (other, other, mine)] == [True, True, False]
    assert snapshots.latest(store).run_id == "other"


@pytest.mark.parametrize("lost", [REQUEST, ANSWER, REFUSED])
@pytest.mark.parametrize("taken", [False, True])
def test_a_publisher_whose_answer_is_lost_knows_its_own_snapshot_and_no_other(
    published: Path, lost: str, taken: bool
) -> None:
    store = LocalStore(str(published / "workspace"))
    latest, digest = snapshots.latest(store), snapshots.digest_of(store, 2)
    mine, other = (rolled_back(latest, snapshots.load(store, 1), digest, run) for run in ("mine", "other"))
    if taken:
        assert snapshots.publish(store, other)
    if lost == REFUSED or (lost == ANSWER and not taken):
        assert snapshots.publish(Lossy(store, lost), mine) == (not taken)
    else:
        with pytest.raises(ConnectionError):
            snapshots.publish(Lossy(store, lost), mine)
    assert snapshots.publish(store, mine) == (not taken)
    assert snapshots.numbers(store) == [1, 2, 3]
    assert snapshots.latest(store).run_id == ("other" if taken else "mine")


@pytest.mark.parametrize(("number", "parent"), [(3, 1), (4, 3), (3, None)])
def test_what_does_not_follow_from_the_latest_snapshot_is_never_published(
    published: Path, number: int, parent: int | None
) -> None:
    store = LocalStore(str(published / "workspace"))
    digest = snapshots.digest_of(store, 2)
    with pytest.raises(ValueError, match="must not be published"):
        snapshots.publish(store, Snapshot(number, parent, digest))
    with pytest.raises(ValueError, match="parent_sha256"):
        snapshots.publish(store, Snapshot(3, 2, provenance.sha256(b"")))
    assert snapshots.numbers(store) == [1, 2]


@pytest.mark.parametrize("damage", [add_space, remove_parent, exchange_numbers])
def test_nobody_reads_or_publishes_over_a_broken_chain(
    published: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    damage(published)
    for command in (["rollback", "--to", "0"], ["export", "--to", str(published.parent / "out")], ["gc", "--apply"]):
        assert main(command) == 4
        assert "does not follow" in capsys.readouterr().err
    with pytest.raises(UserError):
        snapshots.dataset(str(published / "workspace"))


def racing(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let somebody act just before this process creates its snapshot."""
    publish = snapshots.publish

    def late(store: Store, snapshot: Snapshot) -> bool:
        monkeypatch.setattr(snapshots, "publish", publish)
        act()
        return publish(store, snapshot)

    monkeypatch.setattr(snapshots, "publish", late)


def test_a_rollback_that_comes_behind_a_merge_is_a_conflict_and_undoes_nothing(
    published: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    racing(monkeypatch, lambda: merge(published, "r3", "b", ["x", "z"]))
    assert main(["rollback", "--to", "1"]) == 4
    err = capsys.readouterr().err
    assert "snapshot 3" in err and "run r3" in err
    assert rows(published) == [*TWO, ("b", "z")]


def test_of_two_rollbacks_to_one_state_both_are_right(
    published: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    racing(monkeypatch, lambda: main(["rollback", "--to", "1", "--run-id", "first"]))
    assert main(["rollback", "--to", "1", "--run-id", "second"]) == 0
    assert "has the state of snapshot 1 already" in capsys.readouterr().out
    assert snapshots.numbers(LocalStore(str(published / "workspace"))) == [1, 2, 3]


def test_a_reader_at_any_moment_sees_one_of_the_published_states(root: Path) -> None:
    merge(root, "r0", "a", ["first"])
    states, seen, over = [rows(root)], [], threading.Event()
    read = threading.Semaphore(0)

    def watch() -> None:
        try:
            while not over.is_set():
                seen.append(rows(root))
                read.release()
        finally:
            read.release(1000)

    def act(change: Callable[..., object], *args: object) -> None:
        change(*args)
        states.append(rows(root))
        for _ in range(2):  # the first of these may have begun before
            read.acquire()

    dead = [snapshots.object_key(f"{number:064x}", ".tar") for number in range(5)]
    with ThreadPoolExecutor(1) as threads:
        watching = threads.submit(watch)
        for number, key in enumerate(dead, start=1):
            LocalStore(str(root / "workspace")).create(key, b"never named")
            act(merge, root, f"r{number}", "ab"[number % 2], ["x"] * number)
            act(main, ["gc", "--apply", "--wait", "0"])
            act(main, ["rollback", "--to", str(number - 1)])
        over.set()
        watching.result()
    assert len(seen) >= 30
    assert all(state in states for state in seen)
    assert [(root / "workspace" / key).exists() for key in dead] == [False] * 4 + [True]


class Rewritten(LocalStore):
    """A folder in which somebody rewrites a file just after it was opened."""

    def open(self, key: str) -> LocalBlob:
        blob = super().open(key)
        pq.write_table(pa.table({"video_id": ["c"], "segment_file": ["other.flac"]}), Path(self.url) / key)
        return blob


def test_a_historical_shard_is_read_once_when_it_is_adopted(root: Path) -> None:
    read: list[int] = []

    class Counted(LocalStore):
        def open(self, key: str) -> LocalBlob:
            read.append(Path(self.url, key).stat().st_size)
            return super().open(key)

        def read(self, key: str) -> bytes:
            raise AssertionError("a whole shard in memory")

    workspace, validation = LocalStore(str(root / "workspace")), LocalStore(str(root / "validation"))
    shard = next(shard for shard in snapshots.found_history(validation) if shard.source == "one.parquet")
    adopted = snapshots.adopt(workspace, Counted(validation.url), shard)
    assert len(read) == 1
    assert workspace.read(adopted.key) == validation.read("one.parquet")
    assert adopted.sha256 == provenance.sha256(validation.read("one.parquet"))


@pytest.mark.parametrize("kind", [LocalStore, Rewritten])
def test_a_historical_file_that_changes_while_it_is_adopted_is_to_be_run_again(
    root: Path, kind: type[LocalStore]
) -> None:
    workspace, validation = LocalStore(str(root / "workspace")), kind(str(root / "validation"))
    shard = next(
        shard for shard in snapshots.found_history(LocalStore(validation.url)) if shard.source == "one.parquet"
    )
    if kind is LocalStore:
        shard = replace(shard, token="that of another version")
    with pytest.raises(UserError) as changed:
        snapshots.adopt(workspace, validation, shard)
    assert changed.value.exit_code == 75
    for head in workspace.list("objects/"):
        assert provenance.sha256(workspace.read(head.key)) in head.key


# export


@pytest.mark.parametrize(("to", "wanted"), [(None, TWO), (1, ONE), (0, HISTORY)])
def test_export_writes_the_live_results(
    published: Path, tmp_path: Path, to: int | None, wanted: list[tuple[str, str]]
) -> None:
    if to is not None:
        assert main(["rollback", "--to", str(to)]) == 0
    out = tmp_path / "out"
    assert main(["export", "--to", str(out)]) == 0
    assert exported(out) == wanted
    assert main(["manifest", "verify", f"{out}.manifest.json"]) == 0


def test_export_before_any_snapshot_is_history_as_found(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["export", "--to", str(out)]) == 0
    assert exported(out) == HISTORY
    assert files(root / "workspace") == {}


def test_export_has_a_file_for_each_shard_with_rows_and_the_columns_of_all(published: Path, tmp_path: Path) -> None:
    assert main(["rollback", "--to", "1"]) == 0
    out = tmp_path / "new" / "out"
    assert main(["export", "--to", str(out)]) == 0
    columns = {part.name: pq.read_schema(part).names for part in out.iterdir()}
    assert columns == {
        "part-00000.parquet": ["video_id", "segment_file", "judge", "score", "status"],
        "part-00001.parquet": ["video_id", "segment_file", "judge", "score", "status"],
    }
    metadata = [pq.read_metadata(part).metadata for part in sorted(out.iterdir())]
    assert [m[b"run_id"] for m in metadata] == [b"", b"r1"]
    assert all(b"code_version" in m and b"settings_sha256" in m for m in metadata)


def test_whole_numbers_beside_fractions_are_read_as_fractions(root: Path) -> None:
    merge(root, "r1", "a", ["x", "y"], score=[0.5, None])
    table = snapshots.dataset(str(root / "workspace")).to_table()
    assert sorted(table["score"].drop_null().to_pylist()) == [0.5, 3.0]


def test_results_that_nobody_could_read_with_the_others_are_not_published(root: Path) -> None:
    with pytest.raises(UserError, match=r"'score' is string in runs/r1/.* of run r1 and int64 in one.parquet"):
        merge(root, "r1", "a", ["x"], score=["n/a"])
    merge(root, "r2", "a", ["x"], flag=[1])
    with pytest.raises(UserError, match=r"'flag' is bool in runs/r3/.* of run r3 and int64 in runs/r2/.* of run r2"):
        merge(root, "r3", "a", ["x"], flag=[True])
    assert snapshots.latest(LocalStore(str(root / "workspace"))).number == 1


def test_export_is_the_same_bytes_every_time(published: Path, tmp_path: Path) -> None:
    for name in ("out", "again"):
        assert main(["export", "--to", str(tmp_path / name)]) == 0
    assert files(tmp_path / "out") == files(tmp_path / "again") != {}


def test_export_of_a_shard_of_several_batches_keeps_every_row(root: Path, tmp_path: Path) -> None:
    count = 150_000
    many = pa.table({"video_id": ["v", "a", "w"] * (count // 3), "segment_file": [f"{n}.flac" for n in range(count)]})
    pq.write_table(many, root / "validation" / "many.parquet")
    merge(root, "r1", "a", ["x"])
    assert main(["export", "--to", str(tmp_path / "out")]) == 0
    assert exported(tmp_path / "out") == rows(root)


def test_export_into_its_own_folder_again_does_nothing(published: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert main(["export", "--to", str(out)]) == 0
    before = files(tmp_path)
    assert main(["export", "--to", str(out)]) == 0
    assert files(tmp_path) == before


def test_export_killed_before_its_sidecar_only_adds_it(published: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["export", "--to", str(out)]) == 0
    before = files(out)
    (tmp_path / "out.manifest.json").unlink()
    assert main(["export", "--to", str(out)]) == 0
    assert files(out) == before
    assert main(["manifest", "verify", f"{out}.manifest.json"]) == 0


def test_export_dry_run_tells_the_same_and_writes_nothing(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, before = tmp_path / "out", files(tmp_path)
    assert main(["export", "--to", str(out), "--dry-run"]) == 0
    dry = capsys.readouterr().out
    assert files(tmp_path) == before
    assert main(["export", "--to", str(out)]) == 0
    assert capsys.readouterr().out == dry.replace("would write", "wrote")


def foreign_file(out: Path) -> None:
    out.mkdir()
    (out / "notes.txt").write_text("mine")


def foreign_parquet(out: Path) -> None:
    out.mkdir()
    pq.write_table(pa.table({"x": [1]}), out / "part-00000.parquet")


def no_parquet(out: Path) -> None:
    out.mkdir()
    (out / "part-00000.parquet").write_bytes(b"half")


def a_file(out: Path) -> None:
    out.write_text("mine")


def former_state(out: Path) -> None:
    assert main(["rollback", "--to", "1"]) == 0
    assert main(["export", "--to", str(out)]) == 0
    assert main(["rollback", "--to", "2"]) == 0


def cut_without_sidecar(out: Path) -> None:
    assert main(["export", "--to", str(out)]) == 0
    Path(f"{out}.manifest.json").unlink()
    (out / "part-00000.parquet").unlink()


@pytest.mark.parametrize(
    "prepare", [foreign_file, foreign_parquet, no_parquet, a_file, former_state, cut_without_sidecar]
)
def test_export_refuses_a_folder_that_holds_anything_else(published: Path, tmp_path: Path, prepare: object) -> None:
    assert callable(prepare)
    prepare(tmp_path / "out")
    before = files(tmp_path)
    assert main(["export", "--to", str(tmp_path / "out")]) == 2
    assert files(tmp_path) == before


def test_export_that_was_changed_is_a_difference(published: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["export", "--to", str(out)]) == 0
    (out / "part-00000.parquet").unlink()
    assert main(["export", "--to", str(out)]) == 4


@pytest.mark.parametrize("inside", FOLDERS)
def test_export_never_writes_into_the_corpus(published: Path, inside: str) -> None:
    before = files(published)
    assert main(["export", "--to", f"{inside}/out"]) == 2
    assert files(published) == before


def test_export_that_fails_leaves_nothing_behind(published: Path, tmp_path: Path) -> None:
    store = LocalStore(str(published / "workspace"))
    last = snapshots.latest(store).shards[-1].key
    (published / "workspace" / last).write_bytes(b"no parquet")
    before = files(tmp_path)
    assert main(["export", "--to", str(tmp_path / "new" / "out")]) == 1
    assert files(tmp_path) == before
    assert list((tmp_path / "new").iterdir()) == []


def test_export_notes_history_that_no_snapshot_names(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.table({"video_id": ["new"], "segment_file": ["n.flac"]}), "validation/late.parquet")
    assert main(["export", "--to", str(tmp_path / "out")]) == 0
    assert "that no snapshot names yet (1)" in capsys.readouterr().err
    assert exported(tmp_path / "out") == TWO
