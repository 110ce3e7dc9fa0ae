"""The shape of a sidecar: what of it has the wrong type, and which files and folders it describes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "schema": str, "run_id": str, "started_at": str, "process_started_at": str, "elapsed_s": (int, float),
    "stats": dict, "refused": list, "code": dict, "tools": dict, "environment": dict, "settings": dict,
}  # fmt: skip
_RUN: Mapping[str, type | tuple[type, ...]] = {"argv": list, "args": dict, "inputs": dict, "outputs": dict}
_DESCRIBED: Mapping[str, type | tuple[type, ...]] = {
    "exists": bool, "kind": str, "sha256": str, "bytes": int, "files": int, "tree_sha256": str, "without": list,
}  # fmt: skip


def entries(value: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, description) of every file and folder that a part of a sidecar describes, at any depth."""
    if isinstance(value, dict):
        if isinstance(value.get("path"), str) and "exists" in value:
            yield name, value
            return
        for key, part in value.items():
            yield from entries(part, f"{name}.{key}")
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from entries(part, f"{name}[{number}]")


def flaw(value: Any) -> str:
    """Return what makes a value no sidecar; "" if it is one."""
    run = value.get("run_provenance") if isinstance(value, dict) else None
    if not isinstance(run, dict) or not all(isinstance(run.get(side), dict) for side in ("inputs", "outputs")):
        return "it has no run_provenance with inputs and outputs"
    wrong = [*_wrong(value, _FIELDS, ""), *_wrong(run, _RUN, "run_provenance.")]
    wrong += _wrong(value.get("environment"), {"cwd": str}, "environment.")
    for side in ("entrypoint", "inputs", "outputs"):
        for name, said in entries(run.get(side), side):
            wrong += _wrong(said, _DESCRIBED, f"{name}.")
            wrong += [f"{name}.without"] * (not _texts(said.get("without", [])))
    wrong += ["run_provenance.argv"] * (not _texts(run.get("argv", [])))
    wrong += [name for name in ("started_at", "process_started_at") if not _moment(value.get(name))]
    return f"{wrong[0]} is not of the type that it must have" if wrong else ""


def _wrong(value: Any, types: Mapping[str, type | tuple[type, ...]], where: str) -> list[str]:
    """Return the names of fields that are there and of another type."""
    there = value if isinstance(value, dict) else {}
    return [where + name for name, type_ in types.items() if name in there and not isinstance(there[name], type_)]


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _moment(value: Any) -> bool:
    try:
        return not value or bool(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        return False
