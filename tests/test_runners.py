"""What doctor makes of a runner: where its workers are, what they need there, a remedy wherever something is wrong."""

from __future__ import annotations

import pytest

from resplice.transforms import runners
from resplice.transforms.checkup import Finding, State
from resplice.transforms.runners import CONTAINER, ELSEWHERE, HERE, JOB_SERVER, Target

KNOWN = ["1.19", "1.20", "2.0", "2.1", "2.2"]
FAR = {"runner": "FlinkRunner", "master": "http://flink:8081", "near": False}
NEAR = {"runner": "FlinkRunner", "master": "http://localhost:8081"}
FOLDERS = ["corpus.raw"]
SQLITE = {"database.url": "the SQLite file x"}


def target(given: dict[str, object], environment: str = "", **more: object) -> Target:
    return Target(**{**given, "environment": environment, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "where"),
    [
        (Target("FnApiRunner"), HERE),
        (Target("PrismRunner", environment="LOOPBACK"), HERE),
        (Target("PrismRunner", environment="DOCKER"), CONTAINER),
        (target(FAR, "LOOPBACK"), HERE),
        (target(FAR, "EXTERNAL"), ELSEWHERE),
        (target(FAR, "DOCKER"), ELSEWHERE),
        (target(NEAR, "EXTERNAL"), HERE),
        (target(NEAR, "PROCESS"), HERE),
        (target(NEAR, "DOCKER"), CONTAINER),
        (Target("DataflowRunner", environment="DOCKER"), ELSEWHERE),
    ],
)
def test_where_the_workers_are(given: Target, where: str) -> None:
    assert given.workers == where


@pytest.mark.parametrize(
    ("given", "java"),
    [
        (Target("FlinkRunner"), True),
        (target(NEAR), True),
        (target(NEAR, uber=True), False),
        (Target("FlinkRunner", uber=True), True),
        (Target("FlinkRunner", endpoint="h:1"), False),
        (Target("PortableRunner", endpoint="h:1"), False),
        (Target("PrismRunner"), False),
    ],
)
def test_java_is_needed_only_for_a_job_server_that_the_command_starts(given: Target, java: bool) -> None:
    assert given.starts_java == java


@pytest.mark.parametrize(
    ("finding", "state", "text"),
    [
        (runners.java("java", 0, "2.2"), State.FAILED, "install Java 11 or 17 or 21"),
        (runners.java("java", 8, "1.19"), State.FAILED, "JAVA_HOME to a Java 17"),
        (runners.java("java", 11, "1.19"), State.OK, "Java 11"),
        (runners.java("java", 17, "2.2"), State.OK, "Java 17"),
        (runners.java("java", 21, "1.20"), State.WARNING, "made for 11 or 17"),
        (runners.java("java", 21, "2.0"), State.OK, "Java 21"),
        (runners.java("java", 25, "2.2"), State.WARNING, "is Java 25"),
        (runners.jar("x.jar", JOB_SERVER), State.OK, "x.jar"),
        (runners.jar("x.jar", "org.example.Main"), State.FAILED, "org.example.Main"),
        (runners.jar("x.jar", ""), State.FAILED, "(none)"),
        (runners.download("prism", "u", "/cache/p.zip", "", "--o"), State.OK, "downloaded by Beam before"),
        (runners.download("prism", "u", "", "", "--o"), State.OK, "when a job is submitted"),
        (runners.download("prism", "u", "", "404 Not Found", "--o"), State.FAILED, "--o=FILE"),
        (runners.flink("m", 2, "1.19.3", "1.19", KNOWN), State.OK, "Flink 1.19.3, 2 task managers"),
        (runners.flink("m", 2, "1.19.3", "2.2", KNOWN), State.FAILED, "give --flink_version=1.19"),
        (runners.flink("m", 2, "1.17.2", "2.2", KNOWN), State.FAILED, "this Beam knows 1.19, 1.20, 2.0, 2.1, 2.2"),
        (runners.flink("m", 0, "2.2.0", "2.2", KNOWN), State.FAILED, "start task managers"),
        (runners.parallelism(2, 2, 2), State.OK, "2 slots"),
        (runners.parallelism(3, 2, 2), State.WARNING, "give --parallelism=2, or start task managers"),
        (runners.parallelism(2, 2, 1), State.WARNING, "waits for others"),
        (runners.parallelism(-1, 2, 2), State.WARNING, "give --parallelism=2"),
        (runners.parallelism(-1, 1, 1), State.OK, "not given"),
        (runners.environment(Target("PrismRunner", environment="LOOPBACK"), ""), State.OK, "process of the command"),
        (runners.environment(target(FAR, "LOOPBACK"), ""), State.WARNING, "calls back to this machine"),
        (runners.environment(target(FAR, "EXTERNAL", config="localhost:1"), ""), State.WARNING, "on the cluster"),
        (runners.environment(target(NEAR, "EXTERNAL", config="localhost:1"), ""), State.OK, "localhost:1"),
        (runners.environment(target(NEAR, "EXTERNAL"), "unavailable"), State.FAILED, "worker_pool_main"),
        (runners.environment(target(NEAR, "PROCESS"), "is no program"), State.FAILED, '{"command": "FILE"}'),
        (runners.environment(target(NEAR, "DOCKER"), "no engine answers"), State.FAILED, "start Docker"),
        (runners.environment(target(NEAR, "DOCKER"), ""), State.FAILED, "no resplice"),
        (runners.environment(target(NEAR, "DOCKER", ships=True), ""), State.OK, "DOCKER"),
        (runners.prism("p", True), State.OK, "p"),
        (runners.prism("p", False), State.FAILED, "or is no Prism"),
    ],
)
def test_a_finding_has_its_state_and_says_what_to_do(finding: Finding, state: State, text: str) -> None:
    assert finding.state == state
    assert text in f"{finding.found}; {finding.remedy}"


@pytest.mark.parametrize(
    ("where", "folders", "servers", "states"),
    [
        (target(FAR, "EXTERNAL"), FOLDERS, SQLITE, [State.WARNING, State.FAILED]),
        (target(FAR, "EXTERNAL"), [], {}, [State.OK]),
        (target(NEAR, "DOCKER"), FOLDERS, {}, [State.FAILED]),
        (Target("DataflowRunner"), FOLDERS, {**SQLITE, "store.endpoint_url": "http://127.0.0.1:1"}, [State.FAILED] * 3),
    ],
)
def test_what_only_this_machine_has_is_no_root_of_workers_elsewhere(
    where: Target, folders: list[str], servers: dict[str, str], states: list[State]
) -> None:
    findings = runners.shared(where, folders, servers)
    assert [finding.state for finding in findings] == states
    assert all(finding.remedy.startswith("set ") for finding in findings if finding.state != State.OK)


def test_dataflow_needs_its_options_and_resplice_on_its_workers() -> None:
    found = runners.dataflow(["--project", "--region"], "", False)
    assert [finding.state for finding in found] == [State.FAILED, State.FAILED, State.WARNING]
    assert found[0].remedy == "give --project --region" and "--setup_file=./setup.py" in found[1].remedy
    assert [finding.state for finding in runners.dataflow([], "adc.json", True)] == [State.OK, State.OK]
