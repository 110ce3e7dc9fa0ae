"""How a Beam pipeline runs: quietly, over one job server a process where its runner needs one, never after the command.

A job that was submitted is cancelled when the command ends before it: by Ctrl-C, SIGTERM or an error.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from resplice.io.flink import Cluster
from resplice.pipelines.failures import last_line
from resplice.pipelines.flink import Job, check
from resplice.transforms.records import UserError

START_S, STOP_S, CANCEL_S = 120.0, 5.0, 10.0
"""Seconds that a job server has to start and to end, and that it has to cancel a job."""
_GUARDED = 'exec 3<&0 </dev/null; "$@" & child=$!; (read -r _ <&3; kill "$child") 2>/dev/null & wait "$child"'
"""Runs a program until standard input ends, which it does in whatever way we end."""


class Servers:
    """The job server of this process: one serves all pipelines of a command. Not in our process group, or Ctrl-C would
    end it before it could cancel a job.
    """

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._endpoint = ""

    def endpoint(self, server: Any, debug: bool) -> str:
        """Return the address of a job server of Beam's, which runs already or is started."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._folder = tempfile.TemporaryDirectory(prefix="resplice-jobs-", ignore_cleanup_errors=True)
            self._endpoint = self._start(server, Path(self._folder.name), debug)
        return self._endpoint

    def close(self) -> None:
        """End the job server, if there is one; nothing is submitted after that."""
        process, self._process = self._process, None
        if process is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_S)
        if self._folder is not None:
            self._folder.cleanup()

    def _start(self, server: Any, folder: Path, debug: bool) -> str:
        server.local_temp_dir = lambda **given: tempfile.mkdtemp(dir=folder, **given)
        try:
            command, endpoint = server.subprocess_cmd_and_endpoint()
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(f"the job server of the runner cannot be had: {last_line(error)}") from error
        if not shutil.which(str(command[0])):
            raise UserError(f"{command[0]} is not on PATH: the job server of the runner needs it; install it")
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", _GUARDED, "sh", *map(str, command)], stdin=subprocess.PIPE,
                stdout=sys.stderr if debug else log, stderr=subprocess.STDOUT, process_group=0,
            )  # fmt: skip
        self._await(int(endpoint.rpartition(":")[2]), folder / "log")
        return str(endpoint)

    def _await(self, port: int, log: Path) -> None:
        deadline = time.monotonic() + START_S
        while self._process and self._process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        said = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        self.close()
        raise UserError(f"the job server of the runner does not start: {said[-1] if said else 'it says nothing'}")


@contextlib.contextmanager
def running(
    argv: Sequence[str], name: str, servers: Servers, note: Callable[[str], None], debug: bool
) -> Iterator[Any]:
    """Give a Beam pipeline; it is submitted as a job of this name, and waited for, when the block ends."""
    import apache_beam as beam
    from apache_beam.options import pipeline_options
    from apache_beam.runners.worker import sdk_worker

    sdk_worker.print = print if debug else _silent  # a worker in this process would print its traceback
    options = pipeline_options.PipelineOptions(list(argv))
    google = options.view_as(pipeline_options.GoogleCloudOptions)
    google.job_name = google.job_name or name
    runner = beam.runners.create_runner(options.view_as(pipeline_options.StandardOptions).runner)
    job = _on_flink(runner, options, note)
    _serve(runner, options, servers, debug)
    pipeline = beam.Pipeline(runner=runner, options=options)
    try:
        if job:
            job.watch()
        with pipeline:
            yield pipeline
    except BaseException:
        if job and job.error:
            raise job.error from None
        _cancel(getattr(pipeline, "result", None), job, servers)
        raise
    finally:
        if job:
            job.close()


def _silent(*values: object, **options: Any) -> None:
    """Print nothing."""


def _on_flink(runner: Any, options: Any, note: Callable[[str], None]) -> Job | None:
    """Return the job on a Flink cluster, which is checked; None for any other runner, and Flink's local mode."""
    from apache_beam.options.pipeline_options import FlinkRunnerOptions, GoogleCloudOptions
    from apache_beam.runners.portability.flink_runner import MAGIC_HOST_NAMES, FlinkRunner

    flink = options.view_as(FlinkRunnerOptions)
    if not isinstance(runner, FlinkRunner) or flink.flink_master in MAGIC_HOST_NAMES:
        return None
    cluster = Cluster(flink.flink_master)
    check(cluster, flink.flink_version, flink.parallelism, note)
    return Job(cluster, options.view_as(GoogleCloudOptions).job_name, note)


def _serve(runner: Any, options: Any, servers: Servers, debug: bool) -> None:
    """Name the job server of this process in the options of a runner that would start one for each pipeline."""
    from apache_beam.options.pipeline_options import FlinkRunnerOptions, PortableOptions
    from apache_beam.runners.portability.flink_runner import FlinkJarJobServer, FlinkRunner
    from apache_beam.runners.portability.prism_runner import PrismJobServer, PrismRunner

    portable, flink = options.view_as(PortableOptions), options.view_as(FlinkRunnerOptions)
    if portable.job_endpoint:
        return
    if isinstance(runner, PrismRunner):
        portable.job_endpoint = servers.endpoint(PrismJobServer(options), debug)
    elif isinstance(runner, FlinkRunner) and not flink.flink_submit_uber_jar:
        flink.flink_master = runner.add_http_scheme(flink.flink_master)
        portable.job_endpoint = servers.endpoint(FlinkJarJobServer(options), debug)


def _cancel(result: Any, job: Job | None, servers: Servers) -> None:
    """Cancel a job that has not ended, by its job server, and on Flink by the cluster, too."""
    from apache_beam.runners.runner import PipelineState

    def ask() -> None:
        with contextlib.suppress(Exception):  # the job server may be gone, and its runner may know no cancelling
            if not PipelineState.is_terminal(result.state):
                result.cancel()

    if result is not None:
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(CANCEL_S)
    servers.close()
    for thread in threading.enumerate():
        if thread.name.startswith("wait_until_finish"):  # it reads what the job server tells
            thread.join(STOP_S)
    if job:
        job.cancel()


@contextlib.contextmanager
def quiet(debug: bool) -> Iterator[None]:
    """Keep what Beam and its runners log from stderr, tracebacks of workers before all, unless in debug."""
    before, hook = logging.root.manager.disable, threading.excepthook

    def told(args: threading.ExceptHookArgs) -> None:
        if "grpc" not in (args.exc_type.__module__ or ""):  # a thread of Beam's lost its peer: the job has ended
            hook(args)

    if not debug:
        logging.disable(logging.CRITICAL)
        threading.excepthook = told
    try:
        yield
    finally:
        logging.disable(before)
        threading.excepthook = hook
