"""The sidecar of a writing of embeddings: `OUT/{number}-{run}.manifest.json`.

A shard has no sidecar of its own: it has its line in that of its writing. Of a file that was embedded the digest is the
one that its vector is of; the tars of videos are hashed here, once for each version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from resplice.io import digests, segments, sidecars, vectors
from resplice.io.digests import Digests
from resplice.io.embedding import Job
from resplice.io.store import Place
from resplice.io.walk import located
from resplice.transforms.embedding import Unit

KIND = "embeddings"


def write(
    job: Job, memory: Digests, embedded: Iterable[Unit], paths_file: str, stats: Mapping[str, Any],
    refused: Mapping[str, int],
) -> None:  # fmt: skip
    """Write the sidecar, if the writing has shards, unless the one that is there tells the same; `embedded` are the
    units that have their rows in it.
    """
    artifact = vectors.folder(job.writing, job.context.run.id)
    heads = sorted(h.key for h in job.out.store.list(f"{artifact}/") if h.key.endswith(".parquet"))
    if not heads:
        return
    inputs: dict[str, Any] = _tars(job, memory, embedded) if job.of_videos else {"files": _files(job, embedded)}
    if paths_file:
        inputs["paths_file"] = sidecars.described_file(Path(paths_file))
    content = sidecars.content(
        job.context, KIND, stats=stats, inputs=inputs,
        outputs={"shards": [_hashed(job.out, key, memory) for key in heads]}, refused_by_reason=dict(refused),
        workspace=job.context.workspace.url,
        embedder={"name": job.choice.name, "digest": job.choice.digest, "windows": str(job.windows)},
    )  # fmt: skip
    sidecars.renew(job.out.store, artifact, content)


def _files(job: Job, embedded: Iterable[Unit]) -> list[dict[str, Any]]:
    found = []
    for unit in sorted(embedded, key=lambda unit: unit.key):
        place, key = located(unit.path, job.context.settings.store)
        said = {"path": place.path(key) if not place.local else unit.path, "exists": True, "kind": "file"}
        found.append({**said, "sha256": unit.sha256} | ({"bytes": unit.size} if place.local else {}))
    return found


def _tars(job: Job, memory: Digests, embedded: Iterable[Unit]) -> dict[str, Any]:
    tars = sorted({unit.path for unit in embedded})
    return {"tars": [_hashed(*segments.tar_at(job.context, tar), memory) for tar in tars]}


def _hashed(place: Place, key: str, memory: Digests) -> dict[str, Any]:
    """Return the description of an object; it is read unless the memory has its digest under its token."""
    path = place.path(key)
    try:
        sha256, token = digests.taken(place.store, key, memory.of(path))
    except FileNotFoundError:
        return sidecars.described(place, key)
    memory.learn(path, token, sha256)
    return sidecars.described(place, key, sha256)
