"""`status` and `status --follow`: which processes of a run work, which were killed, and how far they have come."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import recovering
from recovering import RUN, WAVE
from terminal import OnTerminal

from resplice.io.local import LocalStore
from resplice.io.processes import KILLED, RUNNING, UNKNOWN, state
from resplice.pipelines.__main__ import main
from resplice.transforms import provenance

HERE = str(Path(__file__).parent)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> recovering.Corpus:
    return recovering.demo(tmp_path_factory.mktemp("follow") / "demo")


class Gated:
    """A recovery that waits inside `repair` until the gate is opened."""

    def __init__(self, corpus: recovering.Corpus, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", HERE)
        self._corpus = corpus
        self._gate = folder / "gate"
        self.workspace = folder / "workspace"
        sets = ("polish.splitter=splitters:gated", f'polish.gate="{self._gate}"', "run.timeout_s=600")
        self.process = corpus.start(self.workspace, *WAVE, *(f"--set={text}" for text in sets))
        while self.at_work() != "repair":
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.01)

    def at_work(self) -> str | None:
        file = self.workspace / "runs" / RUN / "run.json"
        entry = json.loads(file.read_text())["processes"][0] if file.exists() else {}
        return (entry.get("at_work") or {}).get("stage")

    def open(self) -> None:
        self._gate.touch()

    def status(self, *more: str) -> list[str]:
        arguments = self._corpus.arguments(self.workspace, *more, command="status")
        return [argument for argument in arguments if argument != "--quiet"]


@pytest.fixture
def gated(corpus: recovering.Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gated]:
    recovery = Gated(corpus, tmp_path, monkeypatch)
    yield recovery
    if recovery.process.poll() is None:
        recovering.kill(recovery.process)


def piped(arguments: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "resplice.pipelines", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"{text!r} was never said")


def test_follow_shows_the_stages_of_another_process_until_it_ends(gated: Gated) -> None:
    plain, terminal = piped(gated.status("--follow")), OnTerminal(gated.status("--follow"))
    read_until(plain, "process 1 (recover) is running; 1 recover: repair: ")
    terminal.wait_for("repair ━")
    gated.open()
    said, _ = plain.communicate(timeout=300)
    assert gated.process.wait(timeout=300) == 3 and plain.returncode == 0 and terminal.end() == 0
    refused = recovering.summary(gated.workspace, "repair")["refused"]
    [repaired] = [line for line in said.splitlines() if line.startswith("1 recover: repair: ") and " in " in line]
    assert f"{refused} refused" in repaired and repaired.endswith(" h of audio")
    for text in (said, terminal.text):
        assert "process 1 (recover) ended with exit 3: incomplete" in text
        assert text.index("ended with exit 3") < text.index(f"run {RUN}") < text.index("coverage not complete")
    assert terminal.moves and "\x1b" not in said


def test_follow_of_a_killed_process_says_so_and_how_to_go_on(gated: Gated, capsys: pytest.CaptureFixture[str]) -> None:
    plain, left = piped(gated.status("--follow")), piped(gated.status("--follow"))
    for process in (plain, left):
        read_until(process, "process 1 (recover) is running")
    left.send_signal(signal.SIGINT)
    said, _ = left.communicate(timeout=300)
    assert left.returncode == 130 and "Traceback" not in said

    assert recovering.kill(gated.process)
    said, _ = plain.communicate(timeout=300)
    assert plain.returncode == 0
    assert f"process 1 (recover) was killed: there is no process {gated.process.pid} of it on " in said
    assert "run the same command again: resplice recover --config " in said and f"--run-id {RUN}" in said

    assert main(gated.status("--json")) == 0
    [process] = json.loads(capsys.readouterr().out)["open"]
    assert (process["seq"], process["state"], process["at_work"]["stage"]) == (1, "killed", "repair")
    gated.open()
    assert main([*gated.status("--follow")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("process 1 (recover) was killed")


# What run.json tells


def entry(**facts: Any) -> dict[str, Any]:
    known = {"seq": 1, "command": "repair", "argv": ["repair", "--run-id", "r1"], "start": provenance.now(),
             "end": None, "exit": None, "host": platform.node(), "pid": os.getpid(), "at_work": None}  # fmt: skip
    return {**known, "counts": {}, "seconds": {}, **facts}


def gone() -> int:
    """Return the id of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("facts", "wanted"),
    [
        ({}, RUNNING),
        ({"host": "elsewhere"}, UNKNOWN),
        ({"host": None}, UNKNOWN),
        ({"pid": None}, UNKNOWN),
        ({"start": "2020-01-01T00:00:00.000Z"}, KILLED),  # its number is another's by now
    ],
)
def test_a_process_is_known_by_host_number_and_start(facts: dict[str, Any], wanted: str) -> None:
    assert state(entry(**facts)) == wanted


def test_a_process_that_is_gone_was_killed_also_before_its_parent_has_noticed() -> None:
    assert state(entry(pid=gone())) == KILLED
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    assert state(entry(pid=zombie.pid)) == KILLED
    zombie.wait()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    (tmp_path / "resplice.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    return LocalStore(str(tmp_path / "workspace"))


def record(root: LocalStore, *entries: dict[str, Any]) -> None:
    root.replace("runs/r1/run.json", provenance.document({"run_id": "r1", "processes": entries}), None)


def test_status_shows_every_open_process(root: LocalStore, capsys: pytest.CaptureFixture[str]) -> None:
    gauge = {"stage": "repair", "unit": "video", "total": 8, "ledger": "runs/r1/repair", "at": provenance.now(),
             "seq": 2, "again": [], "outside": {}, "before": 0}  # fmt: skip
    second = entry(seq=2, at_work=gauge)
    record(root, entry(pid=gone()), second, entry(seq=3, host="elsewhere", start="2026-01-01T00:00:00.000Z"))
    assert main(["status", "--run-id", "r1"]) == 0
    out = capsys.readouterr().out
    assert "process 2 (repair) is running; 2 repair: 0 of 8 videos" in out
    assert "process 3 (repair) has recorded no end; whether it runs on host elsewhere cannot be seen from here" in out
    assert "its last sign of life: 2026-01-01T00:00:00.000Z" in out
    assert "process 1 (repair) was killed" not in out  # a later one goes on
    assert [line.split()[-1] for line in out.splitlines() if line.startswith((" 1 ", " 2 ", " 3 "))] == [
        "killed", "running", "unknown",
    ]  # fmt: skip


def test_follow_of_a_run_at_rest_shows_its_status(root: LocalStore, capsys: pytest.CaptureFixture[str]) -> None:
    record(root, entry(end=provenance.now(), exit=0))
    assert main(["status", "--run-id", "r1", "--follow"]) == 0
    assert capsys.readouterr().out.startswith("no process of run r1 is at work\nrun r1\n")


@pytest.mark.parametrize(
    ("options", "message"), [(["--run-id", "r9"], "(there: r1)"), (["--run-id", "r1", "--json"], "leave out one")]
)
def test_what_cannot_be_followed_is_usage(
    root: LocalStore, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    record(root, entry())
    assert main(["status", "--follow", *options]) == 2
    assert message in capsys.readouterr().err
