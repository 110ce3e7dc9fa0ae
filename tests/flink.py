"""A real Flink session cluster for tests: a job manager and task managers, on 127.0.0.1 and free ports.

    with cluster(tmp_path, "PROCESS", {"AWS_ACCESS_KEY_ID": ...}) as flink:
        main(["recover", ..., *flink.options])
        flink.kill(0)
        flink.add()

PROCESS: two task managers with one slot each, each a process group of its own with the Python workers that it starts.
EXTERNAL: one task manager with two slots and a worker pool beside it, as a sidecar would be; a second one would find
the same pool at the one address that a job names, and stop its neighbour's workers. Workers import the installed
package, not the checkout, and get credentials only by the environment of the task manager or of the pool.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import packaged
import parts
from processes import PATIENCE, Group, free_port

PROCESS, EXTERNAL = ENVIRONMENTS = "PROCESS", "EXTERNAL"
JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
EXPORTS = ("java.base/sun.net.util", "java.rmi/sun.rmi.registry", "java.security.jgss/sun.security.krb5")
OPENS = ("lang", "net", "io", "nio", "lang.reflect", "text", "time", "util", "util.concurrent",
         "util.concurrent.atomic", "util.concurrent.locks")  # fmt: skip
MEMORY = {
    "task.heap.size": 384, "task.off-heap.size": 0, "framework.heap.size": 128, "framework.off-heap.size": 128,
    "managed.size": 128, "network.min": 128, "network.max": 128, "jvm-metaspace.size": 256, "jvm-overhead.min": 192,
    "jvm-overhead.max": 192,
}  # fmt: skip
"""MB of a task manager; without Flink's start scripts nothing computes them."""
LOGGING = """
rootLogger.level = INFO
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %-5p %c{1} - %m%n
"""


def java() -> str:
    """Return the program; without it the test is skipped, or fails where it has to be there."""
    return shutil.which("java") or parts.missing(f"java is not on PATH: install it ({parts.TOOLS['java']})")


@dataclass
class Manager:
    """One task manager, with its worker pool where it has one."""

    group: Group
    pool: Group | None = None

    def end(self, number: int = signal.SIGTERM) -> None:
        """End the task manager and the workers that it started."""
        self.group.end(number)
        if self.pool:
            self.pool.end(number)


