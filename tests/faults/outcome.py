"""What a bucket holds and what must be the same, whatever happened on the way: everything but clocks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from recovering import OWN_RECORDS, SIDECAR

CLOCKS = {"at", "started_at", "process_started_at", "elapsed_s", "seq"}
"""Fields that tell when, or by which process of a run."""
NOTES = (*OWN_RECORDS, "examined.jsonl", "digests.json", "marks.json")
"""What one process found and did, what it need not read again, and when gc saw an object first."""
OWN = ("/live/", "/probe-", "/outcomes.jsonl")
"""What only the process that wrote it reads: one that was killed leaves it, one that has nothing to do writes none."""
LINES = ("refused.jsonl", "journal.jsonl")
Outcome = dict[str, Any]


def outcome(objects: Mapping[str, bytes]) -> Outcome:
    """Return what must be the same of the objects of a bucket, by their keys."""
    return {key: _told(key, data) for key, data in sorted(objects.items()) if not any(part in key for part in OWN)}


def _told(key: str, data: bytes) -> Any:
    name = key.rpartition("/")[2]
    if name in NOTES:
        return "is there"
    if name.endswith(SIDECAR):
        return _timeless(json.loads(data))
    if "/ledger/" in key or name in LINES:
        return [_timeless(json.loads(line)) for line in data.splitlines()]
    return hashlib.sha256(data).hexdigest()


def _timeless(value: dict[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in value.items() if name not in CLOCKS}


def differences(found: Outcome, expected: Outcome) -> list[str]:
    """Return what is lost, too much, or other than expected."""
    lost = [f"lost: {key}" for key in sorted(expected.keys() - found.keys())]
    more = [f"too much: {key}" for key in sorted(found.keys() - expected.keys())]
    other = [f"other: {key}" for key in sorted(found.keys() & expected.keys()) if found[key] != expected[key]]
    return lost + more + other


def digest(value: Any) -> str:
    """Return the SHA-256 of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
