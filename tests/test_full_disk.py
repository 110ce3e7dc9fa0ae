"""A recovery on a disk that is full: it stops cleanly and goes on when there is room (more sizes: the benchmark)."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from recovering import Corpus, demo

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def disk() -> Iterator[Any]:
    """The benchmark, where it can mount a small file system."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        module = importlib.import_module("full_disk")
        if reason := module.why_not():
            pytest.skip(f"no small file system can be mounted: {reason}")
        yield module


@pytest.fixture(scope="module")
def world(disk: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Corpus, Any, list[int], list[int]]:
    """A folder, a demo corpus in it, the outcome of a recovery with room, and the sizes between which to try.

    Sidecars name paths: in another folder, with a longer name, a recovery takes more pages.
    """
    folder = tmp_path_factory.mktemp("full")
    corpus = demo(folder / "corpus")
    return (folder, corpus, *disk.reference(corpus, folder))


SIZES = [("workspace", "baseline", 0.0), ("workspace", "repair", 0.5), ("workspace", "merge", 0.7),
         ("temporary files", "repair", 0.9)]  # fmt: skip
"""merge adds a hundred KiB only: at half of that validate, which has temporary files, may be what stops."""


@pytest.mark.slow
@pytest.mark.parametrize(("place", "stage", "share"), SIZES)
def test_a_full_disk_is_75_and_one_line_and_with_room_the_same_bytes_come_out(
    disk: Any, world: Any, place: str, stage: str, share: float
) -> None:
    folder, corpus, expected, taken, spooled = world
    step = disk.STAGES.index(stage)
    before, after = taken[step : step + 2] if place == "workspace" else spooled
    result, found = disk.stopped(corpus, folder, place, max(disk.PAGE, round(before + (after - before) * share)))
    assert (result.stage, result.code, result.broken) == (stage, 75, ()), result.said
    assert found == expected
