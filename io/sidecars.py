"""The evidence beside an artifact: `<artifact>.manifest.json`, written last; an artifact without it is unfinished.

A job describes what it read and what it made, and writes the rest with one call:

    content = sidecars.content(context, "library", stats={"entries": 3}, refused=lines, dims=144,
                               inputs={"music": sidecars.described_folder(root, Memory(context.workspace, str(root)))},
                               outputs={"library": sidecars.described_file(path)})
    sidecars.write(place.store, key, content)       # beside an object of a store; or sidecars.write_to(path, content)

`described` and `known` tell of an object of a store, `described_file` and `described_folder` of local ones; a list of
them is a line for each shard of an artifact of many. `resplice.io.remembered` spares hashing what has not changed.
Keywords of `content` are further fields; `schema=` and `tools=` take the place of the usual ones. `manifest verify`
hashes what is described at any depth of `inputs` and `outputs`; other values are left as they are.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from resplice.io import documents
from resplice.io.context import Context
from resplice.io.local import LocalStore
from resplice.io.store import Place, Store, sha256_of
from resplice.io.trees import described_folder as described_folder
from resplice.io.trees import file_digest as file_digest
from resplice.transforms import provenance
from resplice.transforms.records import Damage
from resplice.transforms.sidecar import entries, flaw

SUFFIX = ".manifest.json"
_SCHEMA = "resplice-{kind}-manifest-v1"
_OF_TESTS = re.compile(r"extra == .(?:dev|bench)\b")
_CHUNK = 1 << 20
_STARTED = time.monotonic()


def described(place: Place, key: str, sha256: str | None = None) -> dict[str, Any]:
    """Return what a sidecar says of one object; its digest is taken now unless it is known."""
    try:
        if sha256 is None:
            with contextlib.closing(place.store.open(key)) as blob:
                return known(place, key, sha256_of(blob, 0, blob.size), blob.size)
        if head := place.store.head(key):
            return known(place, key, sha256, head.size)
    except FileNotFoundError:
        pass
    return {"path": place.path(key), "exists": False, "kind": "missing"}


def known(place: Place, key: str, sha256: str, size: int) -> dict[str, Any]:
    """Return what a sidecar says of an object that was just read or written."""
    return {"path": place.path(key), "exists": True, "kind": "file", "sha256": sha256, "bytes": size}


def described_file(path: Path) -> dict[str, Any]:
    """Return what a sidecar says of a local file, which is there."""
    return known(Place(str(path.parent)), path.name, file_digest(path), path.stat().st_size)


def digest(store: Store, key: str) -> str:
    """Return the SHA-256 of an object, read in blocks."""
    with contextlib.closing(store.open(key)) as blob:
        return sha256_of(blob, 0, blob.size)


def hashed(store: Store, key: str, file: IO[bytes] | None = None) -> tuple[str, str]:
    """Read one version of an object in blocks, on the way copying it to `file`, if one is given; return its SHA-256
    and token.
    """
    with contextlib.closing(store.open(key)) as blob:
        sha = hashlib.sha256()
        for offset in range(0, blob.size, _CHUNK):
            chunk = blob.read_at(offset, _CHUNK)
            sha.update(chunk)
            if file:
                file.write(chunk)
        if file:
            file.flush()
        return sha.hexdigest(), blob.token


def content(
    context: Context, kind: str, *, stats: Mapping[str, Any], inputs: Mapping[str, Any], outputs: Mapping[str, Any],
    refused: list[dict[str, Any]] | None = None, **fields: Any,
) -> dict[str, Any]:  # fmt: skip
    """Return the content of a sidecar; `inputs` and `outputs` map names to what `described` returned, or to values."""
    run = context.run
    return {
        "schema": _SCHEMA.format(kind=kind),
        "stats": dict(stats),
        "refused": refused or [],
        "run_provenance": {
            "schema": "ai-run-provenance-v1",
            "entrypoint": entrypoint(run.entrypoint),
            "argv": list(run.argv),
            "args": dict(sorted(run.args)),
            "inputs": dict(inputs),
            "outputs": dict(outputs),
        },
        "code": code(),
        "tools": tools(),
        "environment": {**environment(), "cwd": run.cwd},
        "settings": json.loads(run.given),
        "settings_sha256": run.settings,
        "run_id": run.id,
        "started_at": run.started_at,
        "process_started_at": run.process_started_at,
        "elapsed_s": _since(run.process_started_at),
        **fields,
    }


def _since(moment: str) -> float:
    """Return the seconds since the process of a run began, wherever a worker of it writes."""
    if not moment:
        return elapsed_s()
    return max(0.0, round((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds(), 6))


def elapsed_s() -> float:
    """Return the seconds since this process began."""
    return round(time.monotonic() - _STARTED, 6)


def write(store: Store, artifact: str, sidecar: Mapping[str, Any]) -> None:
    """Write the sidecar of an artifact, last of all. One that a loss of power takes away is written by the next run."""
    data = provenance.document(sidecar)
    if isinstance(store, LocalStore):
        store.replace(artifact + SUFFIX, data, None, False)  # not lasting
    else:
        store.replace(artifact + SUFFIX, data, None)


def write_to(path: Path, sidecar: Mapping[str, Any]) -> None:
    """Write a sidecar to a local file of any name, last of all."""
    LocalStore(str(path.parent)).replace(path.name, provenance.document(sidecar), None)


def read(path: Path) -> dict[str, Any] | None:
    """Return the sidecar in a local file of any name; None if there is none that can be read."""
    try:
        sidecar = documents.parse(path.read_bytes())
        made = () if flaw(sidecar) else sidecar["run_provenance"]["outputs"].values()
        return sidecar if made and all(isinstance(each, dict | list) for each in made) else None
    except (OSError, Damage, RecursionError):
        return None


def renew(store: Store, artifact: str, sidecar: Mapping[str, Any]) -> None:
    """Write the sidecar of an artifact unless one is there that tells the same: the run that made it stays named. One
    that does not read as a sidecar is none.
    """
    try:
        before = documents.parse(store.read(artifact + SUFFIX))
    except (FileNotFoundError, Damage):
        before = None
    if flaw(before) or told(before) != told(sidecar):
        write(store, artifact, sidecar)


def told(sidecar: Mapping[str, Any]) -> list[Any]:
    """Return what a sidecar is written again for when it is another."""
    run = sidecar["run_provenance"]
    return [sidecar.get("settings_sha256"), run["inputs"], run["outputs"]]


def exists(store: Store, artifact: str) -> bool:
    """Return whether an artifact is finished."""
    return store.head(artifact + SUFFIX) is not None


def vouches(store: Store, artifact: str, *sha256: str) -> bool:
    """Return whether the sidecar of an artifact is there and names outputs of these digests.

    A process that died between an artifact and its sidecar leaves the sidecar of the former bytes.
    """
    sidecar = load(store, artifact)
    return (
        sidecar is not None
        and not flaw(sidecar)
        and set(sha256) <= {said.get("sha256") for _, said in entries(sidecar["run_provenance"]["outputs"], "outputs")}
    )


def load(store: Store, artifact: str) -> dict[str, Any] | None:
    """Return the sidecar of an artifact, None without one."""
    try:
        return documents.load(store, artifact + SUFFIX)  # type: ignore[no-any-return]
    except FileNotFoundError:
        return None


@functools.cache
def entrypoint(path: str) -> dict[str, Any]:
    """Return the description of the file that a process was started by."""
    file = Path(path)
    if not file.is_file():
        return {"path": path, "exists": False, "kind": "missing"}
    return {"path": path, "exists": True, "kind": "file", "sha256": file_digest(file), "bytes": file.stat().st_size}


@functools.cache
def code() -> dict[str, Any]:
    """Return the code's version, and its commit and whether it was changed where it runs from a checkout."""
    folder = Path(__file__).parent
    commit = _git(folder, "rev-parse", "HEAD")
    tracked = _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)
    if commit is None or tracked is None:
        return {"version": provenance.VERSION, "git_commit": None, "dirty": None}
    return {"version": provenance.VERSION, "git_commit": commit, "dirty": bool(_git(folder, "status", "--porcelain"))}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@functools.cache
def tools() -> dict[str, str]:
    """Return the versions of the native libraries that decide what bytes come out."""
    import pyarrow
    import soundfile

    return {"libsndfile": soundfile.__libsndfile_version__, "arrow": pyarrow.cpp_version}


@functools.cache
def environment() -> dict[str, Any]:
    """Return the Python, the platform, and the versions of the packages that resplice and its extras need, of those
    that are installed.
    """
    lines = [line for line in importlib.metadata.requires("resplice") or () if not _OF_TESTS.search(line)]
    needed = {re.split(r"[^\w.-]", line, maxsplit=1)[0].lower() for line in lines}
    packages: dict[str, str] = {}
    for name in sorted(needed):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            packages[name] = importlib.metadata.version(name)
    return {"python": sys.version.split()[0], "platform": platform.platform(), "packages": packages}
