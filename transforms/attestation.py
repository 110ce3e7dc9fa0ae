"""A sidecar as an in-toto Statement, version 1, with a predicate of SLSA Provenance, version 1.

https://github.com/in-toto/attestation (spec/v1/statement.md, resource_descriptor.md) · https://slsa.dev/provenance/v1
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from resplice.transforms import provenance
from resplice.transforms.records import UserError

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
_OURS = "urn:resplice"
TREE = "resplice_tree_sha256"
"""The algorithm of a folder's digest: SHA-256 over `path\\tsize\\tsha256\\n` of each file, by path."""
Described = tuple[str, Mapping[str, Any]]


def statement(sidecar: Mapping[str, Any], inputs: Iterable[Described], outputs: Iterable[Described]) -> dict[str, Any]:
    """Return the statement about the outputs of a sidecar; both sides are (place in the sidecar, description)."""
    if "schema" not in sidecar:
        raise UserError("the sidecar names no schema: it cannot be told what was made")
    subjects = [descriptor(name, said) for name, said in outputs if said.get("exists")]
    if not subjects:
        raise UserError("the sidecar names no output that was there: nothing can be said of it")
    return {
        "_type": STATEMENT,
        "subject": subjects,
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": _definition(sidecar, inputs),
            "runDetails": {"builder": _builder(sidecar), "metadata": _metadata(sidecar)},
        },
    }


def descriptor(name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ResourceDescriptor of a file or a folder."""
    if not said.keys() & {"sha256", "tree_sha256"}:
        raise UserError(f"the sidecar tells no digest of {name} {said['path']}: nothing can be said of it")
    digest = {"sha256": said["sha256"]} if "sha256" in said else {TREE: said["tree_sha256"]}
    rest = {key: said[key] for key in ("kind", "bytes", "files") if key in said}
    return {"name": name, "uri": _uri(said["path"]), "digest": digest, "annotations": rest}


def _uri(path: str) -> str:
    """Return a path as a URI; a relative one is a relative reference."""
    if "://" in path:
        return path
    return Path(path).as_uri() if Path(path).is_absolute() else quote(path)


def _definition(sidecar: Mapping[str, Any], inputs: Iterable[Described]) -> dict[str, Any]:
    run = sidecar["run_provenance"]
    words = run.get("argv", [])
    dependencies = [descriptor(name, said) for name, said in inputs if said.get("exists")]
    if commit := sidecar.get("code", {}).get("git_commit"):
        dependencies.append({"name": "resplice", "digest": {"gitCommit": commit}})
    return {
        "buildType": f"{_OURS}:{sidecar['schema']}",
        "externalParameters": {"argv": list(words), "args": run.get("args", {})},
        "internalParameters": {
            "settings_sha256": sidecar.get("settings_sha256"),
            "environment": sidecar.get("environment", {}),
            "stats": sidecar.get("stats", {}),
            "refused": len(sidecar.get("refused", [])),
        },
        "resolvedDependencies": dependencies,
    }


def _builder(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    code = sidecar.get("code", {})
    versions = {"resplice": str(code.get("version", provenance.VERSION)), **sidecar.get("tools", {})}
    return {"id": f"{_OURS}:command", "version": {name: str(value) for name, value in versions.items()}}


def _metadata(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """Return when and as what it ran; RFC 3339 in UTC."""
    began = sidecar.get("process_started_at") or sidecar.get("started_at") or ""
    if not began:
        return {"invocationId": sidecar.get("run_id", "")}
    ended = datetime.fromisoformat(began) + timedelta(seconds=float(sidecar.get("elapsed_s") or 0))
    finished = ended.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"invocationId": sidecar.get("run_id", ""), "startedOn": began, "finishedOn": finished}
