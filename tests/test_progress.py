"""Progress: it shows what ledgers and marks hold, live on a terminal, in plain lines elsewhere, nothing if quiet."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import asdict, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
import recovering
from recovering import RUN, WAVE
from terminal import OnTerminal

from resplice.io import ledger, progress
from resplice.io.context import Context
from resplice.io.ledger import Entry
from resplice.io.local import LocalStore
from resplice.io.progress import Counts, Gauge, Watch, by_ledger, by_marks, clear, marked
from resplice.pipelines.progress import Lines, State, Told, shown, span
from resplice.transforms.provenance import Run, document
from resplice.transforms.settings import Corpus, RunOptions, Settings


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Process 2 of run r in an empty workspace."""
    settings = Settings(corpus=Corpus(workspace=str(tmp_path)))
    return Context(Run("r", str(tmp_path), "repair", "", seq=2), settings)


def refused(unit: str, reason: str, seq: int) -> Entry:
    return Entry(unit, "refused", seq=seq, reason=reason, at=f"2026-01-0{seq}")


def done(unit: str, seq: int, seconds: float = 0.0) -> Entry:
    return Entry(unit, "done", seq=seq, counts={"seconds": seconds}, at=f"2026-01-0{seq}")


def save(context: Context, item: str, *entries: Entry) -> None:
    ledger.save(context.workspace.store, context.stage("repair"), item, entries)


# What is counted


def test_a_ledger_is_counted_by_outcome_without_the_units_of_other_work(context: Context) -> None:
    save(context, "0", done("a", 1, 60.0), done("other", 1, 999.0), refused("elsewhere", "timeout", 1))
    gauge = by_ledger(context, "repair", ["a", "b", "c", "d"])
    watch = Watch(context.workspace.store, gauge)
    assert (gauge.total, gauge.before, watch.counts().finished) == (4, 1, 1)
    save(context, "0", done("b", 2, 30.0))
    save(context, "1", refused("c", "crashed", 2), refused("d", "timeout", 2))
    assert watch.counts() == Counts(2, {"crashed": 1, "timeout": 1}, 90.0, 0, "2026-01-02")
    save(context, "1", done("c", 2, 10.0))
    assert watch.counts() == Counts(3, {"timeout": 1}, 100.0, 0, "2026-01-02")


@pytest.mark.parametrize(("retry", "finished"), [("none", 2), ("failed", 1), ("all", 0)])
def test_what_is_tried_again_is_not_finished_yet(context: Context, retry: str, finished: int) -> None:
    context = replace(context, settings=replace(context.settings, run=RunOptions(retry=retry)))
    save(context, "0", done("a", 1), refused("b", "timeout", 1))
    gauge = by_ledger(context, "repair", ["a", "b", "c"])
    counts = Watch(context.workspace.store, gauge).counts()
    assert (gauge.before, counts.finished, counts.again) == (finished, finished, 2 - finished)
    assert (counts.done, counts.refused) == (1, {"timeout": 1})
    save(context, "0", done("b", 2))
    assert Watch(context.workspace.store, gauge).counts().finished == (1 if retry == "all" else 2)


def test_only_ledger_files_that_changed_are_read_again(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    for item in range(5):
        save(context, str(item), done(f"v{item}", 2))
    watch = Watch(context.workspace.store, by_ledger(context, "repair", [f"v{item}" for item in range(6)]))
    read: list[str] = []
    real = LocalStore.read
    monkeypatch.setattr(LocalStore, "read", lambda self, key: (read.append(key), real(self, key))[1])
    assert watch.counts().done == 5 and len(read) == 5
    assert watch.counts().done == 5 and len(read) == 5
    save(context, "3", done("v5", 2))
    read.clear()
    assert watch.counts().done == 6 and [key[-7:] for key in read] == ["3.jsonl"]


def test_a_gauge_passes_through_run_json(context: Context) -> None:
    save(context, "0", done("other", 1, 2.5))
    gauge = by_ledger(context, "repair", ["a"])
    import json

    assert Gauge.from_json(json.loads(document(asdict(gauge)))) == gauge


def work(element: tuple[str, int]) -> list[int]:
    return [element[1]]


def test_marked_work_counts_an_element_once_however_often_it_runs(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "MARK_EVERY_S", 0.0)
    monkeypatch.setattr(progress, "_LOAD_SHARE", 0.0)
    gauge = by_marks(context, "merge", 4)
    reads = pickle.loads(pickle.dumps(marked(context, "merge", "read", work, itemgetter(0))))
    writes = marked(context, "merge", "write", work, itemgetter(0))
    assert [list(reads(("x", 1))), list(reads(("y", 2))), list(reads(("x", 1))), list(writes(("x", 3)))] == [
        [1], [2], [1], [3],
    ]  # fmt: skip
    assert Watch(context.workspace.store, gauge).counts().done == 3
    clear(context, gauge)
    assert list(context.workspace.store.list()) == []


def test_marks_are_not_written_before_their_time(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "MARK_EVERY_S", 1e9)
    reads = marked(context, "merge", "read", work, itemgetter(0))
    assert [list(reads((str(name), name))) for name in range(100)] == [[name] for name in range(100)]
    assert list(context.workspace.store.list()) == []


def test_clearing_leaves_a_ledger_that_lasts(context: Context) -> None:
    save(context, "0", done("a", 2))
    gauge = by_ledger(context, "repair", ["a"])
    clear(context, gauge)
    assert Watch(context.workspace.store, gauge).counts().done == 1


# What is shown


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (State("merge", "part", 9, Counts()), "merge: 0 of 9 parts"),
        (State("repair", "video", 60, Counts(10, {"crashed": 1, "timeout": 1}, 3600.0), 2, 5.0),
         "repair: 12 of 60 videos, 2/s, 24 s left: 10 done, 2 refused (1 crashed, 1 timeout), 1.00 h of audio"),
        (State("repair", "video", 60, Counts(50, {"timeout": 10}, 0.0, 10), 50, 5.0),
         "repair: 50 of 60 videos: 50 done, 10 refused (10 timeout), 10 of them tried again"),
        (State("plan", "part", 4, Counts(5), 0, 8.0), "plan: 4 of 4 parts, 0.5/s, 0.0 s left"),
    ],
)  # fmt: skip
def test_a_line_tells_rate_time_left_outcomes_and_audio(state: State, line: str) -> None:
    assert state.line() == line


