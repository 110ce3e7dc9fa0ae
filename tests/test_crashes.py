"""A recovery that is killed, terminated, doubled or out of disk, and started again, ends as one that never was."""

from __future__ import annotations

import contextlib
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
import recovering
from recovering import STAGES, WAVE, Corpus, kill, lies, outcome, stage_of

SEED = 3
KILLS = 12
FAULT_POINTS = 12


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return recovering.demo(tmp_path_factory.mktemp("crashes") / "demo")


@dataclass(frozen=True)
class Reference:
    """A recovery that nobody disturbed: its exit code, outcome, and the second at which each stage ended."""

    code: int
    outcome: dict[str, Any]
    ends: dict[str, float]

    def window(self, stage: str) -> tuple[float, float]:
        """Return the seconds between which a stage ran."""
        windows = {now: (self.ends[before], self.ends[now]) for before, now in pairwise(STAGES)}
        return {STAGES[0]: (0.0, self.ends[STAGES[0]]), **windows}[stage]


def measure(corpus: Corpus, workspace: Path, *more: str) -> Reference:
    process, began = corpus.start(workspace, *more), time.monotonic()
    ends = {}
    for stage, after in pairwise([*STAGES, ""]):
        recovering.wait_for(workspace, after, process)
        ends[stage] = time.monotonic() - began
    process.communicate()
    return Reference(process.returncode, outcome(workspace), ends)


