"""`embed` run again under the same name, and two runs into the same shards at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedding import Music

from resplice.io import vectors
from resplice.io.local import LocalStore
from resplice.pipelines import embed


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Music:
    made = Music.make(tmp_path / "here", 4)
    monkeypatch.chdir(made.folder)
    return made


def again(library: Music, monkeypatch: pytest.MonkeyPatch, *flags: str, run: str) -> list[int]:
    """Let another call of `embed` come and go once the next one has decided what to do."""
    make, codes = embed.make, []

    def after_another(*given: Any) -> None:
        monkeypatch.setattr(embed, "make", make)
        codes.append(library(*flags, run=run))
        make(*given)

    monkeypatch.setattr(embed, "make", after_another)
    return codes


def test_the_same_run_again_without_resume_is_a_writing_of_its_own(library: Music) -> None:
    assert library() == 0
    before = library.vectors()
    assert library("--batch-size", "4") == 0
    assert library.counters == {"requested": 4, "queued": 4, "succeeded": 4}
    assert library.vectors() == before
    assert {key.partition("/")[0] for key in library.shards()} == {"000001-r", "000002-r"}


def test_two_runs_into_the_same_shards_at_once_have_different_numbers_and_both_are_done(
    library: Music, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = again(library, monkeypatch, "--checkpoint-file", "b.json", "--workspace", "b", run="b")
    assert library(run="a") == 0 and codes == [0]
    assert {key.partition("/")[0] for key in library.shards()} == {"000001-a", "000002-b"}
    assert library.counters == {"requested": 4, "queued": 4, "succeeded": 4} and len(library.vectors()) == 4


def test_two_processes_of_one_run_at_once_are_both_done(library: Music, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = again(library, monkeypatch, run="r")
    assert library() == 0 and codes == [0]
    assert library.counters == {"requested": 4, "queued": 4, "succeeded": 4} and len(library.vectors()) == 4


def shard(names: str, version: str = "1", shift: float = 0.0) -> bytes:
    rows = [
        dict.fromkeys(vectors.COLUMNS) | {"key": name, "path": name, "content_sha256": name, "dim": 2} for name in names
    ]
    found = [np.array([ord(name) + shift, 1.0], np.float32) for name in names]
    return vectors.encode(rows, found, False, False, {"writing": "1", "run_id": "r", "code_version": version})


def test_a_shard_that_is_there_with_less_gets_one_beside_it_and_other_vectors_are_told(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    vectors.publish(store, "000001-r/00000-x.parquet", shard("a"))
    vectors.publish(store, "000001-r/00000-x.parquet", shard("a", "2"))  # the same rows by other code
    assert len(list(tmp_path.rglob("*.parquet"))) == 1
    vectors.publish(store, "000001-r/00000-x.parquet", shard("ab"))  # one that could not be read before
    index = vectors.Index(store)
    index.refresh()
    assert set(index.present) == {"a", "b"} and len(list(tmp_path.rglob("*.parquet"))) == 2
    with pytest.raises(RuntimeError, match="not deterministic"):
        vectors.publish(store, "000001-r/00000-x.parquet", shard("a", shift=1.0))
