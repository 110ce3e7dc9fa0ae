"""What a command does around a pipeline that another runner than the in-process one runs, before anything runs."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest
from corpus import Corpus
from processes import free_port

from resplice.io import flink
from resplice.io.flink import here
from resplice.pipelines import launch, options
from resplice.pipelines.__main__ import main
from resplice.pipelines.args import Repair
from resplice.pipelines.config import resolve
from resplice.pipelines.running import Servers

LOCAL = ("--runner=FlinkRunner", "--flink_version=1.19", "--environment_type=LOOPBACK")


def script(folder: Path, text: str) -> str:
    """Return a program that stands for Java."""
    path = folder / "java"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("master", ["127.0.0.1:8081", "http://localhost:8081", "https://[::1]:8081"])
def test_a_cluster_at_an_address_of_this_machine_is_here(master: str) -> None:
    assert here(master)


def test_workers_elsewhere_and_local_folders_are_a_warning(
    fresh: Corpus, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(flink, "PATIENCE_S", 0.1)
    assert not here("192.0.2.1:8081")  # an address that nothing has
    places = [f"--config={fresh.folder / 'resplice.toml'}", f"--set=corpus.workspace={fresh.workspace}", "--run-id=r"]
    assert main(["baseline", *places, *LOCAL, "--flink_master=192.0.2.1:8081"]) == 75
    told = capfd.readouterr().err.splitlines()
    names = "corpus.raw, corpus.transcribed, corpus.validation, corpus.workspace, database.url"
    assert [line for line in told if line.startswith(f"warning: {names}: a local folder or file")]
    assert told[-1].startswith("resplice baseline: http://192.0.2.1:8081/overview cannot be reached: ")


@pytest.mark.parametrize(
    ("argv", "master"),
    [
        (["--runner=FlinkRunner", "--flink_master=h:8081"], "h:8081"),
        (["--runner=flink", "--flink_master", "http://h:8081"], "http://h:8081"),
        (["--runner=FlinkRunner"], ""),
        (["--flink_master=h:8081"], ""),
    ],
)
def test_the_cluster_that_is_meant_is_known(argv: list[str], master: str) -> None:
    assert options.flink_of(options.beam_argv(argv, {}, 1)) == master


@pytest.mark.parametrize(
    ("launcher", "said"),
    [
        ("/nowhere/java", "/nowhere/java is not on PATH"),
        ("echo starting; echo out of luck >&2; exit 3", "the job server of the runner does not start: out of luck"),
    ],
)
def test_a_job_server_that_does_not_start_is_one_line(
    launcher: str, said: str, fresh: Corpus, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "server.jar").touch()
    java = launcher if launcher.startswith("/") else script(tmp_path, launcher)
    more = [f"--flink_job_server_jar={tmp_path / 'server.jar'}", f"--job_server_java_launcher={java}"]
    assert fresh("baseline", *LOCAL, *more) == 2
    told = capfd.readouterr().err
    assert told.startswith(f"resplice baseline: {said}") and told.count("\n") == 1


def test_a_jar_that_is_not_there_is_one_line(fresh: Corpus, capfd: pytest.CaptureFixture[str]) -> None:
    assert fresh("baseline", *LOCAL, "--flink_job_server_jar=nowhere.jar") == 2
    told = capfd.readouterr().err
    assert told.startswith("resplice baseline: the job server of the runner cannot be had: ") and told.count("\n") == 1


class Listening:
    """A job server as Beam describes one: its command, and where it listens."""

    def __init__(self) -> None:
        self.port = free_port()

    def subprocess_cmd_and_endpoint(self) -> tuple[list[str], str]:
        code = f"import socket, time; s = socket.create_server(('127.0.0.1', {self.port})); time.sleep(600)"
        return [sys.executable, "-c", code], f"localhost:{self.port}"


def test_one_job_server_serves_a_command_and_ends_with_it() -> None:
    servers, server = Servers(), Listening()
    assert servers.endpoint(server, False) == servers.endpoint(server, False)
    found = [each for each in psutil.Process().children(recursive=True) if str(server.port) in " ".join(each.cmdline())]
    assert found and len({each.cmdline()[0] for each in found}) == 2  # the guard, and the one server
    servers.close()
    assert psutil.wait_procs(found, timeout=60)[1] == []


def test_a_job_is_named_after_its_stage_and_run_in_the_characters_of_every_runner(tmp_path: Path) -> None:
    args = Repair(run_id="Fix_2026:a")
    context = launch.context(args, resolve(None, [f"corpus.workspace={tmp_path}"], {}))
    name = launch.Session(context, args, [], stage="repair").job_name()
    assert name.startswith("resplice-repair-fix-2026-a-") and len(name) == len("resplice-repair-fix-2026-a-") + 8


def test_a_dry_run_stays_in_this_process_whatever_the_runner(fresh: Corpus) -> None:
    nowhere = ("--flink_master=192.0.2.1:8081", "--environment_type=EXTERNAL", "--environment_config=192.0.2.1:1")
    assert fresh("baseline", *LOCAL[:2], *nowhere, "--dry-run") == 0
    assert not fresh.workspace.exists()
