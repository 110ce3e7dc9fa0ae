"""doctor on a runner beyond this process: real jars, pools, job servers and programs; a master's answers over HTTP."""

from __future__ import annotations

import json
import shutil
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from apache_beam.runners.portability.local_job_service import LocalJobServicer
from apache_beam.runners.portability.prism_runner import PrismJobServer
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from apache_beam.utils.subprocess_server import JavaJarServer
from processes import free_port

from resplice.pipelines.__main__ import main
from resplice.pipelines.config import resolve
from resplice.pipelines.doctor import CHECKS, looked
from resplice.pipelines.doctor_checks import Situation
from resplice.transforms.checkup import Finding, State
from resplice.transforms.runners import JOB_SERVER

Look = Callable[..., list[Finding]]
OVERVIEW = {"taskmanagers": 2, "slots-total": 2, "slots-available": 2, "flink-version": "1.19.3"}
REMOTE = ("corpus.raw=s3://bucket/raw", "corpus.transcribed=s3://bucket/t", "corpus.validation=s3://bucket/v",
          "corpus.workspace=s3://bucket/w", "database.url=postgresql://user@db.example/corpus")  # fmt: skip


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """Run one check on the default settings in a folder."""
    (tmp_path / "resplice.toml").write_text("")

    def look_(name: str, *tokens: str, sets: tuple[str, ...] = ()) -> list[Finding]:
        situation = Situation(resolve(str(tmp_path / "resplice.toml"), sets, {}), tokens)
        [check] = [check for check in CHECKS if check.name == name]
        return looked(check, situation)

    return look_


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """Serve one answer to every request, on a free port; give HOST:PORT."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


# Flink's master


@pytest.mark.parametrize(
    ("change", "tokens", "states", "text"),
    [
        ({}, ["--flink_version=1.19", "--parallelism=2"], [State.OK, State.OK], "Flink 1.19.3, 2 task managers"),
        ({}, ["--parallelism=2"], [State.FAILED, State.OK], "give --flink_version=1.19"),
        ({"flink-version": "1.16.1"}, [], [State.FAILED, State.WARNING], "this Beam knows 1.19"),
        ({"taskmanagers": 0, "slots-total": 0, "slots-available": 0}, ["--flink_version=1.19"],
         [State.FAILED, State.OK], "start task managers"),
        ({}, ["--flink_version=1.19", "--parallelism=8"], [State.OK, State.WARNING], "--parallelism=2"),
        ({"slots-available": 0}, ["--flink_version=1.19", "--parallelism=2"], [State.OK, State.WARNING], "0 of them"),
    ],
)  # fmt: skip
def test_a_master_is_judged_by_what_it_says(
    look: Look, change: dict[str, object], tokens: list[str], states: list[State], text: str
) -> None:
    with answering(200, json.dumps({**OVERVIEW, **change}).encode()) as address:
        findings = look("flink", "--runner=FlinkRunner", f"--flink_master={address}", *tokens)
    assert [finding.check for finding in findings] == ["flink", "parallelism"]
    assert [finding.state for finding in findings] == states
    assert text in " ".join(f"{finding.found} {finding.remedy}" for finding in findings)


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (404, b"", "404 Not Found: no master of Flink"),
        (503, b"", "503 Service Unavailable"),
        (200, b"<html>", "not as a master of Flink does"),
        (200, b'{"version": 1}', "not as a master of Flink does"),
        (200, b"[]", "not as a master of Flink does"),
    ],
)
def test_something_else_where_a_master_should_be_is_told(look: Look, status: int, body: bytes, text: str) -> None:
    with answering(status, body) as address:
        [finding] = look("flink", "--runner=FlinkRunner", f"--flink_master={address}")
    assert finding.state == State.FAILED and text in finding.found and "--flink_master" in finding.remedy


def test_a_master_that_is_not_there_is_told_past_any_proxy(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    port = free_port()
    [finding] = look("flink", "--runner=FlinkRunner", f"--flink_master=http://localhost:{port}")
    assert finding.found.startswith(f"http://localhost:{port}/overview cannot be reached: Connection refused")
    with answering(200, json.dumps(OVERVIEW).encode()) as address:
        tokens = (f"--flink_master={address}", "--flink_version=1.19", "--parallelism=1")
        assert {finding.state for finding in look("flink", "--runner=FlinkRunner", *tokens)} == {State.OK}


def test_without_a_master_flink_runs_here(look: Look) -> None:
    [finding] = look("flink", "--runner=FlinkRunner")
    assert finding.state == State.OK and "local mode: Flink 2.2" in finding.found
    assert [finding.state for finding in look("workers", "--runner=FlinkRunner")] == [State.OK]


# Java and jars


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Set JAVA_HOME to a folder whose program says what it is told."""

    def set_(said: str) -> None:
        program = tmp_path / "jdk/bin/java"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\necho '{said}' >&2\n")
        program.chmod(0o755)
        monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))

    return set_


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ('openjdk version "17.0.15" 2025-04-15', State.OK),
        ('java version "1.8.0_402"', State.FAILED),
        ('openjdk version "25" 2025-09-16', State.WARNING),
        ("Error: could not create the Java Virtual Machine.", State.FAILED),
    ],
)
def test_java_is_the_one_that_beam_would_start(
    look: Look, home: Callable[[str], None], said: str, state: State
) -> None:
    home(said)
    [finding] = look("java", "--runner=FlinkRunner")
    assert finding.state == state
    assert look("java", "--runner=PrismRunner") == []


