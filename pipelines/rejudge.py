"""Judge again from stored measures: `validate --rejudge` and `validate --sweep THRESHOLD=FROM:TO:STEP`.

No audio is read: what the engines measured stands in the shards of the run, and only the thresholds are new. `merge`
publishes the verdicts as a new snapshot.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from resplice.io import engines as installed
from resplice.io import rejudging, shards, sidecars
from resplice.io.context import Context
from resplice.io.engines import ChainSpec
from resplice.io.judging import refused_in
from resplice.io.progress import by_marks, marked
from resplice.io.store import mapped
from resplice.io.work import Item, listed, planned_ids
from resplice.pipelines import checks, launch, validate
from resplice.pipelines.keys import nearest
from resplice.pipelines.launch import Session
from resplice.pipelines.show import table
from resplice.transforms.again import Chain
from resplice.transforms.again_columns import Shard, judged
from resplice.transforms.kinds import KINDS
from resplice.transforms.records import Exit, UserError

MOST_VALUES = 1000
_DIGITS = 10  # of a step that count: 0.1 + 0.1 + 0.1 is 0.3


@launch.stage("validate")
def rejudge(session: Session) -> None:
    """Decide the judged videos of the run again, by the thresholds in force."""
    context = session.context
    todo = validate.open_items(session)
    found = rejudging.finished(context, todo)
    stored = {name: version for sidecar in found.values() for name, version in sidecar["engine_versions"].items()}
    skipped = [name for name in context.settings.validate.engines if name in KINDS and installed.absent(name)]
    chain, left = rejudging.chain_again(context.settings.validate, stored, skipped)
    validate.tell_skipped(session, left)
    for sidecar in found.values():
        rejudging.check_measures(chain, sidecar)
    measured = {line for sidecar in found.values() for line in sidecar["engine_versions"].items()}
    for note in rejudging.other_models(chain, measured):
        session.say(f"validate: {note}")
    unmeasured = ChainSpec(tuple(engine for engine in chain.engines if engine[0] not in stored))
    versions = validate.versions_of(session, unmeasured) if unmeasured.engines else {}
    judged_ = [item for item in todo if item.name in found]
    with session.progress(by_marks(context, "validate", len(judged_))), session.pipeline() as pipeline:
        build(pipeline, context, judged_, chain, versions)
    validate.finish(session, todo)


def build(pipeline: Any, context: Context, todo: Sequence[Item], chain: ChainSpec, versions: Mapping[str, str]) -> Any:
    """Compose the pipeline: every shard is decided on its own."""
    from resplice.transforms.steps import Work, source

    items_ = listed(context, "validate", todo)
    again = marked(context, "validate", "item", items_.lines.each(rejudging.Rejudge(context, chain, versions)))
    return pipeline | "Items" >> source(items_.spans) | "Rejudge" >> Work(again, "Decide")


def sweep(context: Context, asked: str) -> int:
    """Print how many segments of the run each value of a threshold would fail, the others as they are in force."""
    checks.before(context, "validate")
    store, folder = context.workspace.store, f"{context.stage('validate')}/shards/"
    there = {head.key for head in store.list(folder)}
    keys = sorted(key for key in there if key + sidecars.SUFFIX in there)
    if not keys:
        raise UserError(f"--sweep: run {context.run.id!r} has no results yet: first run `resplice validate`")
    given = context.settings.validate
    spec, _ = rejudging.chain_again(given, {}, [])
    for sidecar in mapped(store, lambda key: sidecars.load(store, key), keys):
        if sidecar and "chain" in sidecar:
            rejudging.check_measures(spec, sidecar)
    chain = rejudging.deciders(spec)
    engine, setting, values = _asked(asked, chain)
    counts, measure, measured, rows_ = [[0, 0, 0, 0] for _ in values], _measure(setting), 0, 0
    videos: set[str] = set()
    for shard in mapped(store, lambda key: Shard(shards.open_file(store, key).read()), keys):
        rows_ += shard.count
        measured += int(np.isfinite(shard.floats(measure)).sum())
        videos.update(shard.table.column("video_id").unique().to_pylist())
        for number, value in enumerate(values):
            _count(counts[number], shard, _with(chain, engine, setting, value), setting)
    if not measured:
        raise UserError(
            f"--sweep: no segment of this run was measured by {engine}: run `resplice validate --run-id "
            f"{context.run.id}` with it first"
        )
    _tell_missing(context, videos)
    now = dict(chain)[engine].thresholds[setting]
    print(f"[validate.{engine}] {setting}, in force {now:g}: segments of run {context.run.id} by value")
    if measured < rows_:
        print(f"{measured:,} of {rows_:,} segments have {measure}")
    rows = [(f"{value:.10g}", *map(str, numbers)) for value, numbers in zip(values, counts, strict=True)]
    table((setting, "failed", "for this reason", "passed", "error"), rows)
    return Exit.DONE


def _tell_missing(context: Context, videos: Collection[str]) -> None:
    """Say how many videos have no results yet, of those that nothing refused."""
    wanted = set(planned_ids(context)).difference(refused_in(context, "repair", "validate"))
    if missing := len(wanted.difference(videos)):
        print(f"{missing:,} of {len(wanted):,} videos of this run are not judged yet")


def _count(counts: list[int], shard: Shard, chain: Chain, setting: str) -> None:
    verdicts = judged(shard, chain)
    reason = _reason(setting)
    column = verdicts.held[:, verdicts.reasons.index(reason)]
    found = (verdicts.failed, column & verdicts.failed, verdicts.status == 0, verdicts.status == 2)
    for number, rows in enumerate(found):
        counts[number] += int(rows.sum())


def _reason(setting: str) -> str:
    rules = [rule for kind in KINDS.values() for rule in kind.rules]
    return next((rule.reason for rule in rules if rule.setting == setting), "duration_outlier")


def _measure(setting: str) -> str:
    """Return what a threshold is compared with; that of whole videos looks at the lengths of all."""
    rules = [rule for kind in KINDS.values() for rule in kind.rules]
    return next((rule.measure for rule in rules if rule.setting == setting), "duration_s")


def _with(chain: Chain, engine: str, setting: str, value: float) -> Chain:
    return [
        (name, replace(decider, thresholds={**decider.thresholds, setting: value}) if name == engine else decider)
        for name, decider in chain
    ]


def _asked(text: str, chain: Chain) -> tuple[str, str, list[float]]:
    """Return the engine, the threshold and the values of `[ENGINE.]THRESHOLD=FROM:TO:STEP`."""
    name, _, span = text.partition("=")
    engine, _, setting = name.removeprefix("validate.").rpartition(".")
    known = {(of, key): of for of, decider in chain for key in decider.thresholds}
    found = next((of for of, key in known if key == setting and engine in ("", of)), None)
    if found is None:
        listed_ = [f"{of}.{key}" for of, key in known]
        raise UserError(
            f"--sweep {name}: no threshold of {', '.join(of for of, _ in chain)}; the nearest is "
            f"{nearest(name, [*listed_, *(key for _, key in known)])}"
        )
    return found, setting, _values(text, span)


def _values(text: str, span: str) -> list[float]:
    try:
        low, high, step = map(float, span.split(":"))
    except ValueError:
        raise UserError(f"--sweep {text}: give THRESHOLD=FROM:TO:STEP, three numbers, e.g. rate_low=1:10:1") from None
    if not (0 < step < math.inf and low <= high and math.isfinite(high - low)):
        raise UserError(f"--sweep {text}: FROM is at most TO, and STEP above 0 and finite")
    steps = (high - low) / step + 1e-9
    if steps >= MOST_VALUES:
        raise UserError(f"--sweep {text}: {steps + 1:.0f} values, {MOST_VALUES} are allowed: give a larger STEP")
    places = _DIGITS - math.floor(math.log10(step))
    return [round(low + number * step, places) for number in range(math.floor(steps) + 1)]
