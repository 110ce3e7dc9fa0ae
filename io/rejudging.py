"""Decide the shards of a run again from their stored measures: thresholds change, no audio is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from resplice.io import ledger, refusals, shards, sidecars
from resplice.io.context import Context
from resplice.io.costs import skipping
from resplice.io.engines import ChainSpec, asked_of, check_end, unusable
from resplice.io.judging import Prints, shard_key
from resplice.io.ledger import Entry
from resplice.io.measured import measured_by, measuring
from resplice.io.models import digest, of_version
from resplice.io.store import Store, mapped
from resplice.io.work import Item
from resplice.transforms import provenance
from resplice.transforms.again import Chain
from resplice.transforms.again_columns import Shard, judged, written
from resplice.transforms.kinds import KINDS
from resplice.transforms.records import UserError
from resplice.transforms.settings import Validate

Sidecar = dict[str, Any]


def chain_again(validate: Validate, stored: Mapping[str, str], skipped: Sequence[str]) -> tuple[ChainSpec, list[str]]:
    """Return the chain that decides again, and the engines left out: not installed, and without stored measures.

    `stored` are the engines (with versions) that measured, `skipped` those that are not installed. UserError for an
    engine of others, whose decisions resplice does not know, for a wrong setting, and for a chain that decides nothing.
    """
    if foreign := [name for name in validate.engines if name not in KINDS]:
        raise UserError(
            f"engine {foreign[0]} decides by itself, so that stored measures cannot be judged again (known are "
            f"{', '.join(KINDS)}): leave it out of [validate] engines, or judge anew by `resplice validate`"
        )
    check_end(validate)
    spec = asked_of(validate, [name for name in validate.engines if name in stored or name not in skipped])
    if not spec.engines:
        raise unusable(validate.engines)
    for name, settings in spec.engines:
        KINDS[name].check(dict(settings))
    return spec, [name for name in skipped if name not in stored]


def deciders(spec: ChainSpec) -> Chain:
    """Return what decides in each engine of a chain."""
    return [(name, KINDS[name].decider(dict(settings))) for name, settings in spec.engines]


def finished(context: Context, todo: Sequence[Item]) -> dict[str, Sidecar]:
    """Return the sidecars of the shards that the ledger of a run knows, by item.

    UserError if there is none, one that is not what its sidecar says, or a video without an entry: `validate` comes
    first.
    """
    known = [item for item in todo if any(entry and entry.outcome == "done" for entry in item.before)]
    command = f"first run `resplice validate --run-id {context.run.id}`"
    if not known:
        raise UserError(f"--rejudge: no engine has judged a video of run {context.run.id!r} here: {command}")
    missing, count = sum(entry is None for item in todo for entry in item.before), sum(len(i.videos) for i in todo)
    if missing:
        raise UserError(f"--rejudge: {missing} of {count} videos are not judged yet: {command}")
    store = context.workspace.store
    found = {}
    for item, sidecar in zip(known, mapped(store, lambda item: _sidecar(store, shard_key(context, item)), known),
                             strict=True):  # fmt: skip
        if sidecar is None or "chain" not in sidecar:
            raise UserError(
                f"--rejudge: {shard_key(context, item)} is not finished, or not judged by engines: {command}"
            )
        found[item.name] = sidecar
    return found


def _sidecar(store: Store, key: str) -> Sidecar | None:
    sidecar = sidecars.load(store, key)
    if sidecar is None or store.head(key) is None:
        return None
    said = {output.get("sha256") for output in sidecar["run_provenance"]["outputs"].values()}
    return sidecar if sidecars.digest(store, key) in said else None


def check_measures(spec: ChainSpec, sidecar: Sidecar) -> None:
    """Raise UserError if a setting that changes what is measured is not the one that a shard was measured with."""
    wanted = dict(map(measuring, spec.engines))
    for name, before in map(measuring, measured_by(sidecar).engines):
        for key, now in wanted.get(name, {}).items():
            if now != before[key]:
                raise UserError(
                    f"[validate.{name}] {key} = {now!r} changes what is measured; the stored measures were made with "
                    f"{before[key]!r}: set that, or judge anew by `resplice validate`"
                )


def other_models(spec: ChainSpec, stored: Iterable[tuple[str, str]]) -> list[str]:
    """Return notes on the models that are not where the settings say, so that only stored measures tell of them.

    `stored` are engines with the versions that measured. UserError if a model that is there is not the one of these.
    """
    notes = []
    given = {name: dict(settings).get("model", "") for name, settings in spec.engines}
    known = {(name, then) for name, version in stored if given.get(name) is not None and (then := of_version(version))}
    for name, then in sorted(known):
        folder = Path(given[name])
        if not given[name] or not folder.is_dir():
            notes.append(
                f"[validate.{name}] model = {given[name]!r} is not there: the stored measures of {then} decide"
            )
        elif (now := digest(folder)) != then:
            raise UserError(
                f"[validate.{name}] model = {given[name]!r} is model {now}; the stored measures were made with {then}: "
                "set that, or judge anew by `resplice validate`"
            )
    return notes


class Rejudge:
    """Decide a work item again: item → one entry a video, after the item's shard and sidecar are durable.

    `versions` are those of the engines that measured nothing yet; the others have the version that measured.
    """

    def __init__(self, context: Context, chain: ChainSpec, versions: Mapping[str, str]) -> None:
        self._context = context
        self._stage = context.stage("validate")
        self._chain = chain
        self._versions = dict(versions)

    def __call__(self, item: Item) -> Iterator[Entry]:
        """Decide every segment of the item that has a result."""
        store, key = self._context.workspace.store, shard_key(self._context, item)
        sidecar = _sidecar(store, key)
        if sidecar is None:
            return
        shard = Shard(shards.open_file(store, key).read())
        table = _uniform(written(shard, judged(shard, deciders(self._chain))))
        versions = {**self._versions, **sidecar["engine_versions"]}
        statuses = _statuses(table)
        chosen = {name: versions.get(name, "") for name in self._chain.names}
        prints = Prints(self._context, self._chain, chosen)
        entries = [self._entry(item, number, prints, statuses) for number in range(len(item.videos))]
        data = shards.encode(table, self._context.run.metadata())
        self._publish(key, data, self._described(statuses, sidecar, versions))
        there = [entry for entry in entries if entry]
        ledger.save(store, self._stage, item.name, there)
        yield from there

    def _entry(self, item: Item, number: int, prints: Prints, statuses: Mapping[str, Counter[str]]) -> Entry | None:
        """Return the entry of a video under the new chain: `validate` with the same settings has nothing to do."""
        video, before = item.videos[number], item.before[number]
        if before is None or before.outcome != "done":
            return before
        print_ = prints.of(before.inputs["tar"][1], video)
        counts = {key: value for key, value in before.counts.items() if key not in ("passed", "failed", "error")}
        counts |= statuses.get(video.video_id, Counter())
        counts = skipping(counts, self._context.settings.validate.engines, self._chain.names)
        if (print_, counts) == (before.fingerprint, before.counts):
            return before
        return replace(before, fingerprint=print_, counts=counts, seq=self._context.run.seq, at=provenance.now())

    def _publish(self, key: str, data: bytes, sidecar: Sidecar) -> None:
        """Replace a shard and its sidecar, which names the former bytes, too, while the new ones are on their way.

        So the shard of a process that was killed in between is one that its sidecar knows, and decides again.
        """
        place = self._context.workspace
        new, former = sidecars.known(place, key, provenance.sha256(data), len(data)), sidecars.described(place, key)
        outputs, there = sidecar["run_provenance"]["outputs"], sidecars.load(place.store, key)
        if there and there["run_provenance"]["outputs"] == {"shard": new} and former == new:
            return
        outputs.update(shard=new, former=former)
        place.store.replace(key + sidecars.SUFFIX, provenance.jsonl([sidecar]), None)
        refusals.put(place.store, key, data)
        del outputs["former"]
        sidecars.write(place.store, key, sidecar)

    def _described(
        self, of_videos: Mapping[str, Counter[str]], former: Sidecar, versions: Mapping[str, str]
    ) -> Sidecar:
        made = former["run_provenance"]
        statuses: Counter[str] = sum(of_videos.values(), Counter())
        stats = {**former["stats"], **{status: statuses[status] for status in ("passed", "failed", "error")}}
        return sidecars.content(
            self._context, "validate-shard", stats=stats, inputs=made["inputs"], outputs={}, refused=former["refused"],
            chain=provenance.plain(self._chain), engine_versions=dict(versions),
            measured=former.get("measured", former["chain"]),
        )  # fmt: skip


def _statuses(table: pa.Table) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for row in table.group_by(["video_id", "status"]).aggregate([([], "count_all")]).to_pylist():
        found.setdefault(row["video_id"], Counter())[row["status"]] = row["count_all"]
    return found


def _uniform(table: pa.Table) -> pa.Table:
    """Return a table with the names inside lists that a new one has: a parquet file gives them others."""
    for number, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            column = table.column(number).cast(pa.list_(field.type.value_type))
            table = table.set_column(number, field.name, column)
    return table
