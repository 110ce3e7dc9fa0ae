"""`embed` run again under the same name, and two runs into the same shards at once."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from embedding import Music

from resplice.io import vectors
from resplice.io.checkpoint import Checkpoint
from resplice.io.keeping import Keeper
from resplice.io.local import LocalStore
from resplice.pipelines import embed
from resplice.pipelines.__main__ import main
from resplice.transforms.records import UserError


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


def test_a_parquet_of_another_tool_is_left_out_and_told(library: Music, capsys: pytest.CaptureFixture[str]) -> None:
    other = library.folder / "data/embeddings/other.parquet"
    other.parent.mkdir(parents=True)
    pq.write_table(pa.table({"x": [1]}), other)
    assert main([word for word in library.arguments() if word != "--quiet"]) == 0
    assert "left out, as no shards of embed: other.parquet" in capsys.readouterr().err
    assert len(library.vectors()) == 4


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"no parquet"])
def test_a_shard_that_is_broken_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    store = LocalStore(str(tmp_path))
    store.create("000001-r/a.parquet", damage(shard("a")))
    with pytest.raises(UserError, match=r"000001-r/a\.parquet cannot be read .*delete it and embed with --resume"):
        vectors.Index(store).refresh()


def test_vectors_that_rotted_in_a_shard_are_told(tmp_path: Path) -> None:
    data = shard("a")
    at = data.index(np.array([97.0, 1.0], np.float32).tobytes())
    LocalStore(str(tmp_path)).create("000001-r/a.parquet", data[:at] + bytes(8) + data[at + 8 :])
    with pytest.raises(UserError, match=r"000001-r/a\.parquet cannot be read"):
        list(vectors.current(LocalStore(str(tmp_path))))


def test_a_broken_shard_ends_what_reads_it_and_its_rows_are_made_again_once_it_is_deleted(
    library: Music, capsys: pytest.CaptureFixture[str]
) -> None:
    assert library() == 0
    before, (key,) = library.vectors(), library.shards()
    broken = library.folder / "data/embeddings" / key
    broken.write_bytes(b"")
    gaps = ["gaps", "--music-root", "music", "--index", "data/embeddings", "--dry-run"]
    for words in (library.arguments("--resume"), gaps, ["export", "--embeddings", "data/embeddings", "--to", "now"]):
        assert main(words) == 2
        assert f"{broken} cannot be read" in capsys.readouterr().err
    broken.unlink()
    assert library("--resume") == 0 and library.vectors() == before


def test_a_checkpoint_that_cannot_be_written_once_is_written_next_time(
    library: Music, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.path("bad.flac").write_bytes(b"no audio")
    save, fold, full = Checkpoint.save, Keeper._fold, []

    def failing(checkpoint: Checkpoint, value: Mapping[str, Any]) -> None:
        if value["counters"]["succeeded"] and not full:
            full.append(OSError(errno.ENOSPC, "No space left on device"))
            raise full[0]
        save(checkpoint, value)

    def again_if_full(keeper: Keeper, least: int) -> None:
        try:
            fold(keeper, least)
        except OSError:
            fold(keeper, least)

    monkeypatch.setattr(Checkpoint, "save", failing)
    monkeypatch.setattr(Keeper, "_fold", again_if_full)
    assert library() == 0 and full
    assert library.counters == {"requested": 5, "queued": 5, "succeeded": 4, "failed": 1}
    assert len((library.folder / "data/embed_checkpoint_failed.jsonl").read_text().splitlines()) == 1


def test_a_checkpoint_that_is_no_readable_file_is_exit_2(library: Music, capsys: pytest.CaptureFixture[str]) -> None:
    loop = library.folder / "loop.json"
    loop.symlink_to(loop)
    assert library("--checkpoint-file", "loop.json") == 2
    assert "loop.json cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("damaged", ["[1", "[]", '{"p": "x"}', '{"p": ["x"]}'])
def test_digests_that_are_damaged_are_made_anew(library: Music, damaged: str) -> None:
    memory = library.folder / "resplice-work/digests.json"
    memory.parent.mkdir()
    memory.write_text(damaged)
    assert library() == 0
    assert sum("track" in name for name in json.loads(memory.read_text())) == 4


def test_the_vector_of_a_library_that_rotted_is_written_again(library: Music) -> None:
    assert library("--library", "meta.json") == 0
    vector = next((library.folder / "vectors").iterdir())
    right = vector.read_bytes()
    vector.write_bytes(right[:-4] + b"rots")
    assert library("--library", "meta.json", run="second") == 0
    assert vector.read_bytes() == right


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
