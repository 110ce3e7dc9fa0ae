"""Real processes that publish to one workspace at once, and the merge that comes second, step by step."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import hollow  # noqa: E402
import races  # noqa: E402
from lossy import ANSWER, REFUSED, REQUEST, Lossy  # noqa: E402

from resplice.io import snapshots  # noqa: E402
from resplice.io import store as stores  # noqa: E402
from resplice.io.local import LocalStore  # noqa: E402
from resplice.io.store import Place, Store  # noqa: E402
from resplice.pipelines import merge  # noqa: E402
from resplice.pipelines.__main__ import main  # noqa: E402
from resplice.transforms.replace import Snapshot  # noqa: E402


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A corpus, and a workspace that holds all runs up to `merge`."""
    root = tmp_path_factory.mktemp("races")
    return root, races.build(root)


@pytest.mark.parametrize("runs", ["abcd", "abef"])
def test_of_four_publishers_each_wins_once_or_loses_to_one_of_the_same_videos(
    corpus: tuple[Path, Path], tmp_path: Path, runs: str
) -> None:
    root, source = corpus
    done = races.race(root, source, Place(str(tmp_path / "workspace")), runs)
    assert done.faults == []
    assert (4 in done.codes.values()) == (runs == "abef")


class Raced:
    """A workspace in which somebody acts just before the merge of run b first creates its snapshot."""

    def __init__(self, root: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.workspace, self._monkeypatch = root, workspace, monkeypatch
        self.store = LocalStore(str(workspace))
        self.decided: list[int] = []
        decide = merge._decide
        monkeypatch.setattr(merge, "_decide", lambda *args: self.decided.append(args[2].number) or decide(*args))

    def merge(self, run: str) -> int:
        return main(hollow.command(self.root, "merge", str(self.workspace), run))

    def second(self, act: Callable[[], Any]) -> int:
        publish = snapshots.publish

        def late(store: Store, snapshot: Snapshot) -> bool:
            self._monkeypatch.setattr(snapshots, "publish", publish)
            act()
            self.decided.clear()
            self.decided.append(0)
            return publish(store, snapshot)

        self._monkeypatch.setattr(snapshots, "publish", late)
        return self.merge("b")

    def rows(self) -> dict[tuple[str, str], int]:
        return races.results(Place(str(self.workspace)))


@pytest.fixture
def raced(corpus: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Raced:
    root, source = corpus
    races.fill(source, LocalStore(str(tmp_path / "workspace")), "abe")
    return Raced(root, tmp_path / "workspace", monkeypatch)


def test_a_merge_behind_one_of_other_videos_goes_on_from_it_and_decides_nothing_anew(raced: Raced) -> None:
    assert raced.second(lambda: raced.merge("a")) == 0
    assert raced.decided == [0]
    state = snapshots.latest(raced.store)
    assert (state.number, state.run_id, {e.run_id for e in state.videos.values()}) == (2, "b", {"a", "b"})
    assert {run for _, run in raced.rows()} == {"", "a", "b"}
    assert main(["manifest", "verify", f"{raced.workspace}/snapshots/00000002.json.manifest.json"]) == 0


def test_a_merge_that_came_second_and_runs_again_publishes_nothing_more(raced: Raced) -> None:
    assert raced.second(lambda: raced.merge("a")) == 0
    assert raced.merge("b") == raced.merge("a") == 0
    assert snapshots.numbers(raced.store) == [1, 2]


def test_a_merge_behind_one_of_the_same_video_is_a_conflict_that_names_video_run_and_snapshot(
    raced: Raced, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raced.second(lambda: raced.merge("e")) == 4
    err = capsys.readouterr().err
    assert hollow.video(3) in err and "run e" in err and "snapshot 1" in err
    assert snapshots.numbers(raced.store) == [1]
    assert not list(raced.workspace.rglob("naming.txt"))


def test_rows_of_a_planned_video_that_appear_meanwhile_are_decided_upon(raced: Raced) -> None:
    late = raced.root / "validation" / "late.parquet"

    def act() -> None:
        assert raced.merge("a") == 0
        hollow.write_results(late, [3, 9], 5)

    try:
        assert raced.second(act) == 0
    finally:
        late.unlink()
    assert raced.decided == [0, 1]
    state = snapshots.latest(raced.store)
    assert next(shard for shard in state.shards if shard.source == late.name).drop == (
        hollow.video(1), hollow.video(2), hollow.video(3),
    )  # fmt: skip
    assert raced.rows()[hollow.video(3), "b"] == hollow.SEGMENTS
    assert (hollow.video(3), "") not in raced.rows()


def test_a_merge_behind_a_rollback_goes_on_from_what_is_published_again(raced: Raced) -> None:
    def act() -> None:
        assert raced.merge("a") == 0
        assert main(hollow.command(raced.root, "rollback", str(raced.workspace), "back", "--to", "0")) == 0

    assert raced.second(act) == 0
    assert {run for _, run in raced.rows()} == {"", "b"}
    assert snapshots.numbers(raced.store) == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("lost", [REQUEST, ANSWER, REFUSED])
def test_what_is_lost_at_any_write_of_a_merge_costs_nothing(
    corpus: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    root, source = corpus
    ended, outcomes = [], []
    for at in itertools.count():
        workspace = str(tmp_path / str(at))
        store = LocalStore(workspace)
        races.fill(source, store, "a")
        lossy = Lossy(store, lost, at)
        monkeypatch.setitem(stores._PLACES, Place(workspace), lossy)
        ended.append(main(hollow.command(root, "merge", workspace, "a")))
        monkeypatch.setitem(stores._PLACES, Place(workspace), store)
        assert main(hollow.command(root, "merge", workspace, "a")) == 0
        keys = [head.key for head in store.list() if not head.key.startswith("runs/a/merge/")]
        outcomes.append((keys, store.read("snapshots/00000001.json")))
        assert (outcomes[-1], snapshots.numbers(store)) == (outcomes[0], [1])
        if lossy.writes <= at:
            break
    assert len(ended) > 10
    assert set(ended) == ({0} if lost == REFUSED else {0, 1})