@pytest.fixture(scope="module")
def wave(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return measure(corpus, tmp_path_factory.mktemp("wave"), *WAVE)


@pytest.fixture(scope="module")
def whole(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return measure(corpus, tmp_path_factory.mktemp("whole"))


def assert_same(corpus: Corpus, workspace: Path, reference: Reference, *more: str) -> None:
    """Run the same command to its end and compare."""
    assert corpus.finish(workspace, *more) == reference.code
    assert outcome(workspace) == reference.outcome
    assert lies(workspace) == []


def killed_after(corpus: Corpus, workspace: Path, seconds: float) -> str | None:
    """Start a recovery, kill its group after some seconds, and return the stage that it was in; None if it was over."""
    process = corpus.start(workspace)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    stage = stage_of(workspace)
    return stage if kill(process) else None


def killed_by_driver(corpus: Corpus, workspace: Path, kind: str, value: str, *more: str) -> str:
    """Run a recovery that kills its own group at a certain moment; return the stage that it was in."""
    process = corpus.start(workspace, *more, die=(kind, value))
    said, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, said
    return stage_of(workspace)


def test_a_wave_killed_in_three_places_one_after_another_ends_as_one_that_was_not(
    corpus: Corpus, wave: Reference, tmp_path: Path
) -> None:
    assert wave.code == 3  # the videos that the wave leaves out are unaccounted
    stages = [killed_by_driver(corpus, tmp_path, "after", str(number), *WAVE) for number in (25, 30)]
    stages.append(killed_by_driver(corpus, tmp_path, "sidecar", "snapshots/", *WAVE))
    assert stages[-1] == "merge"
    assert (tmp_path / "snapshots" / "00000001.json").exists()
    assert not (tmp_path / "snapshots" / "00000001.json.manifest.json").exists()
    assert_same(corpus, tmp_path, wave, *WAVE)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_any_moment_and_run_again_it_ends_the_same(
    corpus: Corpus, whole: Reference, tmp_path: Path, number: int
) -> None:
    moment = random.Random(f"{SEED}-{number}").uniform(0, whole.ends[STAGES[-1]])
    workspace, stage = tmp_path / "0", killed_after(corpus, tmp_path / "0", moment)
    for attempt in range(1, 10):  # a run that was faster than the measured one is over: a fresh one, killed earlier
        if stage is not None:
            break
        moment, workspace = moment * 0.7, tmp_path / str(attempt)
        stage = killed_after(corpus, workspace, moment)
    print(f"seed {SEED}-{number}: killed after {moment:.2f} s in {stage or 'the end'}")
    assert stage is not None
    assert_same(corpus, workspace, whole)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_killed_inside_each_stage_and_run_again_it_ends_the_same(
    corpus: Corpus, whole: Reference, tmp_path: Path, stage: str
) -> None:
    start, end = whole.window(stage)
    wait_s = random.Random(f"{SEED}-{stage}").uniform(0.1, 0.9) * (end - start)
    for attempt in range(20):  # a run faster than the measured one was behind the stage: a fresh one, killed earlier
        workspace = tmp_path / str(attempt)
        process = corpus.start(workspace)
        recovering.wait_for(workspace, stage, process)
        time.sleep(wait_s)
        found = stage_of(workspace)
        if kill(process) and found == stage:
            break
        wait_s *= 0.6
    print(f"seed {SEED}-{stage}: killed in {found or 'the end'} after {wait_s:.2f} s of it")
    assert found == stage
    assert_same(corpus, workspace, whole)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["before", "after"])
def test_killed_beside_changes_of_the_store_it_ends_the_same(
    corpus: Corpus, whole: Reference, tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    counting = corpus.start(tmp_path_factory.mktemp("count"), die=("count", ""))
    said, _ = counting.communicate()
    match = re.search(r"changes (\d+)", said)
    assert match
    lot = random.Random(f"{SEED}-{kind}")
    for change in sorted(lot.sample(range(1, int(match[1])), FAULT_POINTS)):
        workspace = tmp_path_factory.mktemp("point")
        stage = killed_by_driver(corpus, workspace, kind, str(change))
        print(f"seed {SEED}-{kind}: killed {kind} change {change} of {match[1]} in {stage or 'the end'}")
        assert_same(corpus, workspace, whole)


@pytest.mark.slow
def test_killed_between_a_snapshot_and_its_sidecar_it_ends_the_same(
    corpus: Corpus, whole: Reference, tmp_path: Path
) -> None:
    assert killed_by_driver(corpus, tmp_path, "sidecar", "snapshots/") == "merge"
    assert_same(corpus, tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize("lag_s", [0.0, 0.2, 0.4, 0.8, 1.2, 1.6, 2.0, 3.0])
def test_two_processes_of_one_run_do_no_harm(corpus: Corpus, whole: Reference, tmp_path: Path, lag_s: float) -> None:
    first = corpus.start(tmp_path)
    time.sleep(lag_s)
    second = corpus.start(tmp_path)
    said = [process.communicate(timeout=120)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [whole.code, whole.code], "\n--\n".join(said)
    assert outcome(tmp_path) == whole.outcome
    assert lies(tmp_path) == []


def test_two_processes_of_one_wave_do_no_harm(corpus: Corpus, wave: Reference, tmp_path: Path) -> None:
    processes = [corpus.start(tmp_path, *WAVE) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [wave.code, wave.code], "\n--\n".join(said)
    assert outcome(tmp_path) == wave.outcome
    assert lies(tmp_path) == []


SIGNALS = [(signal.SIGTERM, 75, ()), (signal.SIGINT, 130, ("--workers", "2"))]


@pytest.mark.parametrize(("number", "code", "more"), SIGNALS)
def test_a_signal_ends_a_recovery_soon_and_leaves_no_worker_behind(
    corpus: Corpus, tmp_path: Path, number: int, code: int, more: tuple[str, ...]
) -> None:
    process = corpus.start(tmp_path, *more)
    recovering.wait_for(tmp_path, "repair", process)
    workers: list[psutil.Process] = []
    while not workers:
        workers = psutil.Process(process.pid).children(recursive=True)
    time.sleep(0.2)
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)  # the work that is left takes longer on a busy machine; nothing waits
    assert process.returncode == code, said
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []
    assert "the same command" in said.splitlines()[-1], said


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a small file system, or skip where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


SIZES = [pytest.param("64k", marks=pytest.mark.slow), "300k", pytest.param("2m", marks=pytest.mark.slow)]


@pytest.mark.parametrize("size", SIZES)
def test_a_full_disk_is_75_and_with_more_room_the_same_command_goes_on(
    corpus: Corpus, wave: Reference, tmp_path: Path, size: str
) -> None:
    with small_disk(tmp_path / "disk", size) as disk:
        process = corpus.start(disk, *WAVE)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 75, said
        assert "disk space" in said.splitlines()[-1], said
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        assert_same(corpus, disk, wave, *WAVE)


@pytest.mark.slow
@pytest.mark.parametrize("change", [1, 2, 5, 20, 60])
def test_killed_while_the_world_is_frozen_anew_it_ends_the_same(
    corpus: Corpus, wave: Reference, tmp_path: Path, change: int
) -> None:
    assert corpus.recover(tmp_path, *WAVE) == wave.code
    killed_by_driver(corpus, tmp_path, "after", str(change), *WAVE, "--refresh")
    assert_same(corpus, tmp_path, wave, *WAVE)


CHANGES = [
    pytest.param("runs/R/validate/shards/", (*WAVE, "--set", "validate.signal.rate_low=14"), id="a shard"),
    pytest.param("runs/R/verify/", ("--limit", "7"), id="the coverage"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("artifact", "changed"), CHANGES)
def test_killed_between_an_artifact_that_changed_and_its_sidecar_it_does_not_keep_the_former_sidecar(
    corpus: Corpus, tmp_path: Path, artifact: str, changed: tuple[str, ...]
) -> None:
    assert corpus.recover(tmp_path, *WAVE) == 3
    killed_by_driver(corpus, tmp_path, "sidecar", artifact, *changed)
    assert lies(tmp_path) != []
    assert corpus.recover(tmp_path, *changed) == 3
    assert lies(tmp_path) == []
