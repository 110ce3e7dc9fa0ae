"""gc deletes what nothing needs, and nothing else, whatever publishers and other calls of gc do at the same time."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lossy import ANSWER, REFUSED, REQUEST, Lossy

from resplice.io import garbage, snapshots
from resplice.io.local import LocalStore
from resplice.io.store import Blob, Head, Store
from resplice.pipelines.__main__ import main
from resplice.transforms import provenance
from resplice.transforms.records import UserError
from resplice.transforms.replace import RUN, Shard, Snapshot, rolled_back

DAY, NOW = timedelta(hours=24), datetime(2030, 1, 2, tzinfo=UTC)


def named(text: str) -> str:
    return snapshots.object_key(provenance.sha256(text.encode()), ".parquet")


def put(store: Store, *texts: str) -> list[str]:
    for text in texts:
        store.create(named(text), text.encode())
    return [named(text) for text in texts]


def state(latest: Snapshot, parent: str, *keys: str) -> Snapshot:
    shards = tuple(Shard(key, "", RUN, "r", 1, key) for key in keys)
    return Snapshot(latest.number + 1, latest.number or None, parent, "r", "merge", shards)


def publish(store: Store, *keys: str) -> bool:
    latest = snapshots.latest(store)
    return snapshots.publish(store, state(latest, snapshots.digest_of(store, latest.number), *keys))


def there(store: Store) -> set[str]:
    return {head.key for head in store.list("objects/")}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LocalStore(str(tmp_path / "workspace"))


def test_an_object_that_no_snapshot_names_is_marked_and_goes_after_the_waiting_time(store: Store) -> None:
    live, dead = put(store, "live", "dead")
    publish(store, live)
    assert list(garbage.clean(store, DAY, NOW).fresh) == [dead]
    early = garbage.clean(store, DAY, NOW + DAY - timedelta(seconds=1))
    assert (list(early.waiting), early.deleted, there(store)) == ([dead], {}, {live, dead})
    assert garbage.clean(store, DAY, NOW + DAY).deleted == {dead: 4}
    assert there(store) == {live}
    assert garbage.load(store) == {}


def test_what_a_killed_probe_left_goes_as_an_object_does(store: Store) -> None:
    left = {f"probe-{'5e' * 16}/create": 3, f"probe-{'6f' * 16}": 3}
    for key in (*left, "probe-of-mine", f"runs/probe-{'5e' * 16}/run.json"):
        store.create(key, b"one")
    assert garbage.clean(store, DAY, NOW).fresh == left
    assert garbage.clean(store, DAY, NOW + DAY).deleted == left
    assert [head.key for head in store.list("probe-")] == ["probe-of-mine"]


def test_without_a_mark_of_an_earlier_call_nothing_goes(store: Store) -> None:
    put(store, "dead")
    assert garbage.clean(store, timedelta(0), NOW).deleted == {}
    assert garbage.clean(store, timedelta(0), NOW).deleted == {named("dead"): 4}


def test_what_changed_after_its_mark_waits_anew(store: Store) -> None:
    [dead] = put(store, "dead")
    garbage.clean(store, DAY, NOW)
    store.replace(dead, b"dead", None)
    later = garbage.clean(store, DAY, NOW + DAY)
    assert (list(later.fresh), later.deleted) == ([dead], {})
    assert garbage.clean(store, DAY, NOW + 2 * DAY).deleted == {dead: 4}


def test_objects_of_every_snapshot_stay_also_of_those_that_were_rolled_back(store: Store) -> None:
    keys = put(store, "one", "two")
    for key in keys:
        publish(store, key)
    latest = snapshots.latest(store)
    back = rolled_back(latest, snapshots.load(store, 1), snapshots.digest_of(store, 2), "back")
    assert snapshots.publish(store, back)
    for days in range(3):
        assert garbage.clean(store, timedelta(0), NOW + days * DAY).deleted == {}
    assert there(store) == set(keys)


def test_what_a_killed_publisher_announced_stays_until_it_comes_again_or_its_run_is_removed(store: Store) -> None:
    keys = put(store, "mine")
    garbage.announce(store, "r", keys)
    for days in range(3):
        garbage.clean(store, timedelta(0), NOW + days * DAY)
    assert there(store) == set(keys)
    garbage.withdraw(store, "r")
    for days in range(2):
        garbage.clean(store, timedelta(0), NOW + days * DAY)
    assert there(store) == set()


def test_what_is_not_named_by_its_content_is_not_ours(store: Store) -> None:
    strange = {"objects/sha256/notes.txt", "objects/sha256/ab/" + "c" * 64 + ".parquet", "objects/other/x"}
    for key in strange:
        store.create(key, b"")
    for _ in range(2):
        assert garbage.clean(store, timedelta(0), NOW) == garbage.Found({}, {}, {})
    assert there(store) == strange


def claimed(store: Store) -> str:
    """Let gc die between its claim and its deletions."""
    [dead] = put(store, "dead")
    garbage.clean(store, DAY, NOW)
    dying = Lossy(store, REQUEST, at=1)
    with pytest.raises(ConnectionError):
        garbage.clean(dying, DAY, NOW + DAY)
    return dead


def test_a_publisher_that_needs_what_is_being_deleted_comes_again_when_the_claim_has_lapsed(store: Store) -> None:
    dead = claimed(store)
    with pytest.raises(UserError, match="being deleted") as refused:
        garbage.announce(store, "r", [dead])
    assert refused.value.exit_code == 75
    garbage.announce(store, "other", [named("else")])
    garbage.clean(store, DAY, NOW + DAY + garbage.LAPSE / 2)
    assert (list(garbage.load(store)), there(store)) == ([dead], {dead})
    garbage.clean(store, DAY, NOW + DAY + garbage.LAPSE)  # announced: left, and no claim any more
    assert (garbage.load(store), there(store)) == ({}, {dead})
    garbage.announce(store, "r", [dead])


@pytest.mark.parametrize("lost", [REQUEST, ANSWER, REFUSED])
def test_whatever_is_lost_of_gc_another_one_ends_the_same(tmp_path: Path, lost: str) -> None:
    for at in itertools.count():
        store = LocalStore(str(tmp_path / str(at)))
        live, *_ = put(store, "live", "dead", "dead too")
        publish(store, live)
        garbage.clean(store, DAY, NOW)
        lossy = Lossy(store, lost, at)
        try:
            garbage.clean(lossy, DAY, NOW + DAY)
        except ConnectionError:
            assert lost == REQUEST
        garbage.clean(store, DAY, NOW + DAY + garbage.LAPSE)
        assert (there(store), garbage.load(store)) == ({live}, {})
        if lossy.writes <= at:
            break
    assert at == 4  # claim, two deletions, settlement


# A publisher and gc at the same time, in every order of their steps


class Version:
    """One version of an object in memory."""

    def __init__(self, data: bytes, token: str) -> None:
        self._data, self.token, self.size = data, token, len(data)

    def read_at(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]

    def close(self) -> None:
        pass


class Memory:
    """A store in memory, every request of which is atomic."""

    url, connections = "memory", 1

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, str]] = {}
        self._versions = itertools.count()

    def list(self, prefix: str = "") -> Iterator[Head]:
        yield from [self._head(key) for key in sorted(self.objects) if key.startswith(prefix)]

    def folders(self, prefix: str) -> Iterator[str]:
        yield from sorted({key[len(prefix) :].split("/")[0] for key in self.objects if key.startswith(prefix)})

    def _head(self, key: str) -> Head:
        return Head(key, len(self.objects[key][0]), self.objects[key][1])

    def head(self, key: str) -> Head | None:
        return self._head(key) if key in self.objects else None

    def read(self, key: str) -> bytes:
        if key not in self.objects:
            raise FileNotFoundError(key)
        return self.objects[key][0]

    def open(self, key: str) -> Blob:
        return Version(self.read(key), self.objects[key][1])

    def create(self, key: str, data: bytes) -> bool:
        return key not in self.objects and self.replace(key, data, None)

    def replace(self, key: str, data: bytes, token: str | None) -> bool:
        if token is not None and self.objects.get(key, (b"", ""))[1] != token:
            return False
        self.objects[key] = (data, str(next(self._versions)))
        return True

    def copy(self, source: str, key: str) -> None:
        self.create(key, self.read(source))

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)


OBJECT, SOURCE = named("shared"), "runs/r/shard"


def half_deleted() -> Memory:
    """Return a workspace with an object that is due, and a run that is about to name it."""
    store = Memory()
    store.create(SOURCE, b"shared")
    put(store, "shared")  # type: ignore[arg-type]
    garbage.clean(store, DAY, NOW - DAY)  # type: ignore[arg-type]
    return store


def make(store: Any) -> None:
    """Publish as merge does what lies in the workspace."""
    garbage.announce(store, "r", [OBJECT])
    snapshots.own(store, SOURCE, OBJECT)
    assert publish(store, OBJECT)
    garbage.withdraw(store, "r")


def adopt(store: Any) -> None:
    """Publish as merge does what workers had made before it was announced."""
    snapshots.own(store, SOURCE, OBJECT)
    garbage.announce(store, "r", [OBJECT])
    if store.head(OBJECT) is None:
        snapshots.own(store, SOURCE, OBJECT)
    assert publish(store, OBJECT)
    garbage.withdraw(store, "r")


def clean(store: Any) -> None:
    garbage.clean(store, DAY, NOW)


@dataclass
class Turns:
    """Let processes take their requests in the order of `schedule`; when it is used up, whoever comes first by name.

    A process that has ended gives its turns away.
    """

    store: Memory
    schedule: list[str]
    alive: list[str]
    taken: dict[str, int] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def _turn(self) -> str:
        while self.schedule and self.schedule[0] not in self.alive:
            self.schedule.pop(0)
        return self.schedule[0] if self.schedule else self.alive[0]

    def of(self, name: str) -> Any:
        turns = self

        class View:
            url, connections = "memory", 1

            def __getattr__(self, request: str) -> Any:
                return lambda *args: turns.take(name, lambda: getattr(turns.store, request)(*args))

        return View()

    def take(self, name: str, request: Callable[[], Any]) -> Any:
        with self.changed:
            self.changed.wait_for(lambda: self._turn() == name)
            self.schedule[:1] = []
            self.taken[name] = self.taken.get(name, 0) + 1
            try:
                found = request()
                return iter(list(found)) if isinstance(found, Iterator) else found
            finally:
                missing = [key for key in named_by_all(self.store) if key not in self.store.objects]
                self.changed.notify_all()
                assert not missing, "a snapshot names what is gone"

    def run(self, name: str, act: Callable[[Any], None]) -> bool:
        """Return whether the process ended well; to be run again is the only other way."""
        try:
            act(self.of(name))
            return True
        except UserError as error:
            assert error.exit_code == 75
            return False
        finally:
            with self.changed:
                self.alive.remove(name)
                self.changed.notify_all()


def named_by_all(store: Memory) -> set[str]:
    number = len(list(store.list("snapshots/")))
    return {key for n in range(1, number + 1) for key in snapshots.read(store, n).objects}  # type: ignore[arg-type]


def play(pool: ThreadPoolExecutor, schedule: Sequence[str], acts: dict[str, Callable[[Any], None]]) -> dict[str, int]:
    turns = Turns(half_deleted(), list(schedule), sorted(acts))
    ended = {name: pool.submit(turns.run, name, act) for name, act in acts.items()}
    published = ended["p"].result()
    assert all(future.result() for name, future in ended.items() if name != "p")
    if not published:  # as the error says: the same command again
        acts["p"](turns.store)
    assert OBJECT in turns.store.objects
    assert garbage.load(turns.store).get(OBJECT, garbage.Mark("", "")).claimed == ""  # type: ignore[arg-type]
    return turns.taken


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as made:
        yield made


@pytest.mark.parametrize("publisher", [make, adopt])
def test_in_no_order_of_steps_a_snapshot_names_what_gc_deleted(
    pool: ThreadPoolExecutor, publisher: Callable[[Any], None]
) -> None:
    acts = {"p": publisher, "g": clean}
    steps = play(pool, "p" * 99, acts)["p"]
    assert 6 <= steps <= 12
    most = play(pool, "g" * 99, acts)["g"]
    assert 12 <= most <= 20
    for first, second in itertools.combinations_with_replacement(range(most + 1), 2):  # gc is stopped twice
        for part in range(1, steps):
            play(pool, "g" * first + "p" * part + "g" * (second - first) + "p" * steps, acts)


@given(st.lists(st.sampled_from("pgh"), max_size=40))
def test_in_no_order_of_steps_of_two_gcs_a_snapshot_names_what_they_deleted(schedule: list[str]) -> None:
    with ThreadPoolExecutor(3) as threads:
        play(threads, schedule, {"p": make, "g": clean, "h": clean})


# The command


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    (tmp_path / "resplice.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    found = LocalStore(str(tmp_path / "workspace"))
    put(found, "dead", "dead too")
    return found


def test_gc_is_dry_by_default(workspace: LocalStore, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ([], ["--dry-run"]):
        assert main(["gc", *options]) == 0
        assert "no snapshot needs 2 objects" in capsys.readouterr().out
    assert {head.key for head in workspace.list()} == set(map(named, ("dead", "dead too")))


def test_gc_tells_what_it_marked_and_deleted(workspace: LocalStore, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for options in (["--apply"], ["--apply"], ["--apply", "--wait", "0"]):
        assert main(["gc", *options]) == 0
        said.append(capsys.readouterr().out)
    assert "deleted 0 objects" in said[0] and "marked 2 objects" in said[0]
    assert "deleted 0 objects" in said[1] and "2 objects (0.00 MB) marked earlier and not due" in said[1]
    assert "deleted 2 objects" in said[2]
    assert there(workspace) == set()


@pytest.mark.parametrize("options", [["--apply", "--dry-run"], ["--wait", "-1"], ["--wait", "soon"]])
def test_gc_refuses_a_wrong_option(workspace: LocalStore, options: list[str]) -> None:
    assert main(["gc", *options]) == 2
    assert len(there(workspace)) == 2
