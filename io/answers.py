"""The answer of an engine, checked: what a shard cannot hold is an error of that engine alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from resplice.io.measuring import Answer
from resplice.transforms.kinds import KINDS
from resplice.transforms.signal import MEASURES, WHOLE

STATUSES = ("passed", "failed", "error", "unsure")
COLUMNS = (  # of a validate shard: no measure may take their place
    *("video_id", "segment_file", "db_segment_file", "row_id", "split_index"),
    *("status", "reasons", "engine", "attempts", "run_id", "detail", "engine_versions"),
)
_WHOLE_TO = 1 << 53
"""Numbers are stored as float64, which tells whole ones apart up to here."""
OURS = {**dict.fromkeys(MEASURES, float), **{rule.measure: float for kind in KINDS.values() for rule in kind.rules},
         **dict.fromkeys(WHOLE, int), "pcm_md5": str}  # fmt: skip
"""The measures of this package, each with the type of its values."""
_EXPECTED = {float: "a number", int: "a whole number", str: "a string"}


def checked(answer: Any) -> Answer:
    """Return an engine's answer with numpy scalars as Python's, or raise ValueError if it is malformed."""
    status, reasons, measures = answer
    if status not in STATUSES:
        raise ValueError(f"status {status!r}; known are {', '.join(STATUSES)}")
    if isinstance(reasons, str) or not all(isinstance(reason, str) for reason in reasons):
        raise ValueError(f"reasons {reasons!r}; a list of strings is expected")
    "".join(reasons).encode()  # what UTF-8 cannot hold, no shard can
    plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in measures.items()}
    for key, value in plain.items():
        _check_measure(key, value)
    return str(status), list(reasons), plain


def _check_measure(key: Any, value: Any) -> None:
    if not isinstance(key, str) or key in COLUMNS:
        raise ValueError(f"measure {key!r}: a name is a string, and none of {', '.join(COLUMNS)}")
    if not isinstance(value, int | float | str | None):
        raise ValueError(f"measure {key} is a {type(value).__name__}; int, float, str, bool or None is expected")
    if value is not None and not _fits(value, OURS.get(key)):
        raise ValueError(f"measure {key} is {value!r}; {_EXPECTED[OURS[key]]} is expected, as resplice measures it")
    if isinstance(value, str):
        value.encode()
    elif value is not None and not (math.isfinite(value) and (isinstance(value, float) or abs(value) <= _WHOLE_TO)):
        raise ValueError(f"measure {key} is {value}; finite numbers, and integers up to 2**53, are expected")


def _fits(value: Any, kind: type | None) -> bool:
    """Return whether a value is of the kind that a measure of ours has."""
    if kind is None:
        return True
    return isinstance(value, int | float if kind is float else kind) and not isinstance(value, bool)


def described(error: BaseException) -> str:
    """Return an error with its kind, on one line."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
