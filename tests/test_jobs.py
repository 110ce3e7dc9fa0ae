"""Each job's graph: its named steps, and work that passes as more than one element."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.pipeline import PipelineVisitor
from corpus import Corpus

from resplice.io import embedders, judging, merging, snapshots, work
from resplice.io.context import Context
from resplice.io.embedding import Job
from resplice.io.engines import chain_of
from resplice.io.inventory import Inventory
from resplice.io.merging import CheckDrift
from resplice.io.store import Place
from resplice.pipelines import baseline, embed, exchange, merge, plan, repair, validate, verify
from resplice.pipelines.config import resolve
from resplice.transforms.embedding import Unit, items
from resplice.transforms.provenance import Run
from resplice.transforms.windows import Windows

LISTED = "listed.arrow"
Build = Callable[[Any, Context], Any]


class Graph(PipelineVisitor):
    """The labels of a pipeline's transforms, and how many elements each source creates."""

    def __init__(self) -> None:
        self.labels: set[str] = set()
        self.created: dict[str, int] = {}

    def enter_composite_transform(self, node: Any) -> None:
        self.visit_transform(node)

    def visit_transform(self, node: Any) -> None:
        self.labels.add(node.full_label)
        if isinstance(node.transform, beam.Create):
            self.created[node.full_label] = len(list(node.transform.values))


def graph_of(build: Build, context: Context) -> Graph:
    pipeline = beam.Pipeline(runner="FnApiRunner")
    build(pipeline, context)
    graph = Graph()
    pipeline.visit(graph)
    return graph


def build_baseline(pipeline: Any, context: Context) -> Any:
    world = baseline.divide(context, LISTED)
    return baseline.build(pipeline, context, world, Inventory(context, world.bounds, LISTED))


def build_plan(pipeline: Any, context: Context) -> Any:
    return plan.build(pipeline, context, baseline.load_world(context), snapshots.latest(context.workspace.store))


def build_repair(pipeline: Any, context: Context) -> Any:
    wrong = [video for video in work.planned(context) if video.wrong_tar]
    return repair.build(pipeline, context, "repair", work.items(context, "repair", wrong))


def build_validate(pipeline: Any, context: Context) -> Any:
    chain, _ = chain_of(context.settings.validate)
    items = work.items(context, "validate", work.planned(context))
    return validate.build(pipeline, context, items, chain, {"signal": "1"})


def build_export_work(pipeline: Any, context: Context) -> Any:
    return exchange.build_export(pipeline, context, work.items(context, "validate", work.planned(context)))


def build_take(pipeline: Any, context: Context) -> Any:
    place = Place(str(context.workspace.url))
    return exchange.build_take(
        pipeline, context, work.items(context, "validate", work.planned(context)), place, ["a.parquet", "b.parquet"]
    )


def build_merge(pipeline: Any, context: Context) -> Any:
    planned = work.planned(context)
    items = work.items(context, "validate", planned)
    live = snapshots.live(context.workspace.store, context.validation.store)
    candidates = merging.listed(context, planned, judging.refused_in(context, "repair"))
    check = CheckDrift(context, same_rows=False)
    return merge.build(pipeline, context, candidates, live, merge.new_shards(context, items), check)


def build_verify(pipeline: Any, context: Context) -> Any:
    world, latest = baseline.load_world(context), snapshots.latest(context.workspace.store)
    stands = verify.standings(context, world, latest)
    return verify.build(pipeline, context, world, verify.live_now(context, latest), stands)


def build_embed(pipeline: Any, context: Context) -> Any:
    choice = embedders.choose(context.settings.embed, context.settings.store)
    job = Job(context, choice, Windows(), Place(f"{context.workspace.url}/shards"), 1)
    units = [Unit(f"/music/{number}.flac", f"/music/{number}.flac", f"{number:064}") for number in range(250)]
    return embed.build(pipeline, job, items(units, {unit.key for unit in units}, {}, 100, ""))


JOBS: dict[str, tuple[Build, tuple[str, ...], tuple[str, ...]]] = {
    "baseline": (
        build_baseline,
        ("Inventory/Read", "CountHistory/Count", "Freeze/Group", "Freeze/Write"),
        ("Ranges",),  # small historical shards are read together
    ),
    "plan": (build_plan, ("IndexResults/Index", "Affected/Group", "Affected/Find"), ("LiveShards", "Ranges")),
    "repair": (build_repair, ("Rebuild/Spread", "Rebuild/Video"), ("Items",)),
    "validate": (build_validate, ("Validate/Spread", "Validate/Judge"), ("Items",)),
    "validate --export-work": (build_export_work, ("Describe/Spread", "Describe/Video"), ("Items",)),
    "validate --from": (build_take, ("ReadGiven/Read", "Take/Group", "Take/Check"), ("Given", "Items")),
    "merge": (
        build_merge,
        ("Drift/Check", "Index/Spread", "Index/Index", "Replace/Group", "Replace/Decide"),
        ("Shards",),
    ),
    "embed": (build_embed, ("Embed/Spread", "Embed/Infer", "Embed/Publish"), ("Items",)),
    "verify": (
        build_verify,
        ("IndexResults/Index", "Cover/Group", "Cover/Place"),
        ("LiveShards", "Ranges"),
    ),
}


@pytest.fixture(scope="module")
def context(recovered: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Context:
    settings = resolve(
        str(recovered.folder / "resplice.toml"), [f"corpus.workspace={recovered.workspace}"], {}
    ).settings
    scratch = str(tmp_path_factory.mktemp("scratch"))
    return Context(Run("r", str(recovered.workspace), "test", ""), replace(settings), scratch)


@pytest.mark.parametrize("job", JOBS)
def test_a_job_has_its_named_steps_and_spreads_its_work_over_elements(job: str, context: Context) -> None:
    build, steps, sources = JOBS[job]
    graph = graph_of(build, context)
    assert set(steps) <= graph.labels
    assert all(graph.created[source] > 1 for source in sources), graph.created