def test_no_java_is_a_failure_and_where_it_is_installed_it_answers(
    look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    if shutil.which("java"):
        [finding] = look("java", "--runner=FlinkRunner")
        assert "java, Java " in finding.found or "java is Java " in finding.found
    monkeypatch.setenv("PATH", str(tmp_path))
    [finding] = look("java", "--runner=FlinkRunner")
    assert finding.state == State.FAILED and "install Java" in finding.remedy


def a_jar(path: Path, main_class: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", f"Manifest-Version: 1.0\r\nMain-Class: {main_class}\r\n\r\n")
    return path


def test_a_jar_is_known_by_its_main_class(look: Look, tmp_path: Path) -> None:
    good, other = a_jar(tmp_path / "good.jar", JOB_SERVER), a_jar(tmp_path / "other.jar", "org.example.Main")
    cut = tmp_path / "cut.jar"
    cut.write_bytes(good.read_bytes()[:-10])
    states = {}
    for jar in (good, other, cut, tmp_path / "none.jar"):
        [finding] = look("job server", "--runner=FlinkRunner", f"--flink_job_server_jar={jar}")
        states[jar.name] = (finding.state, jar.name in finding.found)
    wrong = (State.FAILED, True)
    assert states == {"good.jar": (State.OK, True), "other.jar": wrong, "cut.jar": wrong, "none.jar": wrong}


def test_a_jar_that_is_not_given_is_in_beams_cache_or_can_be_downloaded(
    look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JavaJarServer, "JAR_CACHE", str(tmp_path))
    for status, state in ((200, State.OK), (404, State.FAILED)):
        with answering(status, b"") as address:
            monkeypatch.setattr(JavaJarServer, "MAVEN_CENTRAL_REPOSITORY", f"http://{address}")
            [finding] = look("job server", "--runner=FlinkRunner", "--flink_version=1.19")
        assert finding.state == state and "beam-runners-flink-1.19-job-server" in finding.found
    assert "--flink_job_server_jar=FILE" in finding.remedy
    (tmp_path / finding.found.rpartition("/")[2].partition(": ")[0]).write_bytes(b"")
    [finding] = look("job server", "--runner=FlinkRunner", "--flink_version=1.19")
    assert finding.state == State.OK and "downloaded by Beam before" in finding.found


# Job servers and workers


def test_a_job_server_that_runs_is_asked(look: Look) -> None:
    server = LocalJobServicer()
    port = server.start_grpc_server(0)
    try:
        [finding] = look("job server", "--runner=PortableRunner", f"--job_endpoint=localhost:{port}")
        assert finding.state == State.OK
        [finding] = look("workers", "--runner=FlinkRunner", "--flink_master=localhost:1",
                         "--environment_type=EXTERNAL", f"--environment_config=localhost:{port}")  # fmt: skip
        assert finding.state == State.FAILED and "something else answers there" in finding.found
    finally:
        server.stop()
    [finding] = look("job server", "--runner=PortableRunner", f"--job_endpoint=localhost:{free_port()}")
    assert finding.state == State.FAILED and "unavailable" in finding.found
    [finding] = look("job server", "--runner=PortableRunner")
    assert finding.state == State.FAILED and "--job_endpoint=HOST:PORT" in finding.remedy


def workers(look: Look, kind: str, config: str, at: str = "127.0.0.1:1", *more: str) -> Finding:
    [finding] = look("workers", "--runner=FlinkRunner", f"--flink_master={at}", f"--environment_type={kind}",
                     *([f"--environment_config={config}"] if config else []), *more)  # fmt: skip
    return finding


def test_a_worker_pool_answers_or_not(look: Look) -> None:
    _, server = BeamFnExternalWorkerPoolServicer.start(port=(port := free_port()))
    try:
        assert workers(look, "EXTERNAL", f"localhost:{port}").state == State.OK
        assert workers(look, "EXTERNAL", json.dumps({"url": f"127.0.0.1:{port}"})).state == State.OK
    finally:
        server.stop(0).wait()
    gone = workers(look, "EXTERNAL", f"localhost:{port}")
    assert gone.state == State.FAILED and "worker_pool_main" in gone.remedy
    assert "no address is given" in workers(look, "EXTERNAL", "").found


def test_a_boot_program_must_be_one_that_starts(look: Look, tmp_path: Path) -> None:
    boot = tmp_path / "boot"
    boot.write_text("#!/bin/sh\n")
    config = json.dumps({"command": str(boot)})
    assert workers(look, "PROCESS", config).state == State.FAILED
    boot.chmod(boot.stat().st_mode | stat.S_IXUSR)
    assert workers(look, "PROCESS", config).state == State.OK
    assert "is no JSON" in workers(look, "PROCESS", "{command").found
    assert "no command is given" in workers(look, "PROCESS", "").found


def test_a_cluster_elsewhere_is_not_judged_from_here(look: Look) -> None:
    for kind, config in (("EXTERNAL", "localhost:50000"), ("PROCESS", '{"command": "/boot"}'), ("DOCKER", "image")):
        finding = workers(look, kind, config, "flink.example:8081")
        assert finding.state == State.WARNING and "cannot be seen from here" in finding.found
    assert "calls back" in workers(look, "LOOPBACK", "", "flink.example:8081").found


def test_docker_without_a_program_or_an_engine_is_a_failure(
    look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "docker is not on PATH" in workers(look, "DOCKER", "image").found
    for script, text in (("exit 1", "no engine answers"), ("echo 28.2.2", "DOCKER image")):
        (tmp_path / "docker").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "docker").chmod(0o755)
        assert text in workers(look, "DOCKER", "image").found
    bare = workers(look, "DOCKER", "")
    assert bare.state == State.FAILED and "deploy/Dockerfile" in bare.remedy
    assert workers(look, "DOCKER", "", "127.0.0.1:1", "--setup_file=./setup.py").state == State.OK


@pytest.mark.parametrize(
    ("tokens", "sets", "states"),
    [
        (["--runner=FnApiRunner"], (), []),
        (["--runner=FlinkRunner"], (), []),
        (["--runner=FlinkRunner", "--flink_master=127.0.0.1:1", "--environment_type=PROCESS"], (), []),
        (["--runner=FlinkRunner", "--flink_master=f:1", "--environment_type=EXTERNAL"], (), ["warning", "failed"]),
        (["--runner=FlinkRunner", "--flink_master=f:1", "--environment_type=EXTERNAL"], REMOTE, ["ok"]),
        (["--runner=flink", "--flink_master=f:1", "--environment_type=EXTERNAL"],
         (*REMOTE, "store.endpoint_url=http://localhost:9000"), ["failed"]),
        (["--runner=FlinkRunner", "--flink_master=f:1", "--environment_type=EXTERNAL"],
         (*REMOTE, "database.url=postgresql://u@127.0.0.1/c"), ["failed"]),
        (["--runner=DataflowRunner"], (), ["failed", "failed"]),
    ],
)  # fmt: skip
def test_roots_that_workers_elsewhere_do_not_see_are_found(
    look: Look, tokens: list[str], sets: tuple[str, ...], states: list[str]
) -> None:
    assert [finding.state for finding in look("shared", *tokens, sets=sets)] == states


# Prism and Dataflow


def test_prism_must_run_or_be_one_that_can_be_downloaded(
    look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "prism"
    for text, state in (
        ("exit 1", State.FAILED),
        ("echo usage: other", State.FAILED),
        ("echo -job_port int", State.OK),
    ):
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
        [finding] = look("prism", "--runner=PrismRunner", f"--prism_location={program}")
        assert finding.state == state
    [finding] = look("prism", "--runner=PrismRunner", f"--prism_location={tmp_path / 'none'}")
    assert finding.state == State.FAILED and "there is no file" in finding.found
    monkeypatch.setattr(PrismJobServer, "BIN_CACHE", str(tmp_path))
    for status, state in ((200, State.OK), (404, State.FAILED)):
        with answering(status, b"") as address:
            [finding] = look("prism", "--runner=PrismRunner", f"--prism_location=http://{address}/prism.zip")
        assert finding.state == state
    assert look("prism", "--runner=FlinkRunner") == []


def test_dataflow_is_told_what_it_lacks(look: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    bare = {f"{f.check} {f.found}": f for f in look("dataflow", "--runner=DataflowRunner", "--temp_location=/tmp/x")}
    remedies = " ".join(finding.remedy for finding in bare.values())
    for wanted in ("--project", "--region", "--temp_location=gs://", "--setup_file=./setup.py", "gcloud auth"):
        assert wanted in remedies
    (tmp_path / "application_default_credentials.json").write_text("{}")
    given = ("--project=p-1", "--region=europe-west1", "--temp_location=gs://b/tmp", "--setup_file=./setup.py")
    whole = look("dataflow", "--runner=DataflowRunner", *given)
    assert {f.check: f.state for f in whole if "packages" not in f.found} == {"dataflow": State.OK, "google": State.OK}


# The whole command


def test_the_command_ends_with_2_if_the_cluster_is_not_there(
    demo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = f"--config={demo_folder / 'resplice.toml'}"
    tokens = ["--runner=FlinkRunner", f"--flink_master=127.0.0.1:{free_port()}", "--environment_type=LOOPBACK"]
    assert main(["doctor", config, *tokens, "--json"]) == 2
    report = json.loads(capsys.readouterr().out)
    failed = [finding["check"] for finding in report["checks"] if finding["state"] == "failed"]
    assert "flink" in failed and set(failed) <= {"flink", "java", "job server"}
    assert main(["doctor", config, "--runner=PrismRunner", "--prism_location=/dev/null", "--json"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert [finding["check"] for finding in report["checks"] if finding["state"] == "failed"] == ["prism"]
