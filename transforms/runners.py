"""What `doctor` makes of a runner: where its workers are, what they need there, and the remedy for what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resplice.transforms.checkup import Finding, State

JOB_SERVER = "org.apache.beam.runners.flink.FlinkJobServerDriver"
LOCAL_MASTERS = ("", "[auto]", "[local]")
OLD_JAVA, NEW_JAVA = (11, 17), (11, 17, 21)
HERE, CONTAINER, ELSEWHERE = "here", "container", "elsewhere"
"""Where the code of a worker runs: on this machine, in a container on it, on other machines."""


@dataclass(frozen=True)
class Target:
    """What Beam's options say of where a pipeline runs.

    `master`: URL of a Flink master, "" in local mode. `endpoint`: a job server that is running already. `near`: master
    or endpoint are on this machine. `environment`: how workers start, in capitals, and `config` what it is given.
    `ships`: the options bring resplice to the workers (a container image, or packages that Beam stages).
    """

    runner: str
    master: str = ""
    endpoint: str = ""
    near: bool = True
    flink: str = ""
    jar: str = ""
    uber: bool = False
    parallelism: int = -1
    environment: str = ""
    config: str = ""
    prism: str = ""
    ships: bool = False

    @property
    def portable(self) -> bool:
        """Return whether workers are started by `environment`."""
        return self.runner in ("FlinkRunner", "PrismRunner", "PortableRunner")

    @property
    def starts_java(self) -> bool:
        """Return whether the command starts a Flink job server of its own, here, in Java."""
        return self.runner == "FlinkRunner" and not self.endpoint and not (self.uber and self.master)

    @property
    def workers(self) -> str:
        """Return where the workers are: HERE, CONTAINER or ELSEWHERE."""
        if self.runner == "DataflowRunner":
            return ELSEWHERE
        if not self.portable or self.environment == "LOOPBACK":
            return HERE
        if not self.near:
            return ELSEWHERE
        return CONTAINER if self.environment == "DOCKER" else HERE


def java(program: str, version: int, flink: str) -> Finding:
    """Judge Java, which runs the job server: `version` is the major one, 0 if there is none."""
    fits = OLD_JAVA if flink.startswith("1.") else NEW_JAVA
    wanted = " or ".join(map(str, fits))
    if not version:
        return Finding("java", State.FAILED, f"{program} does not start", f"install Java {wanted}, or set JAVA_HOME")
    if version in fits:
        return Finding("java", State.OK, f"{program}, Java {version}")
    state = State.FAILED if version < min(fits) else State.WARNING
    return Finding("java", state, f"{program} is Java {version}; Flink {flink} is made for {wanted}",
                   f"set JAVA_HOME to a Java {max(fits)}")  # fmt: skip


def jar(path: str, main: str) -> Finding:
    """Judge the jar of --flink_job_server_jar by its main class."""
    if main == JOB_SERVER:
        return Finding("job server", State.OK, path)
    found = f"{path} has the main class {main or '(none)'}, a job server of Beam for Flink {JOB_SERVER}"
    return Finding("job server", State.FAILED, found, "give the jar beam-runners-flink-FLINK-job-server-BEAM.jar")


def download(check: str, url: str, cached: str, why_not: str, option: str) -> Finding:
    """Judge what Beam downloads at the first job: `cached` is where it is already, `why_not` "" if it can be had."""
    if cached:
        return Finding(check, State.OK, f"{cached}, downloaded by Beam before")
    if not why_not:
        return Finding(check, State.OK, f"Beam downloads it when a job is submitted: {url}")
    return Finding(check, State.FAILED, f"Beam has none yet, and cannot download it from here: {url}: {why_not}",
                   f"download it where that can be reached, and give {option}=FILE")  # fmt: skip


def flink(master: str, managers: int, version: str, wanted: str, known: Sequence[str]) -> Finding:
    """Judge a Flink master: its task managers, its version against --flink_version and against what Beam knows."""
    minor = ".".join(version.split(".")[:2])
    found = f"{master}: Flink {version}, {managers} task managers"
    if minor not in known:
        return Finding("flink", State.FAILED, f"{found}; this Beam knows {', '.join(known)}",
                       f"use a cluster of Flink {known[-1]}")  # fmt: skip
    if minor != wanted:
        return Finding("flink", State.FAILED, f"{found}; --flink_version is {wanted}", f"give --flink_version={minor}")
    if not managers:
        return Finding("flink", State.FAILED, f"{found}: a job would wait for ever", "start task managers")
    return Finding("flink", State.OK, found)


def parallelism(given: int, slots: int, free: int) -> Finding:
    """Judge --parallelism (-1: not given) against the slots of a cluster."""
    found = f"--parallelism={given}, {slots} slots, {free} of them free" if given > 0 else f"not given, {slots} slots"
    remedy = f"give --parallelism={max(slots, 1)}"
    if given <= 0:
        state = State.WARNING if slots > 1 else State.OK
        return Finding("parallelism", state, f"{found}: Flink's own default holds, mostly 1", remedy)
    if given > slots:
        return Finding("parallelism", State.WARNING, f"{found}: the job would wait for slots, and fail",
                       f"{remedy}, or start task managers")  # fmt: skip
    if given > free:
        return Finding("parallelism", State.WARNING, f"{found}: the job waits for others", "wait, or cancel them")
    return Finding("parallelism", State.OK, found)


def environment(target: Target, trouble: str) -> Finding:
    """Judge how workers start: `trouble` is why that cannot work, "" if it was tried, or cannot be seen from here."""
    kind, check = target.environment, "workers"
    shown = f"{kind} {target.config}".strip()
    if kind == "LOOPBACK":
        if target.near:
            return Finding(check, State.OK, "LOOPBACK: in the process of the command")
        return Finding(check, State.WARNING, "LOOPBACK: all workers are in this process, and the cluster calls back to "
                       "this machine", "give --environment_type=EXTERNAL or PROCESS")  # fmt: skip
    if trouble:
        return Finding(check, State.FAILED, f"{shown}: {trouble}", REMEDIES[kind])
    if kind == "DOCKER" and not target.ships:
        return Finding(
            check,
            State.FAILED,
            f"{shown}: Beam's own image has no resplice",
            "build deploy/Dockerfile and give --environment_config=IMAGE, or give --setup_file=./setup.py",
        )
    if not target.near:
        return Finding(check, State.WARNING, f"{shown}: is on the cluster, and cannot be seen from here",
                       "see there that it holds the same Python, Beam and resplice, then try `--canary 5`")  # fmt: skip
    return Finding(check, State.OK, shown)


REMEDIES = {
    "EXTERNAL": "start a pool: python -m apache_beam.runners.worker.worker_pool_main --service_port=PORT, and give "
    "--environment_config=HOST:PORT",
    "PROCESS": """give --environment_config='{"command": "FILE"}' with the boot program of Beam's Python container""",
    "DOCKER": "start Docker, or give --environment_type=EXTERNAL, PROCESS or LOOPBACK",
}


