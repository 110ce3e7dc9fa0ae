"""What every job's graph keeps to: hints where memory is needed, no shuffle but the named ones, small elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.coders import registry
from apache_beam.pipeline import PipelineVisitor
from apache_beam.portability.common_urns import primitives, resource_hints
from test_jobs import JOBS, Build, context

from resplice.io import snapshots, work
from resplice.io.context import Context
from resplice.io.engines import ChainSpec
from resplice.io.extracting import File, Task
from resplice.io.journal import Effect, Line
from resplice.pipelines import corpus, corpus_bvi_dvc, finalize, merge, rejudge, repair
from resplice.transforms import checkup
from resplice.transforms.corpus_rows import Labels

__all__ = ["context"]
PAR_DO, GROUP, MIN_RAM = primitives.PAR_DO, primitives.GROUP_BY_KEY, resource_hints.MIN_RAM_BYTES
SMALL = 1024
"""Bytes of an encoded element, at most: work is told by reference, and read where it is done."""


def build_pack(pipeline: Any, context: Context) -> Any:
    videos = [work.Planned(f"new-{number}", True, 0, 0.0, None, None, "", None) for number in range(3)]
    return repair.build(pipeline, context, "pack", work.items(context, "pack", videos))


def build_adopt(pipeline: Any, context: Context) -> Any:
    return merge.adopt(pipeline, context, snapshots.live(context.workspace.store, context.validation.store))


def build_examine(pipeline: Any, context: Context) -> Any:
    tars = [(f"video-{number}", {"a version token of 40 characters " * 2: "0" * 64}) for number in range(3)]
    return finalize.build_examine(pipeline, context, "finalize", tars)


def build_finalize(pipeline: Any, context: Context) -> Any:
    kinds = [("tar", "0" * 64), ("status", "validated")]
    lines = [Line(kind, f"video-{number}", "1" * 64, after) for kind, after in kinds for number in range(3)]
    return finalize.build(pipeline, context, "finalize", [Effect(line, line.before) for line in lines])


def build_rejudge(pipeline: Any, context: Context) -> Any:
    items = work.items(context, "validate", work.planned(context))
    return rejudge.build(pipeline, context, items, ChainSpec((("signal", ()),)), {})


def units(count: int) -> list[Task]:
    files = (File("/a folder/of a long name" * 4, "0" * 64, "1-2-3-4"),) * 2
    return [Task(f"unit-{number}", files, {"source": "s", "fps": "25"}) for number in range(count)]


def build_corpus(pipeline: Any, context: Context) -> Any:
    return corpus.build(pipeline, context, "full-features", units(3), len)


def build_logs(pipeline: Any, context: Context) -> Any:
    labels = Labels("libx264", "fast", 35, "yuv420p", "vmaf_v0.6.1", "r", "t")
    return corpus_bvi_dvc.build(pipeline, context, units(300), labels)


BUILDS: dict[str, Build] = {
    **{job: build for job, (build, _, _) in JOBS.items()},
    "pack": build_pack,
    "validate --rejudge": build_rejudge,
    "merge: adopt": build_adopt,
    "finalize: examine": build_examine,
    "finalize: change": build_finalize,
    "corpus": build_corpus,
    "corpus bvi-dvc": build_logs,
}
SHUFFLES = {
    "baseline": {"Inventory/Spread", "CountHistory/Spread", "Freeze/Group"},
    "plan": {"IndexResults/Spread", "Affected/Group", "Candidates/Gather"},
    "repair": {"Rebuild/Spread"},
    "pack": {"Rebuild/Spread"},
    "validate": {"Validate/Spread"},
    "validate --export-work": {"Describe/Spread"},
    "validate --rejudge": {"Rejudge/Spread"},
    "validate --from": {"ReadGiven/Spread", "Take/Group", "NotTaken/Gather"},
    "merge": {"Drift/Spread", "Index/Spread", "Replace/Group", "Replacements/Gather"},
    "merge: adopt": {"Adopt/Spread", "Adopted/Gather"},
    "verify": {"IndexResults/Spread", "Cover/Group", "Counts/Gather"},
    "embed": {"Embed/Spread"},
    "finalize: examine": {"Examine/Spread", "Examined/Gather"},
    "finalize: change": {"ReplaceTars/Spread", "SetStatuses/Spread", "Outcomes/Gather"},
    "corpus": {"Extract/Spread"},
    "corpus bvi-dvc": {"Read/Spread"},
}
"""Job → its steps that shuffle: work items are spread, keys grouped, records for the driver gathered in parts."""
HEAVY = ("repair", "pack", "validate", "embed")
OF_SMALL_ELEMENTS = [
    "baseline",
    "plan",
    "repair",
    "pack",
    "validate",
    "validate --export-work",
    "validate --from",
    "validate --rejudge",
    "merge",
    "merge: adopt",
    "verify",
    "embed",
    "finalize: examine",
    "finalize: change",
    "corpus",
    "corpus bvi-dvc",
]


class Sources(PipelineVisitor):
    """The bytes of each element that each source of a pipeline creates, by the label of the source."""

    def __init__(self) -> None:
        self.bytes: dict[str, list[int]] = {}

    def visit_transform(self, node: Any) -> None:
        return

    def enter_composite_transform(self, node: Any) -> None:
        if isinstance(node.transform, beam.Create):
            coder = registry.get_coder(node.transform.get_output_type())
            self.bytes[node.full_label] = [len(coder.encode(value)) for value in node.transform.values]


@dataclass(frozen=True)
class Graph:
    """One job's graph as runners get it, and its sources."""

    proto: Any
    sources: dict[str, list[int]]

    def hints(self) -> set[int]:
        """Return the MiB that the steps ask for, 0 for none: as many as there are environments that run code."""
        parts = self.proto.components
        used = {each.environment_id for each in parts.transforms.values() if each.spec.urn == PAR_DO.urn}
        asked = (parts.environments[name].resource_hints.get(MIN_RAM.urn, b"0") for name in used)
        return {int(value) >> 20 for value in asked}

    def shuffles(self) -> set[str]:
        """Return the steps that group by key, each by its first two names."""
        names = (each.unique_name for each in self.proto.components.transforms.values() if each.spec.urn == GROUP.urn)
        return {"/".join(name.split("/")[:2]) for name in names}


def graph_of(build: Build, context: Context) -> Graph:
    pipeline = beam.Pipeline(runner="FnApiRunner")
    build(pipeline, context)
    sources = Sources()
    pipeline.visit(sources)
    return Graph(pipeline.to_runner_api(), sources.bytes)


@pytest.fixture(scope="module")
def graphs(context: Context) -> dict[str, Graph]:
    return {job: graph_of(build, context) for job, build in BUILDS.items()}


@pytest.mark.parametrize("job", BUILDS)
def test_only_work_on_audio_asks_for_memory_and_all_its_steps_share_a_process(
    job: str, graphs: dict[str, Graph], context: Context
) -> None:
    needed = checkup.needed_mb(1, context.settings.run.memory_mb)
    assert graphs[job].hints() == ({needed} if job in HEAVY else {0})


@pytest.mark.parametrize("job", BUILDS)
def test_nothing_is_shuffled_but_in_the_named_steps(job: str, graphs: dict[str, Graph]) -> None:
    assert graphs[job].shuffles() == SHUFFLES[job]


@pytest.mark.parametrize("job", OF_SMALL_ELEMENTS)
def test_an_element_tells_its_work_by_reference(job: str, graphs: dict[str, Graph]) -> None:
    sizes = graphs[job].sources
    assert sizes and {name: max(each) for name, each in sizes.items() if max(each) >= SMALL} == {}
