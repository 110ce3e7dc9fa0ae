"""A second baseline reads only the tars that changed, and finds the same as if it had read all of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corpus import Corpus
from hypothesis import given
from hypothesis import strategies as st

from resplice.io import shards, tarstate
from resplice.io.local import LocalStore
from resplice.io.store import Head, Store
from resplice.io.tarstate import TarState
from resplice.transforms.ranges import limits, overlapping, range_of


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The keys of the tars that a baseline has opened."""
    seen: set[str] = set()
    real: Callable[..., TarState] = tarstate.open_tar

    def counted(store: Store, key: str, video_id: str, kind: str, head: Head | None = None) -> TarState:
        seen.add(key)
        return real(store, key, video_id, kind, head)

    monkeypatch.setattr(tarstate, "open_tar", counted)
    return seen


def index(corpus: Corpus, run: str) -> dict[str, list[dict[str, Any]]]:
    """Return what the index of a run holds, whatever its run id."""
    store = LocalStore(str(corpus.workspace))
    prefix = f"runs/{run}/baseline/"
    return {
        head.key.removeprefix(prefix): shards.open_file(store, head.key).read().to_pylist()
        for head in store.list(prefix)
        if head.key.endswith(".parquet")
    }


def unknown(corpus: Corpus) -> set[str]:
    """Return the tars of which the index can say nothing: those that cannot be read."""
    suffixes = {"raw": ".tar", "transcribed": "_transcribed.tar"}
    return {
        row["video_id"] + suffix
        for row in index(corpus, "r")["videos.parquet"]
        for kind, suffix in suffixes.items()
        if row[f"{kind}_tar"] == "unreadable"
    }


def test_a_second_baseline_opens_no_tar_that_it_knows_and_finds_the_same(again: Corpus, opened: set[str]) -> None:
    assert again("baseline", run_id="second") == 0
    assert opened == unknown(again)
    assert index(again, "second") == index(again, "r")


def test_of_the_changed_tars_it_reads_just_those(again: Corpus, tmp_path: Path, opened: set[str]) -> None:
    shutil.copytree(again.folder, tmp_path / "corpus")
    corpus = Corpus(tmp_path / "corpus", again.workspace)
    assert corpus("baseline", run_id="second") == 0  # copies have other versions: all are read
    opened.clear()
    changed = sorted((tmp_path / "corpus/raw").glob("*.tar"))[:3]
    for tar in changed:
        data = tar.read_bytes()
        tar.unlink()
        tar.write_bytes(data)
    assert corpus("baseline", run_id="third") == 0
    assert {tar.name for tar in changed} <= opened <= {tar.name for tar in changed} | unknown(again)


def test_a_refreshed_baseline_reads_what_changed_and_forgets_nothing(again: Corpus, opened: set[str]) -> None:
    before = index(again, "r")
    assert again("baseline", "--refresh", run_id="r") == 0
    assert opened == unknown(again)
    assert index(again, "r") == before


def test_what_another_version_of_the_code_has_read_is_read_again(
    again: Corpus, opened: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "runs/r/baseline/index/00000-raw.parquet"
    store = LocalStore(str(again.workspace))
    table = shards.open_file(store, key).read()
    store.replace(key, shards.encode(table, {"code_version": "0.0.0"}), None)
    assert again("baseline", run_id="second") == 0
    assert opened == {f"{video}.tar" for video in table["video_id"].to_pylist()} | unknown(again)


@given(st.lists(st.text(min_size=1), unique=True, max_size=6), st.lists(st.text(min_size=1), unique=True), st.text())
def test_the_overlapping_ranges_hold_every_id_of_a_range(bounds: list[str], others: list[str], video: str) -> None:
    mine, theirs = sorted(bounds), sorted(others)
    after, until = limits(mine, range_of(mine, video))
    assert range_of(theirs, video) in overlapping(theirs, after, until)
