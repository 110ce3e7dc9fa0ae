"""The benchmarks of merge and of scale run at their smallest size, and both sides of merge end with the same rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(*arguments: str) -> str:
    """Run a benchmark and return what it printed; it ends with 1 if a target was missed, which no small size judges."""
    done = subprocess.run([sys.executable, *arguments], cwd=BENCHMARKS, capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.slow
def test_merge_and_its_rival_end_with_the_same_rows() -> None:
    said = run("merge.py", "--rows", "4000", "--shards", "2", "--repeat", "1")
    assert said.count("the same 4000 rows") == 2
    assert said.count("written at most") == 2


@pytest.mark.slow
def test_scale_tells_the_growth_of_every_stage() -> None:
    said = run("scale.py", "--rows", "100", "200", "300", "--affected", "1", "--repeat", "1")
    assert all(f"{stage} grows at most" in said for stage in ("repair", "validate", "merge"))
    assert all(f"{stage} at most" in said for stage in ("plan", "verify"))


@pytest.mark.slow
def test_the_simulation_finds_what_it_planted_at_every_size() -> None:
    said = run("simulate.py", "--videos", "300", "600")
    assert said.count("planned") == 2
    assert all(f"  {stage}" in said for stage in ("baseline", "plan", "merge", "verify", "sum"))
    assert "growth from 300 to 600 videos" in said and "videos in less than 900 s" in said
