"""finalize and undo killed at any effect, run again, and run twice at once: nothing is lost or doubled."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from finalizing import NEW_STATUSES, NEW_TARS, OLD_STATUSES, OLD_TARS, RUNNER, World, change_status, make
from lossy import ANSWER, REFUSED, REQUEST, Lossy

from resplice.io import store as stores
from resplice.io.effects import SetStatuses
from resplice.io.journal import Effect, Line, append, load
from resplice.io.local import LocalStore
from resplice.io.statuses import Statuses
from resplice.io.store import Place, Store
from resplice.pipelines import finalize
from resplice.pipelines.args import Finalize
from resplice.pipelines.config import Resolved

pytestmark = pytest.mark.usefixtures("plain_path")


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
    set_statuses = Statuses.set

    def install(world: World, faults: Faults | None) -> None:
        for name in ("transcribed", "workspace"):
            place = Place(str(world.root / name))
            below = LocalStore(place.url)
            stores._PLACES[place] = Faulty(below, faults) if faults else below
        patched = (lambda *args: faults(set_statuses, *args)) if faults else set_statuses
        monkeypatch.setattr(Statuses, "set", patched)

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


@pytest.mark.parametrize("lost", [REQUEST, ANSWER, REFUSED])
@pytest.mark.parametrize("undo", [False, True], ids=["finalize", "undo"])
@pytest.mark.parametrize("name", ["transcribed", "workspace"])
def test_a_request_or_an_answer_that_is_lost_at_any_write_costs_nothing(
    tmp_path: Path, name: str, undo: bool, lost: str
) -> None:
    ended = []
    for at in count():
        world = make(tmp_path / str(at))
        if undo:
            world.apply()
        place = Place(str(world.root / name))
        stores._PLACES[place] = lossy = Lossy(LocalStore(place.url), lost, at)
        try:
            ended.append((world.undo if undo else world.apply)() == 0)
        except ConnectionError:
            ended.append(False)
        stores._PLACES[place] = LocalStore(place.url)
        if not ended[-1]:
            assert (world.undo if undo else world.apply)() == 0
        assert final_state(world)[:3] == ((OLD_TARS, OLD_STATUSES) if undo else (NEW_TARS, NEW_STATUSES)) + (
            {f"{v}_transcribed.tar": OLD_TARS[v] for v in ("both", "partly")},
        ), at
        assert len(world.lines("finalize/journal.jsonl")) == 6
        processes = json.loads((world.stage / "run.json").read_text())["processes"]
        assert len(processes) <= (2 if undo else 1) + (not ended[-1])
        if lossy.writes <= at:
            break
    assert len(ended) >= 4
    if lost == REFUSED or (lost == ANSWER and name == "transcribed"):
        assert all(ended)


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
            key = args[1] if isinstance(args[0], Statuses) else args[0]
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
