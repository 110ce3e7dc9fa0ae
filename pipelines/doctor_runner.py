"""The checks of `doctor` on a runner beyond this process: what starts it, whether it answers, what its workers see.

What is heavy is imported where it is probed: a package that cannot be imported is a finding, too.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resplice.pipelines import cli
from resplice.pipelines.args import Doctor
from resplice.pipelines.checks import CORPUS
from resplice.pipelines.doctor_checks import Situation
from resplice.transforms import runners
from resplice.transforms.checkup import Finding, State
from resplice.transforms.records import UserError
from resplice.transforms.runners import Target

_POOL = "external_service_address"


def target(situation: Situation) -> Target | None:
    """Return where the pipeline would run; None if the options cannot be read, which the check of the runner tells."""
    from apache_beam.options import pipeline_options as beams

    from resplice.io.flink import here

    try:
        runner, given = _given(situation)
    except UserError:
        return None
    all_, setup = given.get_all_options(), given.view_as(beams.SetupOptions)
    master = "" if runner != "FlinkRunner" or all_["flink_master"] in runners.LOCAL_MASTERS else all_["flink_master"]
    endpoint = all_["job_endpoint"] or ""
    kind, config = _environment(runner, master, given.view_as(beams.PortableOptions))
    return Target(
        runner=runner, master=master if "://" in master or not master else f"http://{master}", endpoint=endpoint,
        near=here(master or endpoint), flink=all_["flink_version"], jar=all_["flink_job_server_jar"] or "",
        uber=bool(all_["flink_submit_uber_jar"]), parallelism=all_["parallelism"], environment=kind, config=config,
        prism=all_["prism_location"] or "",
        ships=bool(setup.setup_file or setup.extra_packages or all_["sdk_container_image"] or _image(kind, config)),
    )  # fmt: skip


def _given(situation: Situation) -> tuple[str, Any]:
    """Return the runner, by its whole name, and Beam's options."""
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

    from resplice.pipelines import options

    argv = options.beam_argv(situation.tokens, dict(situation.settings.beam), 1, cli.own_flags(Doctor))
    name = options.runner_of(argv).rpartition(".")[2]
    names = {name.lower(), f"{name}Runner".lower()}
    known = (each for each in StandardOptions.KNOWN_RUNNER_NAMES if each.lower() in names)
    return next(known, name), PipelineOptions(argv)


def _environment(runner: str, master: str, view: Any) -> tuple[str, str]:
    """Return how workers start, as Beam decides it, and what that is given."""
    default = "LOOPBACK" if runner == "PrismRunner" or (runner == "FlinkRunner" and not master) else "DOCKER"
    kind = (view.environment_type or default).upper()
    named = {"DOCKER": "docker_container_image", "PROCESS": "process_command", "EXTERNAL": _POOL}.get(kind, "")
    return kind, view.environment_config or (named and view.lookup_environment_option(named)) or ""


def _image(kind: str, config: str) -> str:
    return config if kind == "DOCKER" else ""


def java(situation: Situation) -> Iterator[Finding]:
    """Check that Java starts, if the command starts a job server."""
    from resplice.io import clusters

    if (at := target(situation)) is not None and at.starts_java:
        yield runners.java(*clusters.java(), at.flink)


def job_server(situation: Situation) -> Iterator[Finding]:
    """Check the jar of the job server that is started, or the job server that runs already."""
    from resplice.io import clusters

    at = target(situation)
    if at is None or at.runner not in ("FlinkRunner", "PortableRunner"):
        return
    if at.endpoint:
        if why := clusters.job_server(at.endpoint):
            raise UserError(f"no job server of Beam answers at {at.endpoint}: {why}")
        yield Finding("job server", State.OK, at.endpoint)
    elif at.runner == "PortableRunner":
        yield Finding("job server", State.FAILED, "PortableRunner needs a job server that runs",
                      "give --job_endpoint=HOST:PORT, or --runner=FlinkRunner, which starts one")  # fmt: skip
    elif at.jar and "://" not in at.jar:
        if not Path(at.jar).is_file():
            raise UserError(f"--flink_job_server_jar: there is no file {at.jar}")
        yield runners.jar(at.jar, clusters.main_class(Path(at.jar)))
    else:
        from apache_beam.utils.subprocess_server import JavaJarServer

        url = at.jar or JavaJarServer.path_to_beam_jar(f":runners:flink:{at.flink}:job-server:shadowJar")
        yield _download("job server", url, JavaJarServer.JAR_CACHE, "--flink_job_server_jar")


def _download(check: str, url: str, folder: str, option: str) -> Finding:
    from resplice.io import clusters

    cached = Path(folder) / url.rpartition("/")[2]
    if cached.exists() or Path(url).exists():
        return runners.download(check, url, str(cached if cached.exists() else url), "", option)
    return runners.download(check, url, "", clusters.downloadable(url), option)


