"""The shape of a sidecar: what of it has the wrong type, and which files and folders it describes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "schema": str, "run_id": str, "started_at": str, "process_started_at": str, "elapsed_s": (int, float),
    "stats": dict, "refused": list, "failed_extractors": list, "code": dict, "tools": dict, "environment": dict,
    "settings": dict,
}  # fmt: skip
_RUN: Mapping[str, type | tuple[type, ...]] = {"argv": list, "args": dict, "inputs": dict, "outputs": dict}
_DESCRIBED: Mapping[str, type | tuple[type, ...]] = {
    "exists": bool, "kind": str, "sha256": str, "bytes": int, "files": int, "tree_sha256": str, "without": list,
}  # fmt: skip
_LINES = ("refused", "failed_extractors")
_LINE: Mapping[str, type | tuple[type, ...]] = {"unit": str, "reason": str}


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
    for name in _LINES:
        for at, line in enumerate(_listed(value.get(name))):
            wrong += _wrong(line, _LINE, f"{name}[{at}].") if isinstance(line, dict) else [f"{name}[{at}]"]
    wrong += ["features_unavailable"] * (not _texts(value.get("features_unavailable", [])))
    wrong += [name for name in ("started_at", "process_started_at") if not _moment(value.get(name))]
    began = value.get("process_started_at") or value.get("started_at")
    wrong += ["elapsed_s"] * (not _moment(began, value.get("elapsed_s") or 0))
    return f"{wrong[0]} is not of the type that it must have" if wrong else ""


def _wrong(value: Any, types: Mapping[str, type | tuple[type, ...]], where: str) -> list[str]:
    """Return the names of fields that are there and of another type."""
    there = value if isinstance(value, dict) else {}
    return [where + name for name, type_ in types.items() if name in there and not isinstance(there[name], type_)]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _moment(value: Any, later_s: float = 0) -> bool:
    """Return whether a value, if there is one, is a moment, and so is what comes some seconds after it."""
    try:
        return not value or bool(datetime.fromisoformat(value) + timedelta(seconds=later_s))
    except (TypeError, ValueError, OverflowError):
        return False
