"""The benchmark of repair runs, and notices when a side did not do the work."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
def test_it_prints_its_ratios_and_that_both_sides_made_the_same_pcm() -> None:
    command = [sys.executable, str(BENCHMARKS / "repair.py"), "--quick"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert re.search(r"both sides made the same PCM of [1-9]\d* segments", said), said
    assert re.findall(r"resplice has \d+\.\d\d of the speed of the (rival|limit)", said) == ["rival", "limit"], said


def test_a_side_that_skips_or_changes_a_segment_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    repair = importlib.import_module("repair")
    _, truth = repair.build(tmp_path, hours=0.0, different=2)
    repair.time_rival(tmp_path, tmp_path / "rival")
    shutil.copytree(tmp_path / "rival", tmp_path / "resplice")
    repair.check(tmp_path, truth)
    first = next(iter(truth))
    with pytest.raises(SystemExit, match=f"resplice: 1 of {len(truth)} segments"):
        repair.check(tmp_path, {**truth, first: "0" * 32})
    next((tmp_path / "rival").iterdir()).unlink()
    with pytest.raises(SystemExit, match="rival: "):
        repair.check(tmp_path, truth)


def test_the_rival_has_at_most_80_lines() -> None:
    assert len((BENCHMARKS / "rival_repair.py").read_text("utf-8").splitlines()) <= 80
