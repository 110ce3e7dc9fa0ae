"""What an earlier process measured: the rows of a shard, and the engines and settings whose measures these have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from resplice.io import results, sidecars
from resplice.io.engines import ChainSpec, Frozen
from resplice.io.store import Store
from resplice.transforms.kinds import KINDS


@dataclass(frozen=True)
class Stored:
    """The rows of a shard by video, the engines that measured them, and the version of each."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    measured: ChainSpec = field(default_factory=lambda: ChainSpec(()))
    versions: Mapping[str, str] = field(default_factory=dict)


def load(store: Store, key: str) -> Stored:
    """Return what a shard holds, nothing if it is not finished or not what it was."""
    sidecar = sidecars.load(store, key)
    if sidecar is None or store.head(key) is None:
        return Stored()
    if sidecar["run_provenance"]["outputs"]["shard"]["sha256"] != sidecars.digest(store, key):
        return Stored()
    found: dict[str, list[dict[str, Any]]] = {}
    for row in results.read(store, key):
        found.setdefault(row["video_id"], []).append(row)
    return Stored(found, measured_by(sidecar), sidecar.get("engine_versions", {}))


def measured_by(sidecar: Mapping[str, Any]) -> ChainSpec:
    """Return the engines whose measures a shard has, with their settings; judging again measured nothing. One that
    other rows were measured by with other settings is there twice.
    """
    chain: Any = sidecar.get("measured") or sidecar.get("chain") or {"engines": []}
    return ChainSpec(tuple((name, tuple((key, value) for key, value in given)) for name, given in chain["engines"]))


def carried(kept: Iterable[Stored], chain: ChainSpec, rows: Iterable[Mapping[str, Any]]) -> ChainSpec:
    """Return the engines of kept rows that measured otherwise than a chain does, as far as rows have their measures."""
    there = {version.partition(" ")[0] for row in rows for version in row["engine_versions"] or ()}
    known, found = [measuring(engine) for engine in chain.engines], []
    for engine in (engine for stored in kept for engine in stored.measured.engines if engine[0] in there):
        if measuring(engine) not in known:
            known.append(measuring(engine))
            found.append(engine)
    return ChainSpec(tuple(found))


def measuring(engine: tuple[str, Frozen]) -> tuple[str, dict[str, Any]]:
    """Return an engine with the settings that change what it measures: of one of others, all of them may."""
    name, given = engine[0], dict(engine[1])
    if name not in KINDS:
        return name, given
    return name, {key: given.get(key, default) for key, default in KINDS[name].measuring.items()}