@dataclass
class Cluster:
    """A session cluster. `environment`: how task managers get Python workers; `secrets`: what those find in theirs."""

    folder: Path
    environment: str
    secrets: Mapping[str, str] = field(default_factory=dict)
    slots: int = 1
    managers: list[Manager] = field(default_factory=list)
    _numbers: int = 0
    _master: Group | None = None

    def __post_init__(self) -> None:
        self.port, self._rpc, self.pool_port = free_port(), free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.jar = parts.demand("jobserver.jar")
        self._classes = f"{parts.demand('flink')}/*"

    @property
    def options(self) -> list[str]:
        """Return Beam's options that submit a job here."""
        workers = {
            PROCESS: json.dumps({"command": str(parts.path("boot"))}),
            EXTERNAL: f"127.0.0.1:{self.pool_port}",
        }[self.environment]
        return [
            "--runner=FlinkRunner", f"--flink_master={self.address}", "--flink_version=1.19",
            f"--flink_job_server_jar={self.jar}", f"--parallelism={len(self.managers) * self.slots}",
            f"--environment_type={self.environment}", f"--environment_config={workers}",
        ]  # fmt: skip

    def start(self, managers: int) -> None:
        """Start the job manager and some task managers, and wait for them."""
        (self.folder / "conf").mkdir(parents=True)
        (self.folder / "conf/config.yaml").write_text(
            f"jobmanager.rpc.address: 127.0.0.1\njobmanager.rpc.port: {self._rpc}\njobmanager.bind-host: 127.0.0.1\n"
            f"rest.address: 127.0.0.1\nrest.bind-address: 127.0.0.1\nrest.port: {self.port}\n"
            f"taskmanager.numberOfTaskSlots: {self.slots}\ntaskmanager.host: 127.0.0.1\n"
            "jobmanager.memory.process.size: 1000m\n"
            "restart-strategy.type: fixed-delay\nrestart-strategy.fixed-delay.attempts: 5\n"
            "restart-strategy.fixed-delay.delay: 2 s\nheartbeat.interval: 2000\nheartbeat.timeout: 10000\n"
            f"io.tmp.dirs: {self.folder}\nblob.storage.directory: {self.folder}\n"
        )
        (self.folder / "conf/log4j.properties").write_text(LOGGING)
        self._master = self._java("jobmanager", "-Xmx500m", JOB_MANAGER)
        for _ in range(managers):
            self.add(wait=False)
        self._wait()

    def add(self, wait: bool = True) -> None:
        """Start one more task manager."""
        self._numbers += 1
        pool = self._pool() if self.environment == EXTERNAL else None
        memory = {"cpu.cores": f"{self.slots}.0"} | {f"memory.{name}": f"{size}m" for name, size in MEMORY.items()}
        values = {"resource-id": f"tm{self._numbers}", **memory}
        given = [text for name, value in values.items() for text in ("-D", f"taskmanager.{name}={value}")]
        self.managers.append(Manager(self._java(f"taskmanager{self._numbers}", "-Xmx700m", TASK_MANAGER, *given), pool))
        if wait:
            self._wait()

    def kill(self, index: int) -> None:
        """Kill a task manager and its workers, as the end of its machine would."""
        self.managers.pop(index).end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop everything."""
        for manager in self.managers:
            manager.end(signal.SIGKILL)
        self.managers.clear()
        if self._master:
            self._master.end(signal.SIGKILL)
            self._master = None

    def ask(self, path: str) -> Any:
        """Return what the job manager answers to a question."""
        with urllib.request.urlopen(f"http://{self.address}/{path}", timeout=10) as answer:
            return json.load(answer)

    def jobs(self) -> list[dict[str, Any]]:
        """Return all jobs of the cluster, the latest first."""
        found: list[dict[str, Any]] = self.ask("jobs/overview")["jobs"]
        return sorted(found, key=lambda job: -job["start-time"])

    def log(self) -> str:
        """Return the end of every log."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{log.name}:\n{log.read_text(errors='replace')[-3000:]}" for log in logs)

    def _java(self, name: str, heap: str, *program: str) -> Group:
        opened = [f"--add-opens=java.base/{each}=ALL-UNNAMED" for each in [f"java.{o}" for o in OPENS] + ["sun.nio.ch"]]
        exported = [f"--add-exports={each}=ALL-UNNAMED" for each in EXPORTS]
        logging = f"-Dlog4j.configurationFile={self.folder}/conf/log4j.properties"
        main, *given = program
        command = [java(), heap, *exported, *opened, logging, "-cp", self._classes, main, "--configDir",
                   str(self.folder / "conf"), *given]  # fmt: skip
        return self._group(name, command)

    def _pool(self) -> Group:
        module = "apache_beam.runners.worker.worker_pool_main"
        command = [str(packaged.python()), "-m", module, f"--service_port={self.pool_port}"]
        return self._group(f"pool{self._numbers}", command)

    def _group(self, name: str, command: list[str]) -> Group:
        """Start a process whose PATH begins with the environment that workers run in; `python` is taken from there."""
        home = packaged.python().parent
        environment = {"PATH": f"{home}:{os.environ['PATH']}", "HOME": str(self.folder), **self.secrets,
                       "RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT": "1", "TMPDIR": str(self.folder),
                       "AWS_EC2_METADATA_DISABLED": "true"}  # fmt: skip
        with (self.folder / f"{name}.log").open("ab") as log:
            return Group(command, env=environment, cwd=self.folder, stdout=log, stderr=log)

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with suppress(OSError):
                if self.ask("overview")["taskmanagers"] >= len(self.managers):
                    return
            time.sleep(0.2)
        raise RuntimeError(f"the cluster does not start:\n{self.log()}")


@contextmanager
def cluster(folder: Path, environment: str, secrets: Mapping[str, str]) -> Iterator[Cluster]:
    """Run a cluster in a folder; a part that is missing skips the test."""
    parts.demand("boot")
    started = Cluster(folder, environment, secrets, slots=2 if environment == EXTERNAL else 1)
    try:
        started.start(1 if environment == EXTERNAL else 2)
        yield started
    finally:
        started.stop()