def flink(situation: Situation) -> Iterator[Finding]:
    """Check that the Flink master answers, its version, its task managers and slots."""
    from apache_beam.options.pipeline_options import FlinkRunnerOptions

    from resplice.io.flink import Cluster

    at = target(situation)
    if at is None or at.runner != "FlinkRunner" or at.endpoint:
        return
    if not at.master:
        yield Finding("flink", State.OK, f"local mode: Flink {at.flink} runs inside the job server, for this job alone")
        return
    there = Cluster(at.master).overview()
    yield runners.flink(at.master, there.managers, there.version, at.flink, FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS)
    yield runners.parallelism(at.parallelism, there.slots, there.free)


def workers(situation: Situation) -> Iterator[Finding]:
    """Check how workers start, as far as that is on this machine."""
    at = target(situation)
    if at is not None and at.portable:
        yield runners.environment(at, _trouble(at))


def _trouble(at: Target) -> str:
    from resplice.io import clusters

    if at.environment == "EXTERNAL":
        address = _json(at.config).get("url", "") if at.config.startswith("{") else at.config
        if not address:
            return "no address is given"
        why = clusters.pool(address) if at.near else ""
        return f"no worker pool of Beam answers there: {why}" if why else ""
    if at.environment == "PROCESS":
        command = _json(at.config).get("command", "") if at.config.startswith("{") else at.config
        if not command:
            return "no command is given"
        return f"{command} is no program that can be started" if at.near and not shutil.which(command) else ""
    if at.environment == "DOCKER" and at.near:
        return "" if clusters.docker() else "docker is there, but no engine answers"
    if at.environment in ("DOCKER", "LOOPBACK"):
        return ""
    raise UserError(f"--environment_type {at.environment} is not known here")


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"--environment_config is no JSON: {error}") from None
    return value if isinstance(value, dict) else {}


def shared(situation: Situation) -> Iterator[Finding]:
    """Check that no root or database is on this machine alone if the workers are elsewhere."""
    from resplice.io.database import only_here
    from resplice.io.flink import here

    at = target(situation)
    if at is None or at.workers == runners.HERE:
        return
    folders = [f"corpus.{name}" for name in (*CORPUS, "workspace") if situation.place(name).local]
    servers = {}
    if what := only_here(situation.settings.database.url):
        servers["database.url"] = what
    endpoint = situation.settings.store.endpoint_url
    if endpoint and here(endpoint):
        servers["store.endpoint_url"] = endpoint
    yield from runners.shared(at, folders, servers)


def prism(situation: Situation) -> Iterator[Finding]:
    """Check that Prism runs, or can be downloaded."""
    from resplice.io import clusters

    at = target(situation)
    if at is None or at.runner != "PrismRunner" or at.endpoint:
        return
    if at.prism and "://" not in at.prism:
        if not Path(at.prism).is_file():
            raise UserError(f"--prism_location: there is no file {at.prism}")
        if at.prism.endswith(".zip"):
            yield Finding("prism", State.OK, f"{at.prism}, which Beam unpacks")
        else:
            yield runners.prism(at.prism, "job_port" in (clusters.output(str(Path(at.prism).resolve()), "-help") or ""))
        return
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.prism_runner import PrismJobServer
    from apache_beam.version import __version__

    server = PrismJobServer(PipelineOptions())
    url = at.prism or server.construct_download_url(f"v{__version__}", *_platform())
    yield _download("prism", url, server.BIN_CACHE, "--prism_location")


def _platform() -> tuple[str, str]:
    import platform

    return platform.system(), platform.machine()


def dataflow(situation: Situation) -> Iterator[Finding]:
    """Check what DataflowRunner needs before it asks Google: packages, options, credentials."""
    from apache_beam.options.pipeline_options import GoogleCloudOptions

    from resplice.io import clusters

    at = target(situation)
    if at is None or at.runner != "DataflowRunner":
        return
    if importlib.util.find_spec("google.cloud") is None or importlib.util.find_spec("google.cloud.dataflow") is None:
        yield Finding("dataflow", State.FAILED, "Beam's packages for Google Cloud are not installed",
                      "pip install 'resplice[dataflow]'")  # fmt: skip
    given = _given(situation)[1].view_as(GoogleCloudOptions)
    missing = [f"--{name}" for name in ("project", "region") if not getattr(given, name)]
    if not str(given.temp_location).startswith("gs://"):
        missing.append("--temp_location=gs://BUCKET/FOLDER")
    yield from runners.dataflow(missing, clusters.google_credentials(), at.ships)
