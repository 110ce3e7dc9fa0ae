"""The benchmark of the engines runs at its smallest size, and says a line of each."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_each_engine_and_a_few_stored_results_are_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    judges = importlib.import_module("judges")
    monkeypatch.setattr(sys, "argv", ["judges.py", "--minutes=0.3", "--rows=2000"])
    assert judges.main() == 0
    first, *engines, last = capsys.readouterr().out.splitlines()
    assert first.startswith("2 segments") and last.startswith("2,000 stored results in 40 shards")
    assert [line.split()[0].strip(",") for line in engines] == ["signal", "loudness", "vad", "snr", "asr", "asr"]
    assert all(" x real time (" in line for line in engines)
