"""Rows of results as parquet: which type a measure of an engine of others has, and what comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_again import row

from resplice.io import results
from resplice.io.local import LocalStore

KINDS = [
    ([0, 1, None], pa.float64()),
    ([0, 0.5], pa.float64()),
    ([True, None], pa.bool_()),
    ([True, 1], pa.string()),
    ([48000, "n/a"], pa.string()),
    ([2**53 + 1, 1], pa.int64()),
    ([2**53 + 1, 0.5], pa.string()),
]


@pytest.mark.parametrize(("values", "kind"), KINDS)
def test_a_measure_is_one_kind_of_value_and_comes_back_as_what_it_was(
    tmp_path: Path, values: list[Any], kind: pa.DataType
) -> None:
    rows = [row("v", number, measured=value) for number, value in enumerate(values)]
    made = [{name: value for name, value in one.items() if value is not None or name in results.BASE} for one in rows]
    (tmp_path / "x.parquet").write_bytes(results.encode(made, "int64", {}))
    assert pq.read_schema(tmp_path / "x.parquet").field("measured").type == kind
    back = results.read(LocalStore(str(tmp_path)), "x.parquet")
    assert all(map(results.same, back, made))
    assert not results.same(back[0], {**made[0], "measured": 7}) and not results.same(back[0], row("v", 0))
