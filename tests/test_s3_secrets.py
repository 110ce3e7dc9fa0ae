"""The credentials of a store are nowhere: no message, traceback, object, job graph or argument of a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from bucketed import InBucket, upload
from servers import Server
from unpacked import unpacked

from resplice.io import requests
from resplice.transforms.settings import StoreOptions


@pytest.fixture
def corpus(demo_folder: Path, minio: Server, monkeypatch: pytest.MonkeyPatch) -> InBucket:
    minio.credentials(monkeypatch)
    return upload(demo_folder, minio, StoreOptions(minio.endpoint, "us-east-1"))


def arguments_of(process: psutil.Process) -> list[str]:
    """Return the command lines of a process and of all that it started."""
    try:
        return [" ".join(each.cmdline()) for each in (process, *process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def test_a_recovery_leaves_no_secret_in_its_output_its_objects_or_the_list_of_processes(
    corpus: InBucket, minio: Server
) -> None:
    command = [sys.executable, "-m", "resplice.pipelines", "recover", "--config", str(corpus.folder / "resplice.toml")]
    more = [*corpus.settings, "--run-id=r", "--yes", "--limit=4", "--debug"]
    process = subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    seen: set[str] = set()
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        seen.update(arguments_of(watched))
        try:
            process.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            continue
    assert process.stdout is not None
    output = process.stdout.read()
    assert process.returncode == 3, output  # a wave is not complete
    assert any("resplice.pipelines" in arguments for arguments in seen)
    store = corpus.store()
    held = {head.key: store.read(head.key) for head in store.list()}
    assert {"runs/r/run.json", "runs/r/report.html", "snapshots/00000001.json.manifest.json"} <= held.keys()
    for secret in (minio.secret_key, minio.access_key):
        assert secret not in output and not [arguments for arguments in seen if secret in arguments]
        assert [key for key, data in held.items() if secret.encode() in data] == []


def test_the_job_graph_holds_no_secret(corpus: InBucket, minio: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from apache_beam.runners.portability.fn_api_runner import fn_runner

    graphs: list[bytes] = []
    real = fn_runner.FnApiRunner.run_via_runner_api

    def run(self: Any, proto: Any, options: Any) -> Any:
        graphs.append(unpacked(proto.SerializeToString()) + str(options.get_all_options()).encode())
        return real(self, proto, options)

    monkeypatch.setattr(fn_runner.FnApiRunner, "run_via_runner_api", run)
    assert corpus("baseline") == 0
    assert graphs and minio.endpoint.encode() in b"".join(graphs)  # it is looked into what is packed
    for secret in (minio.secret_key, minio.access_key):
        assert [graph for graph in graphs if secret.encode() in graph] == []


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_credentials_that_are_refused_are_not_shown(
    corpus: InBucket, minio: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    debug: list[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "Kr0kodil-im-Nil")
    requests._CLIENTS.clear()
    assert corpus("baseline", *debug) == 2
    requests._CLIENTS.clear()
    out, err = capfd.readouterr()
    assert "SignatureDoesNotMatch" in err and "credentials" in err
    for secret in ("Kr0kodil", minio.secret_key):
        assert secret not in out + err
    assert debug or err.count("\n") == 1