def test_the_last_line_tells_how_long_it_took() -> None:
    state = State("repair", "video", 300, Counts(300, {}, 7200.0), 0, 200.0)
    assert state.line(last=True) == "repair: 300 of 300 videos in 3 min 20 s, 1.5/s: 300 done, 2.00 h of audio"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (7500, "2 h 5 min")]
)
def test_a_time_is_told_in_two_units_at_most(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_lines_tell_the_begin_and_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told()
    with shown("export", "shard", 3, told.counts):
        told(3)
    out, err = capsys.readouterr()
    first, *_, last = err.splitlines()
    assert out == "" and first.startswith("export: ") and last.startswith("export: 3 of 3 shards in ")


@pytest.mark.parametrize(("total", "quiet"), [(0, False), (3, True)])
def test_nothing_is_shown_of_nothing_nor_when_it_shall_be_quiet(
    total: int, quiet: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with shown("export", "shard", total, Counts, quiet):
        pass
    assert capsys.readouterr() == ("", "")


def test_counts_that_cannot_be_read_do_not_end_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> Counts:
        raise OSError("the disk is gone")

    with shown("repair", "video", 3, broken):
        pass
    assert capsys.readouterr() == ("", "")


def test_an_error_of_the_work_is_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="mine"), shown("repair", "video", 3, Counts):
        raise ValueError("mine")


def test_what_is_said_beside_lines_is_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(sys.stdout)
    lines.show(State("plan", "part", 2, Counts(1)))
    lines.say("process 1 ended")
    lines.close()
    assert capsys.readouterr().out == "plan: 1 of 2 parts\nprocess 1 ended\n"


# A whole recovery


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> recovering.Corpus:
    return recovering.demo(tmp_path_factory.mktemp("progress") / "demo")


def loud(corpus: recovering.Corpus, workspace: Path) -> list[str]:
    return [argument for argument in corpus.arguments(workspace, *WAVE) if argument != "--quiet"]


def test_a_recovery_off_a_terminal_tells_every_stage_in_plain_lines(corpus: recovering.Corpus, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "resplice.pipelines", *loud(corpus, tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 3 and "\x1b" not in ended.stderr
    lines = ended.stderr.splitlines()
    assert lines[0] == f"recover: run {RUN} in {tmp_path}"
    for stage in recovering.STAGES:
        counts = [line for line in lines if line.startswith(f"{stage}: ") and " of " in line]
        total = counts[-1].split()[3]
        assert len(counts) >= 2 and counts[-1].startswith(f"{stage}: {total} of {total} ")
        assert " in " in counts[-1]
    count = recovering.summary(tmp_path, "validate")["done"]
    [last] = [line for line in lines if line.startswith(f"validate: {count} of {count} videos in ")]
    assert f"{count} done, " in last and last.endswith(" h of audio")
    reasons = recovering.summary(tmp_path, "repair")["by_reason"]
    assert reasons and all(any(f"{n} {reason}" in line for line in lines) for reason, n in reasons.items())
    assert not [path for path in tmp_path.rglob("live/**/*") if path.is_file()]


def test_a_recovery_on_a_terminal_shows_live_bars(corpus: recovering.Corpus, tmp_path: Path) -> None:
    terminal = OnTerminal(loud(corpus, tmp_path))
    assert terminal.end() == 3
    text: Any = terminal.text
    assert terminal.moves and text.startswith("recover: starting ...")
    for stage in recovering.STAGES:
        assert f"{stage:9} ━━" in text
    count = recovering.summary(tmp_path, "validate")["done"]
    assert f"{count}/{count} videos in " in text and f"{count} done, 0." in text
