"""Translate jobs as DataflowRunner does before it asks Google for anything, and write down what it would send.

    python tests/on_dataflow.py RESPLICE_TOML WORKSPACE TARGET

It runs in an environment that has Beam's packages for Google. TARGET gets a JSON document: job → the images and MiB of
its workers, and all that is in the graph and in the options, what is packed in it unpacked.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.common_urns import resource_hints
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from apache_beam.runners.dataflow.internal import apiclient
from google.protobuf import json_format
from test_graphs import BUILDS
from unpacked import unpacked

from resplice.io.context import Context
from resplice.pipelines import launch, options
from resplice.pipelines.config import resolve
from resplice.transforms.provenance import Run

IMAGE = "registry.example/resplice-dataflow:0.1.0"
GIVEN = (
    "--runner=DataflowRunner",
    "--project=project-1",
    "--region=europe-west1",
    "--temp_location=gs://bucket/tmp",
    "--job_name=resplice",
    f"--sdk_container_image={IMAGE}",
    "--machine_type=n2-standard-4",
    "--dry_run=true",
)
OF_ROWS = ("baseline",)
"""Jobs that read the database when they are composed."""


def translated(build: Any, context: Context) -> dict[str, Any]:
    """Return what Dataflow would get for a job."""
    runner, given = DataflowRunner(), PipelineOptions(options.beam_argv(GIVEN, {}, 1))
    pipeline = beam.Pipeline(runner=runner, options=given)
    build(pipeline, context)
    job = pipeline.run().job
    environment = apiclient.Environment([], given, "8", "gs://bucket/staged", runner.proto_pipeline)
    sent = json_format.MessageToDict(environment.proto._pb)
    asked = resource_hints.MIN_RAM_BYTES.urn
    environments = runner.proto_pipeline.components.environments.values()
    hints = {each.resource_hints[asked] for each in environments if asked in each.resource_hints}
    told = f"{job} {json.dumps(sent)} {given.get_all_options()}"
    everything = runner.proto_pipeline.SerializeToString() + told.encode()
    return {
        "images": [each["containerImage"] for each in sent["workerPools"][0]["sdkHarnessContainerImages"]],
        "machine": sent["workerPools"][0]["machineType"],
        "memory": sorted(int(hint) >> 20 for hint in hints),
        "everything": unpacked(everything).decode("latin-1"),
    }


def main(config: str, workspace: str, target: str) -> None:
    """Translate every job; what a URL of the environment says of the database holds for those that do not read it."""
    jobs = {}
    for job, build in BUILDS.items():
        environment = {} if job in OF_ROWS else os.environ
        resolved = resolve(config, [f"corpus.workspace={workspace}"], environment)
        with tempfile.TemporaryDirectory() as scratch:
            context = Context(Run("r", workspace, "test", ""), launch._carried(resolved), scratch)
            jobs[job] = translated(build, context)
    Path(target).write_text(json.dumps(jobs), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
