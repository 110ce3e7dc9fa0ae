"""Probes of what runs a pipeline: Java, jars, worker pools, programs; each ends in some seconds."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
import urllib.error
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resplice.io.flink import PATIENCE_S, here, opened, why
from resplice.transforms.records import UserError

START_S = 20.0
"""For a program that only tells its version: a cold Java takes some of it."""


def downloadable(url: str) -> str:
    """Return "" if something can be had at a URL, else why not."""
    try:
        with opened(url, "HEAD"):
            return ""
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.reason}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return why(error)


def java() -> tuple[str, int]:
    """Return the program by which Beam starts Java, and its major version, 0 if it is not there or does not tell it."""
    from apache_beam.utils.subprocess_server import JavaHelper

    program = str(JavaHelper.get_java())
    said = output(program, "-version")
    match = re.search(r'version "(?:1\.)?(\d+)', said or "")
    return program, int(match[1]) if match else 0


def main_class(jar: Path) -> str:
    """Return the main class of a jar, "" if it names none. UserError if the file is no jar."""
    try:
        with zipfile.ZipFile(jar) as archive, archive.open("META-INF/MANIFEST.MF") as manifest:
            text = manifest.read(1 << 16).decode("utf-8", "replace")
    except (zipfile.BadZipFile, KeyError):
        raise UserError(f"{jar} is no jar, or one that was cut") from None
    match = re.search(r"^Main-Class: *(\S+)", text, re.MULTILINE)
    return match[1] if match else ""


def output(*command: str) -> str | None:
    """Return all that a program says, None if it cannot be started, fails or does not end soon."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=START_S,
            text=True, errors="replace",
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def docker() -> str:
    """Return the version of the Docker engine that answers, "" if none does. UserError without the program."""
    if not shutil.which("docker"):
        raise UserError("docker is not on PATH")
    return (output("docker", "version", "--format", "{{.Server.Version}}") or "").strip()


def google_credentials() -> str:
    """Return the file of Google's application default credentials, "" if there is none here."""
    home = Path(os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config/gcloud")
    named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    file = Path(named) if named else home / "application_default_credentials.json"
    return str(file) if file.is_file() else ""


def pool(address: str) -> str:
    """Return "" if a worker pool of Beam answers at HOST:PORT, else why not: it is asked to stop no worker."""
    from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

    request = beam_fn_api_pb2.StopWorkerRequest(worker_id="resplice-doctor")
    return _called(address, lambda at: beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(at).StopWorker, request)


def job_server(address: str) -> str:
    """Return "" if a job server of Beam answers at HOST:PORT, else why not."""
    from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

    request = beam_job_api_pb2.DescribePipelineOptionsRequest()
    return _called(address, lambda at: beam_job_api_pb2_grpc.JobServiceStub(at).DescribePipelineOptions, request)


def _called(address: str, method: Callable[[Any], Any], request: Any) -> str:
    import grpc

    direct = [("grpc.enable_http_proxy", 0)] if here(address) else []
    with grpc.insecure_channel(address, options=direct) as channel:
        try:
            method(channel)(request, timeout=PATIENCE_S)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return "something else answers there"
            return str(error.code().name).lower().replace("_", " ")
    return ""
