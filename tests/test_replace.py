"""Whole-video replacement, played against a model: a dictionary from video to its live results."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resplice.io import shards, snapshots
from resplice.io.local import LocalStore
from resplice.transforms.replace import (
    HISTORY,
    RUN,
    IndexRow,
    Replaced,
    Shard,
    Snapshot,
    Tar,
    as_found,
    conflicts,
    live_shards,
    merged,
    moved,
    replacement,
    rolled_back,
)

VIDEOS = list("abcdef")
Rows = dict[str, list[str]]
TAR = Tar("objects/t", "1" * 64, 10)


def historical(path: str, token: str = "1") -> Shard:
    return Shard(path, token, HISTORY, "", 0)


@dataclass
class World:
    """The bytes of every shard (by key), the folder of history, and the published state."""

    contents: dict[str, Rows] = field(default_factory=dict)
    found: list[Shard] = field(default_factory=list)
    latest: Snapshot = field(default_factory=Snapshot)

    def add_history(self, path: str, rows: Rows, token: str = "1") -> None:
        self.found = [*(s for s in self.found if s.source != path), historical(path, token)]
        self.contents[f"{path}@{token}"] = rows

    def live(self) -> list[Shard]:
        return [replace(s, key=s.key or f"{s.source}@{s.token}") for s in live_shards(self.latest, self.found)]

    def results(self) -> dict[str, list[str]]:
        rows: dict[str, list[str]] = {}
        for shard in self.live():
            for video, labels in self.contents[shard.key].items():
                if video not in shard.drop:
                    rows.setdefault(video, []).extend(labels)
        return {video: sorted(labels) for video, labels in rows.items() if labels}

    def merge(self, run_id: str, new: Mapping[str, Sequence[str]], on_missing: str = "drop", seed: int = 0) -> None:
        """Merge a run whose plan has the videos of `new`, in two shards, with the live shards in any order."""
        self.publish(self.decide(run_id, new, on_missing, seed))

    def decide(self, run_id: str, new: Mapping[str, Sequence[str]], on_missing: str = "drop", seed: int = 0) -> Decided:
        live = self.live()
        random.Random(seed).shuffle(live)
        ours = []
        for part in (0, 1):
            rows = {v: list(labels) for n, (v, labels) in enumerate(sorted(new.items())) if n % 2 == part and labels}
            self.contents[f"{run_id}-{part}"] = rows
            ours.append(Shard(f"{part}", "", RUN, run_id, sum(map(len, rows.values())), f"{run_id}-{part}"))
        old = [s for s in live if (s.origin, s.run_id) != (RUN, run_id)]
        drops: dict[str, list[str]] = {}
        replaced: dict[str, Tar | None] = {}
        for video in new:
            decision = replacement(video, self._index(old, video), self._index(ours, video), on_missing)
            for key in decision.drop_from:
                drops.setdefault(key, []).append(video)
            if not decision.kept:
                replaced[video] = TAR
        return Decided(run_id, list(new), live, ours, drops, replaced)

    def publish(self, decided: Decided) -> None:
        """Publish what was decided over these or earlier live shards onto what is the latest snapshot now."""
        run_id, live = decided.run_id, self.live()
        self.latest = merged(self.latest, live, decided.ours, decided.drops, decided.replaced, run_id, "")

    def still_holds(self, decided: Decided) -> bool:
        differ = moved(*([s for s in side if s.run_id != decided.run_id] for side in (decided.live, self.live())),
                       decided.planned)  # fmt: skip
        return not any(self._index([shard], video) for shard in differ for video in decided.planned)

    def _index(self, among: Sequence[Shard], video: str) -> list[IndexRow]:
        counts = {s.key: len(self.contents[s.key].get(video, ())) for s in among if video not in s.drop}
        return [IndexRow(key, rows) for key, rows in counts.items() if rows]


@dataclass(frozen=True)
class Decided:
    """What a merge decided over the live shards that it saw."""

    run_id: str
    planned: list[str]
    live: list[Shard]
    ours: list[Shard]
    drops: dict[str, list[str]]
    replaced: dict[str, Tar | None]


def history(*shard_rows: Rows) -> World:
    world = World()
    for number, rows in enumerate(shard_rows):
        world.add_history(f"h{number}.parquet", rows)
    return world


def labelled(run: str, counts: Mapping[str, int]) -> dict[str, list[str]]:
    return {video: [f"{run}:{video}:{n}" for n in range(count)] for video, count in counts.items()}


counts = st.dictionaries(st.sampled_from(VIDEOS), st.integers(0, 3))
worlds = st.lists(counts, max_size=3)
runs = st.lists(st.tuples(st.sampled_from(["r1", "r2", "a", "z"]), counts, st.integers(0, 99)), max_size=5)


def made(shard_counts: Sequence[Mapping[str, int]]) -> World:
    return history(*(labelled(f"h{n}", rows) for n, rows in enumerate(shard_counts)))


@given(worlds, runs)
def test_the_latest_run_of_a_video_is_all_that_lives_of_it_whatever_the_order(
    shard_counts: list[dict[str, int]], merges: list[tuple[str, dict[str, int], int]]
) -> None:
    world = made(shard_counts)
    model = world.results()
    for number, (_, rows, seed) in enumerate(merges):
        name = f"{'zyx'[number % 3]}{number}"  # run ids in no order of time
        new = labelled(name, rows)
        world.merge(name, new, seed=seed)
        model = {**model, **{video: sorted(labels) for video, labels in new.items()}}
        assert world.results() == {video: labels for video, labels in model.items() if labels}


@given(worlds, runs)
def test_kept_results_stay_only_where_the_run_brought_none(
    shard_counts: list[dict[str, int]], merges: list[tuple[str, dict[str, int], int]]
) -> None:
    world = made(shard_counts)
    model = world.results()
    for number, (_, rows, seed) in enumerate(merges):
        new = labelled(f"r{number}", rows)
        world.merge(f"r{number}", new, "keep", seed)
        model = {**model, **{video: sorted(labels) for video, labels in new.items() if labels}}
        assert world.results() == model


@given(worlds, counts, counts, st.integers(0, 99))
def test_merges_of_disjoint_videos_commute_in_what_lives(
    shard_counts: list[dict[str, int]], first: dict[str, int], second: dict[str, int], seed: int
) -> None:
    second = {video: count for video, count in second.items() if video not in first}
    one, other = made(shard_counts), made(shard_counts)
    one.merge("a", labelled("a", first), seed=seed)
    one.merge("b", labelled("b", second), seed=seed + 1)
    other.merge("b", labelled("b", second), seed=seed + 2)
    other.merge("a", labelled("a", first), seed=seed)
    assert one.results() == other.results()
    assert one.latest.shards == other.latest.shards
    assert {v: e.run_id for v, e in one.latest.videos.items()} == {v: e.run_id for v, e in other.latest.videos.items()}


modes = st.sampled_from(["drop", "keep"])
planned = st.dictionaries(st.sampled_from(VIDEOS), st.integers(0, 2), max_size=3)


@given(worlds, runs, planned, planned, modes, modes)
def test_a_publisher_of_other_videos_goes_on_from_the_new_snapshot_with_what_it_decided_before(
    shard_counts: list[dict[str, int]], before: list[tuple[str, dict[str, int], int]], first: dict[str, int],
    second: dict[str, int], one_mode: str, other_mode: str,
) -> None:  # fmt: skip
    second = {video: count for video, count in second.items() if video not in first}
    world, again, round_ = (made(shard_counts) for _ in range(3))
    for each in (world, again, round_):
        for number, (_, rows, seed) in enumerate(before):
            each.merge(f"early{number}", labelled(f"early{number}", rows), seed=seed)
    a, b = labelled("A", first), labelled("B", second)
    decided = world.decide("B", b, other_mode)
    world.merge("A", a, one_mode)
    assert world.still_holds(decided)
    world.publish(decided)
    again.merge("A", a, one_mode)
    again.merge("B", b, other_mode)
    assert world.latest == again.latest
    decided = round_.decide("A", a, one_mode)
    round_.merge("B", b, other_mode)
    round_.publish(decided)
    assert round_.latest.shards == world.latest.shards
    assert {v: (e.run_id, e.tar) for v, e in round_.latest.videos.items()} == {
        v: (e.run_id, e.tar) for v, e in world.latest.videos.items()
    }


happenings = st.lists(
    st.one_of(
        st.tuples(st.just("merge"), planned, modes),
        st.tuples(st.just("back"), st.integers(0, 9), st.none()),
        st.tuples(st.just("file"), st.sampled_from(["h0.parquet", "h9.parquet"]), planned),
    ),
    max_size=4,
)


@given(worlds, happenings, happenings, planned, modes)
def test_what_was_decided_before_is_used_only_where_a_merge_from_scratch_would_decide_the_same(
    shard_counts: list[dict[str, int]], before: list[Any], meanwhile: list[Any], mine: dict[str, int], mode: str
) -> None:
    world, states = made(shard_counts), [Snapshot()]
    decided: Decided | None = None
    for number, (what, value, more) in enumerate([*before, ("decide", None, None), *meanwhile]):
        if what == "decide":
            decided = world.decide("mine", labelled("mine", mine), mode)
        elif what == "merge":
            world.merge(f"r{number}", labelled(f"r{number}", value), more)
        elif what == "file":
            world.add_history(value, labelled(f"f{number}", more), token=f"new-{number}")
        elif world.latest.number:
            target = states[value % len(states)]
            world.latest = rolled_back(world.latest, target if target.number else as_found(world.latest), "", "back")
        if world.latest != states[-1]:
            states.append(world.latest)
    assert decided
    if world.still_holds(decided):
        scratch = replace(world, contents=dict(world.contents))
        scratch.merge("mine", labelled("mine", mine), mode)
        world.publish(decided)
        assert world.latest == scratch.latest


@given(worlds, counts, counts)
def test_merging_a_run_again_changes_nothing(
    shard_counts: list[dict[str, int]], first: dict[str, int], second: dict[str, int]
) -> None:
    world = made(shard_counts)
    world.merge("a", labelled("a", first))
    world.merge("b", labelled("b", second))
    before, results = world.latest, world.results()
    world.merge("b", labelled("b", second), seed=3)
    assert (world.latest.shards, world.latest.videos) == (before.shards, before.videos)
    assert world.results() == results


def test_a_run_that_made_more_since_replaces_its_own_former_shards() -> None:
    world = made([{"a": 2, "b": 1}])
    world.merge("r", {"a": ["new"], "b": []})
    world.merge("r", {"a": ["newer", "newest"], "b": ["b"]})
    assert world.results() == {"a": ["newer", "newest"], "b": ["b"]}


@given(worlds, counts)
def test_shards_without_affected_videos_are_referenced_and_videos_not_planned_keep_their_rows(
    shard_counts: list[dict[str, int]], planned: dict[str, int]
) -> None:
    world = made(shard_counts)
    before, old = world.results(), {s.key: s for s in world.live()}
    world.merge("r", labelled("r", planned))
    for shard in world.latest.shards:
        if shard.origin == HISTORY:
            here = world.contents[shard.key]
            assert shard.drop == tuple(sorted(v for v in planned if here.get(v)))
            assert replace(shard, drop=()) == old[shard.key]
    after = world.results()
    others = set(VIDEOS) - set(planned)
    assert {v: after.get(v) for v in others} == {v: before.get(v) for v in others}


# One video


@pytest.mark.parametrize(
    ("old", "new", "on_missing", "drop_from", "kept"),
    [
        ([("h0", 2), ("h1", 1)], [("n", 1)], "drop", ("h0", "h1"), False),
        ([("h1", 2), ("h0", 1)], [], "drop", ("h0", "h1"), False),
        ([("h0", 2)], [], "keep", (), True),
        ([("h0", 2)], [("n", 1)], "keep", ("h0",), False),
        ([], [], "keep", (), False),
        ([], [("n", 3)], "drop", (), False),
        ([("h0", 2), ("h0", 2)], [("n", 1)], "drop", ("h0",), False),
    ],
)
def test_all_old_rows_of_a_video_go_in_every_shard(
    old: list[tuple[str, int]], new: list[tuple[str, int]], on_missing: str, drop_from: tuple[str, ...], kept: bool
) -> None:
    sides = [[IndexRow(key, rows) for key, rows in side] for side in (old, new)]
    decision = replacement("v", sides[0], sides[1], on_missing)
    assert (decision.drop_from, decision.kept) == (drop_from, kept)
    assert (decision.old_rows, decision.new_rows) == (sum(n for _, n in old), sum(n for _, n in new))


# Snapshots


def test_a_snapshot_follows_the_latest_and_names_run_parent_and_tar() -> None:
    world = made([{"a": 1}])
    world.merge("r1", {"a": ["x"]})
    world.merge("r2", {"b": ["y"]})
    assert (world.latest.number, world.latest.parent, world.latest.run_id, world.latest.kind) == (2, 1, "r2", "merge")
    assert world.latest.videos == {"a": Replaced("r1", 1, TAR), "b": Replaced("r2", 2, TAR)}


def test_the_first_snapshot_has_no_parent() -> None:
    world = made([])
    world.merge("r1", {"a": ["x"]})
    assert (world.latest.number, world.latest.parent) == (1, None)


@given(worlds, runs)
def test_a_snapshot_survives_json(
    shard_counts: list[dict[str, int]], merges: list[tuple[str, dict[str, int], int]]
) -> None:
    world = made(shard_counts)
    for run, rows, seed in merges:
        world.merge(run, labelled(run, rows), seed=seed)
        text = json.dumps(world.latest.to_json(), sort_keys=True)
        assert Snapshot.from_json(json.loads(text)) == world.latest


@pytest.mark.parametrize(
    ("entry", "base", "taken"),
    [
        (None, 0, []),
        (Replaced("other", 1), 0, ["a"]),
        (Replaced("other", 1), 1, []),
        (Replaced("other", 2), 1, ["a"]),
        (Replaced("mine", 2), 1, []),
    ],
)
def test_a_video_that_another_run_took_since_the_plan_is_a_conflict(
    entry: Replaced | None, base: int, taken: list[str]
) -> None:
    latest = Snapshot(number=2, videos={"a": entry, "z": Replaced("other", 2)} if entry else {})
    assert conflicts(latest, base, "mine", ["a", "b"]) == taken


# What lives


def test_before_any_snapshot_history_lives_as_it_is() -> None:
    found = [historical("b"), historical("a")]
    assert live_shards(Snapshot(), found) == [historical("a"), historical("b")]


def test_a_historical_file_that_the_snapshot_names_lives_as_the_snapshot_says() -> None:
    named = replace(historical("a"), key="k", drop=("v",))
    assert live_shards(Snapshot(number=1, shards=(named,)), [historical("a")]) == [named]


def test_a_historical_file_that_is_gone_lives_on_in_the_snapshot() -> None:
    named = replace(historical("a"), key="k")
    assert live_shards(Snapshot(number=1, shards=(named,)), []) == [named]


def test_a_new_historical_file_is_adopted() -> None:
    named = replace(historical("a"), key="k")
    found = [historical("a"), historical("b")]
    assert live_shards(Snapshot(number=1, shards=(named,)), found) == [named, historical("b")]


@given(st.permutations(range(4)))
def test_what_lives_does_not_depend_on_the_order_of_shards(order: list[int]) -> None:
    shards_ = [historical("b"), historical("a"), Shard("0", "", RUN, "r2", 1, "k2"), Shard("0", "", RUN, "r1", 1, "k1")]
    latest = Snapshot(number=1, shards=tuple(replace(shards_[n], key=shards_[n].key or "k") for n in order))
    expected = live_shards(replace(latest, shards=tuple(sorted(latest.shards, key=str))), [])
    assert live_shards(latest, []) == expected


# Rollback


def state(world: World) -> dict[str, Counter[str]]:
    return {video: Counter(labels) for video, labels in world.results().items()}


@pytest.mark.parametrize("to", [0, 1, 2, 3])
def test_a_rollback_is_one_more_snapshot_with_the_state_of_an_earlier_one(to: int) -> None:
    world = made([{"a": 2, "b": 1}, {"a": 1, "c": 1}])
    states, published = [state(world)], [Snapshot()]
    for number, planned in enumerate([{"a": 1, "d": 1}, {"a": 0, "b": 2}, {"c": 3}]):
        world.merge(f"r{number}", labelled(f"r{number}", planned))
        states.append(state(world))
        published.append(world.latest)
    target = as_found(world.latest) if to == 0 else published[to]
    world.latest = rolled_back(world.latest, target, "sha", "back")
    assert state(world) == states[to]
    assert world.latest.videos == published[to].videos
    facts = world.latest
    assert (facts.number, facts.parent, facts.parent_sha256, facts.kind) == (4, 3, "sha", "rollback")


def test_after_a_rollback_the_next_run_starts_from_the_restored_state() -> None:
    world = made([{"a": 2, "b": 1}])
    world.merge("r1", {"a": ["x"], "b": ["y"]})
    world.latest = rolled_back(world.latest, as_found(world.latest), "", "back")
    world.merge("r2", {"a": ["z"]})
    assert world.results() == {"a": ["z"], "b": ["h0:b:0"]}


def put_history(folder: Path, name: str, video: str) -> None:
    table = pa.table({"video_id": [video], "segment_file": [f"{name}.flac"]})
    LocalStore(str(folder)).create(f"{name}.parquet", shards.encode(table, {}))


def test_a_historical_file_that_any_snapshot_names_does_not_come_back_after_a_rollback(tmp_path: Path) -> None:
    workspace, validation = LocalStore(str(tmp_path / "w")), LocalStore(str(tmp_path / "h"))

    def publish(snapshot: Snapshot) -> Snapshot:
        snapshots.publish(workspace, snapshot)
        return snapshots.latest(workspace)

    def merge_now(run_id: str) -> Snapshot:
        latest = snapshots.latest(workspace)
        live = [snapshots.adopt(workspace, validation, s) for s in snapshots.live(workspace, validation)]
        return publish(merged(latest, live, [], {}, {}, run_id, snapshots.digest_of(workspace, latest.number)))

    put_history(tmp_path / "h", "one", "a")
    first = merge_now("r1")
    put_history(tmp_path / "h", "two", "b")
    second = merge_now("r2")
    assert [s.source for s in second.shards] == ["one.parquet", "two.parquet"]
    publish(rolled_back(second, first, snapshots.digest_of(workspace, 2), "back"))
    assert [s.source for s in snapshots.live(workspace, validation)] == ["one.parquet"]