def shared(target: Target, folders: Sequence[str], servers: Mapping[str, str]) -> list[Finding]:
    """Judge what only this machine has against where the workers are: settings that name folders, and name → server."""
    inside = target.workers == CONTAINER
    blind = f"workers {'in containers' if inside else 'on other machines'} do not see"
    findings = []
    if folders and not inside and target.runner != "DataflowRunner":
        found = f"folders: {', '.join(folders)}; a worker on another machine sees one only where it is mounted alike"
        findings.append(Finding("shared", State.WARNING, found, _FOLDERS))
    elif folders:
        findings.append(Finding("shared", State.FAILED, f"{blind} these folders: {', '.join(folders)}", _FOLDERS))
    for name, what in servers.items():
        remedy = f"set {name} to {'a PostgreSQL' if name == 'database.url' else 'an address'} that they reach"
        findings.append(Finding("shared", State.FAILED, f"{blind} {name}, {what}", remedy))
    return findings or [Finding("shared", State.OK, "roots and database can be reached from where the workers are")]


_FOLDERS = "set them to s3://bucket/prefix"


def prism(path: str, runs: bool) -> Finding:
    """Judge the program of --prism_location by whether it tells its options."""
    if runs:
        return Finding("prism", State.OK, path)
    return Finding("prism", State.FAILED, f"{path} does not run, or is no Prism",
                   "give --prism_location=FILE of Beam's release, made for this machine, or leave it out")  # fmt: skip


def dataflow(missing: Sequence[str], credentials: str, ships: bool) -> list[Finding]:
    """Judge what Dataflow needs: the `missing` options, a file of Google's credentials, whether resplice gets there."""
    findings = []
    if missing:
        findings.append(Finding("dataflow", State.FAILED, "options are missing", f"give {' '.join(missing)}"))
    if not ships:
        remedy = "give --sdk_container_image=IMAGE of deploy/Dockerfile, or --setup_file=./setup.py"
        findings.append(Finding("dataflow", State.FAILED, "the workers would have no resplice", remedy))
    if not findings:
        findings.append(
            Finding("dataflow", State.OK, "its options are complete; whether Google takes them is not tried")
        )
    if credentials:
        return [*findings, Finding("google", State.OK, f"credentials: {credentials}")]
    return [*findings, Finding("google", State.WARNING, "no credentials of Google in the environment or this home",
                               "gcloud auth application-default login, unless this machine has a role")]  # fmt: skip
