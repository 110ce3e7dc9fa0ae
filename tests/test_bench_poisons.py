"""Segments that kill their judge cost just themselves, on one and on two workers (what they cost: the benchmark)."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_every_healthy_segment_has_its_result_and_every_poison_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    poisons = importlib.import_module("poisons")
    texts = poisons.texts(segments=60, poisons=8)
    planned = poisons.build(tmp_path / "corpus", texts)
    for workers in (1, 2):
        found = poisons.validate(tmp_path / "corpus", planned, workers, armed=True).results
        assert found == {
            ("passed",): 52,
            ("error", "crashed"): 4,
            ("error", "timeout"): 2,
            ("error", "out_of_memory"): 2,
        }


def test_a_result_that_is_missing_or_wrong_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    poisons = importlib.import_module("poisons")
    texts = ["x", "hang", "exit"]
    without, right = {("passed",): 3}, {("passed",): 1, ("error", "timeout"): 1, ("error", "crashed"): 1}

    def broken(before: dict[tuple[str, ...], int], after: dict[tuple[str, ...], int]) -> list[str]:
        told = (poisons.Measured(1.0, poisons.Counter(results)) for results in (before, after))
        return list(poisons.broken(texts, *told))

    assert broken(without, right) == []
    assert len(broken({("passed",): 2}, right)) == len(broken(without, {**right, ("error", "crashed"): 2})) == 1
    assert len(broken(without, {("passed",): 3})) == 1
