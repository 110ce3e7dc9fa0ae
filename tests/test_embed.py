"""`embed`, from the outside: real audio files, the killable workers and Beam's own runner."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from embedding import RATE, Music, sound
from test_embedders import graph

from resplice.io import embedders, shards, sidecars, sounds
from resplice.io.library import LibraryFile
from resplice.io.local import LocalStore
from resplice.pipelines import embed
from resplice.pipelines.__main__ import main
from resplice.transforms import windows
from resplice.transforms.settings import Embed, StoreOptions

Make = Callable[..., Music]


@pytest.fixture
def music(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(count: int = 4, seconds: float = 0.6) -> Music:
        made = Music.make(tmp_path / "here", count, seconds)
        monkeypatch.chdir(made.folder)
        return made

    return make


def test_the_story_a_library_in_waves_with_bad_files_then_only_what_is_left(
    music: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    library = music(6)
    library.path("bad.flac").write_bytes(b"not audio")
    (library.folder / "wave1.txt").write_text(
        "# the first wave\nmusic/track000.flac\nmusic/track001.flac\n\nmusic/gone.wav\n"
    )
    assert library("--paths-file", "wave1.txt", "--resume", given=()) == 0
    assert library.counters == {"requested": 3, "queued": 3, "succeeded": 2, "failed": 1}
    assert "2 of 3 queued paths succeeded, 1 failed" in capsys.readouterr().out

    assert library("--resume", run="second") == 0
    assert library.counters == {"requested": 7, "queued": 5, "skipped_checkpoint": 2, "succeeded": 4, "failed": 1}
    done = library.checkpoint
    assert (done["status"], done["run_id"], done["paths_total"]) == ("completed", "second", 7)
    assert [Path(path).name for path in done["completed_paths"]] == [f"track00{n}.flac" for n in range(6)]
    assert {Path(path).name for path in done["failed_paths"]} == {"bad.flac", "gone.wav"}
    assert library.failures() == {"gone.wav": ("read", "missing"), "bad.flac": ("decode", "undecodable")}
    assert set(library.vectors()) == {f"track00{n}.flac" for n in range(6)}


def test_a_second_process_changes_nothing(music: Make) -> None:
    library = music()
    library("--resume")
    files = {path: path.read_bytes() for path in (library.folder / "resplice-work/runs/r/embed").glob("*.json*")}
    shards, done = library.shards(), library.checkpoint
    assert library("--resume") == 0
    assert library.shards() == shards and library.checkpoint["completed_paths"] == done["completed_paths"]
    assert {path: path.read_bytes() for path in files} == files and {"summary.json", "refused.jsonl"} <= {
        p.name for p in files
    }
    assert library.counters == {"requested": 4, "skipped_checkpoint": 4}


def bad_files(library: Music) -> dict[str, tuple[str, str]]:
    """Write a file of each kind that fails; return what becomes of each."""
    short = sound(1, 0.05)
    soundfile.write(library.path("short.wav"), short, RATE)
    soundfile.write(library.path("nothing.wav"), short[:0], RATE)
    soundfile.write(library.path("eight.wav"), np.tile(sound(2)[:, None], 8), RATE)
    nan = sound(3)
    nan[200] = np.nan
    soundfile.write(library.path("nan.wav"), nan, RATE, subtype="FLOAT")
    for name in ("cut.wav", "cut.flac", "cut.aiff"):
        data = library.write(name, 4, 2.0).read_bytes()
        library.path(name).write_bytes(data[: len(data) // 2])
    whole = library.write("tagged.wav", 4, 2.0).read_bytes()
    library.path("tagged.wav").write_bytes(whole[:36] + b"LIST\x70\x11\1\0" + bytes(70_000) + whole[36:-4])
    library.path("empty.mp3").write_bytes(b"")
    library.path("text.ogg").write_text("no audio")
    library.path("notes.txt").write_text("no audio either")
    undecodable = ("decode", "undecodable")
    return {
        "short.wav": ("decode", "too_short"), "nothing.wav": ("decode", "too_short"),
        "nan.wav": ("decode", "non_finite"), "eight.wav": ("decode", "unsupported"), "cut.wav": undecodable,
        "cut.flac": undecodable, "cut.aiff": undecodable, "tagged.wav": undecodable, "empty.mp3": ("read", "empty"),
        "text.ogg": undecodable,
        "notes.txt": ("decode", "unsupported"), "gone.flac": ("read", "missing"),
    }  # fmt: skip


def test_every_bad_file_ends_as_one_row_with_its_reason_and_the_run_goes_on(music: Make) -> None:
    library = music(1)
    expected = bad_files(library)
    odd = ["with space.wav", "a'b\"c.wav", "#1.wav", "one/same.wav", "two/same.wav", os.fsdecode(b"caf\xe9.wav")]
    for number, name in enumerate(odd):
        library.write(name, 10 + number)
    assert library(given=("music", f"music/{odd[-1]}", "music/notes.txt", "music/gone.flac")) == 0
    assert library.failures() == expected
    lines = (library.folder / "resplice-work/runs/r/embed/refused.jsonl").read_text().splitlines()
    assert sorted(Path(json.loads(line)["unit"]).name for line in lines) == sorted(expected)
    made = {"track000.flac", *odd[:-1], r"caf\xe9.wav"}
    assert set(library.vectors()) == made and len(set(library.vectors().values())) == len(made)
    assert library.counters["succeeded"] == len(made) and library.counters["failed"] == len(expected)


def test_a_run_in_which_nothing_succeeds_is_exit_3(music: Make) -> None:
    library = music(1)
    library.path("bad.flac").write_bytes(b"no")
    assert library(given=("music/bad.flac",)) == 3
    assert library("--resume", given=("music/track000.flac",)) == 0
    assert library("--resume") == 3


def test_vectors_depend_on_neither_order_nor_batches_nor_workers(music: Make) -> None:
    library = music(7, 0.4)
    assert library("--out", "one", "--checkpoint-file", "1.json") == 0
    names = [f"music/track00{n}.flac" for n in (3, 6, 0, 2, 5, 1, 4)]
    more = (
        "--out",
        "two",
        "--checkpoint-file",
        "2.json",
        "--batch-size",
        "3",
        "--workers",
        "2",
        "--checkpoint-every",
        "2",
    )
    assert library(*more, run="other", given=names) == 0
    tables = [shards.current(LocalStore(str(library.folder / out))) for out in ("one", "two")]
    assert tables[0].column("vector").to_pylist() == tables[1].column("vector").to_pylist()
    assert tables[0].column("key").to_pylist() == tables[1].column("key").to_pylist() and len(tables[0]) == 7


def test_equal_contents_are_embedded_once_and_a_moved_file_is_not_embedded_again(
    music: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    library = music(2)
    shutil.copy(library.path("track000.flac"), library.path("copy.flac"))
    library("--resume")
    assert "2 contents embedded" in capsys.readouterr().out
    vectors = library.vectors()
    assert vectors["copy.flac"] == vectors["track000.flac"] and len(vectors) == 3
    library.path("track001.flac").rename(library.path("moved.flac"))
    assert library("--resume", run="second") == 0
    assert "0 contents embedded" in capsys.readouterr().out
    assert library.counters == {"requested": 3, "queued": 1, "succeeded": 1, "skipped_checkpoint": 2}
    assert library.vectors()["moved.flac"] == vectors["track001.flac"]
    shutil.copy(library.path("moved.flac"), library.path("notes.txt"))  # no file of that kind is embedded
    assert library("--resume", run="third", given=("music", "music/notes.txt")) == 3
    assert library.failures() == {"notes.txt": ("decode", "unsupported")}


@pytest.mark.parametrize("becomes", ["other", "gone"])
def test_a_file_that_changes_during_the_run_says_nothing_of_its_copies(
    music: Make, monkeypatch: pytest.MonkeyPatch, becomes: str
) -> None:
    library = music(1)
    library("--out", "alone", "--checkpoint-file", "alone.json", run="alone")
    vector = shards.current(LocalStore(str(library.folder / "alone"))).column("vector").to_pylist()
    for name in ("copy.flac", "late.flac"):
        shutil.copy(library.path("track000.flac"), library.path(name))
    inventory = embed.inventory

    def then_changed(*given: Any) -> Any:
        found = inventory(*given)
        library.path("copy.flac").unlink()
        if becomes == "other":
            library.write("copy.flac", 9)
        return found

    monkeypatch.setattr(embed, "inventory", then_changed)
    assert library() == 0
    rows = {Path(row["path"]).name: row for row in library.table().to_pylist()}
    assert rows["late.flac"]["vector"] == rows["track000.flac"]["vector"] == vector[0]
    assert rows["late.flac"]["content_sha256"] == sidecars.digest(LocalStore("/"), str(library.path("late.flac"))[1:])
    if becomes == "other":
        assert rows["copy.flac"]["vector"] != vector[0]
    else:
        assert library.failures() == {"copy.flac": ("read", "missing")}


def test_one_file_changed_is_exactly_that_one_embedded_again(music: Make) -> None:
    library = music(4)
    library("--resume")
    before = library.vectors()
    library.write("track002.flac", 77)
    assert library("--resume") == 0
    assert library.counters == {"requested": 4, "queued": 1, "succeeded": 1, "skipped_checkpoint": 3}
    after = library.vectors()
    assert {name for name in after if after[name] != before[name]} == {"track002.flac"}


def test_another_model_embeds_everything_again_and_its_rows_are_current(music: Make, tmp_path: Path) -> None:
    library = music(3)
    library("--resume")
    settings = graph(tmp_path / "m.onnx")
    model = ("--embedder", settings["embedder"], "--model-sha256", settings["model_sha256"])
    assert library("--resume", *model) == 0
    assert library.counters == {"requested": 3, "queued": 3, "succeeded": 3}
    table = library.table()
    assert set(table.column("dim").to_pylist()) == {5} and len(table) == 3
    assert library("--resume", *model) == 0
    assert library.counters == {"requested": 3, "skipped_checkpoint": 3}


def test_a_model_that_gives_no_number_refuses_each_window_and_not_the_run(music: Make, tmp_path: Path) -> None:
    library = music(2)
    settings = graph(tmp_path / "m.onnx", scale=float("nan"))
    assert library("--embedder", settings["embedder"], "--model-sha256", settings["model_sha256"]) == 3
    assert set(library.failures().values()) == {("embed", "non_finite")}


def test_what_is_lost_is_embedded_again_whatever_the_checkpoint_says(music: Make) -> None:
    library = music(3)
    library("--resume", "--checkpoint-every", "1")
    lost = min(library.shards())
    (library.folder / "data/embeddings" / lost).unlink()
    assert len(library.vectors()) == 2
    assert library("--resume", "--checkpoint-every", "1") == 0
    assert library.counters == {"requested": 3, "queued": 1, "succeeded": 1, "skipped_checkpoint": 2}
    assert len(library.vectors()) == 3


def test_without_a_checkpoint_what_is_there_is_existing_and_without_resume_all_is_made_anew(music: Make) -> None:
    library = music(3)
    library()
    first = library.vectors()
    assert library("--resume", "--checkpoint-file", "other.json", run="second") == 0
    other = json.loads((library.folder / "other.json").read_bytes())
    assert other["counters"]["skipped_existing"] == 3 and len(other["completed_paths"]) == 3
    assert library(run="third") == 0
    assert library.counters == {"requested": 3, "queued": 3, "succeeded": 3}
    assert library.vectors() == first and set(library.table().column("run_id").to_pylist()) == {"third"}


def test_a_content_that_failed_in_three_runs_is_left_until_it_is_asked_for(music: Make) -> None:
    library = music(1)
    library.path("bad.flac").write_bytes(b"no audio")
    for run in ("a", "b", "c"):
        assert library("--resume", run=run) in (0, 3)
    quarantine = library.folder / "data/embed_checkpoint_quarantine.jsonl"
    row = json.loads(quarantine.read_text())
    assert (Path(row["path"]).name, row["reason"], row["attempts"], row["size_bytes"]) == (
        "bad.flac",
        "undecodable",
        3,
        8,
    )
    assert library("--resume", run="d") == 0
    assert library.counters == {"requested": 2, "skipped_checkpoint": 1, "skipped_quarantined": 1}
    shutil.copy(library.path("track000.flac"), library.path("bad.flac"))
    assert library("--resume", run="e") == 0
    assert library.counters == {"requested": 2, "queued": 1, "succeeded": 1, "skipped_checkpoint": 1}
    library.path("again.flac").write_bytes(b"no audio")
    assert library("--resume", "--retry-quarantined", run="f") == 3
    assert library.counters["failed"] == 1 and json.loads(quarantine.read_text())["attempts"] == 4


def test_fixed_windows_are_a_row_each_beside_the_whole(music: Make) -> None:
    library = music(1, 3.0)
    library()
    assert library("--windows", "fixed:2/1", "--resume") == 0
    table = library.table()
    keys = [Path(key).name for key in table.column("key").to_pylist()]
    assert keys == ["track000.flac", "track000.flac#0", "track000.flac#1"]
    assert table.column("start_s").to_pylist() == [0.0, 0.0, 1.0]
    library.write("track000.flac", 0, 2.0)
    assert library("--windows", "fixed:2/1", "--resume") == 0
    assert [Path(key).name for key in library.table().column("key").to_pylist()] == ["track000.flac", "track000.flac#0"]


def test_a_library_has_each_vector_and_keeps_what_is_others(music: Make) -> None:
    library = music(2)
    path = str(library.path("track000.flac"))
    meta = library.folder / "meta.json"
    meta.write_text(json.dumps({"tracks": {path: {"bpm": 120}}}))
    assert library("--library", "meta.json", "--resume") == 0
    file = LibraryFile.at(str(meta))
    tracks = file.read().tracks
    assert set(tracks) == {str(library.path(f"track00{n}.flac")) for n in range(2)} and tracks[path]["bpm"] == 120
    vectors = library.vectors()
    assert {Path(key).name: file.vector(entry).tobytes() for key, entry in tracks.items()} == vectors
    meta.unlink()
    shutil.rmtree(library.folder / "vectors")
    assert library("--library", "meta.json", "--resume") == 0  # what is there already goes into a library that lacks it
    assert library.counters == {"requested": 2, "skipped_checkpoint": 2}
    assert {Path(key).name: file.vector(entry).tobytes() for key, entry in file.read().tracks.items()} == vectors


@pytest.mark.parametrize("flag", ["--checkpoint-file", "--library"])
def test_what_cannot_be_read_is_exit_2_and_nothing_is_written(music: Make, flag: str) -> None:
    library = music(1)
    (library.folder / "broken.json").write_text('{"tracks": ')
    assert library(flag, "broken.json") == 2
    assert (library.folder / "broken.json").read_text() == '{"tracks": '
    assert {path.name for path in library.folder.iterdir()} == {"music", "broken.json"}


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--duration-s", "60"), "--allow-noncanonical"),
        (("--windows", "half"), "fixed:LEN/HOP"),
        (("--embedder", "mert"), "known: logmel"),
        (("--model-sha256", "0" * 64), "but logmel has no model that it would be of: give --embedder"),
        (("--sample-rate", "24000"), "or leave --sample-rate out"),
        (("--embedder", "logmel", "--pooling", "cls"), "embed.pooling is 'cls'"),
        (("--set", "embed.output=x"), "embed.output is 'x'"),
        (("--of-run", "x"), "one of the three"),
        (("--with-results",), "--with-results is about videos"),
        (("--checkpoint-every", "0"), "at least 1"),
        (("--checkpoint-file", "music"), "is no local file"),
        (("--checkpoint-file", "music/track000.flac/c.json"), "is no local file"),
        (("--checkpoint-file", "log.json"), "log_failed.jsonl is a folder"),
        (("--out", "music/track000.flac/out"), "track000.flac is a file; name a folder"),
        (("--paths-file", "/dev/null"), "no audio file is in what was given"),
        (("--duration-s", "0.01", "--allow-noncanonical"), "at least 0.1"),
        (("--library", "a.json", "--checkpoint-file", "a.json"), "is a file of --checkpoint-file"),
        (("--library", "a_failed.jsonl", "--checkpoint-file", "a.json"), "is a file of --checkpoint-file"),
        (("--workers", "1", "--num-workers", "2"), "are one setting"),
        (("--reuse",), "unknown option --reuse; the nearest is --resume"),
    ],
)
def test_what_cannot_be_meant_is_exit_2(
    music: Make, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], told: str
) -> None:
    library = music(1)
    (library.folder / "log_failed.jsonl").mkdir()
    given = () if "--paths-file" in flags else ("music",)
    assert library(*flags, given=given) == 2
    assert told in capsys.readouterr().err
    assert not (library.folder / "data").exists()


def test_a_dry_run_counts_and_writes_nothing(music: Make, capsys: pytest.CaptureFixture[str]) -> None:
    library = music(2)
    assert library("--dry-run", "--resume") == 0
    assert "queued                      2" in capsys.readouterr().out
    assert {path.name for path in library.folder.iterdir()} == {"music"}


def test_options_of_beam_pass_between_paths(music: Make) -> None:
    library = music(2)
    given = ("music/track000.flac", "--runner", "FnApiRunner", "music/track001.flac", "--direct_runner_bundle_repeat=3")
    assert library("--checkpoint-every", "1", given=given) == 0
    assert library.counters == {"requested": 2, "queued": 2, "succeeded": 2} and len(library.vectors()) == 2


def test_an_export_drops_what_was_replaced(music: Make) -> None:
    library = music(2)
    library()
    library(run="second")
    assert len(library.shards()) == 2
    assert main(["export", "--embeddings", "data/embeddings", "--to", "current", "--quiet"]) == 0
    table = pq.read_table(library.folder / "current")
    assert len(table) == 2 and set(table.column("run_id").to_pylist()) == {"second"}
    assert main(["manifest", "verify", "current.manifest.json"]) == 0
    (library.folder / "current.manifest.json").unlink()  # as of a process that died before it was there
    assert main(["export", "--embeddings", "data/embeddings", "--to", "current"]) == 0
    assert main(["manifest", "verify", "current.manifest.json"]) == 0
    assert main(["export", "--embeddings", "data/embeddings", "--to", "music"]) == 2
    assert library("--out", "current", "--resume", "--checkpoint-file", "new.json") == 0
    assert json.loads((library.folder / "new.json").read_bytes())["counters"]["skipped_existing"] == 2


def test_an_export_leaves_out_what_is_no_shard_and_needs_one(music: Make, capsys: pytest.CaptureFixture[str]) -> None:
    library = music(1)
    other = library.folder / "data/embeddings/other.parquet"
    other.parent.mkdir(parents=True)
    pq.write_table(pa.table({"x": [1, 2, 3]}), other)
    words = ["export", "--embeddings", "data/embeddings", "--to", "current"]
    assert main(words) == 2
    assert "there is no shard of embed in" in capsys.readouterr().err and not (library.folder / "current").exists()
    assert library() == 0 and main(words) == 0
    told = capsys.readouterr()
    assert "no shards of embed (1): other.parquet" in told.err and "; 0 older ones dropped" in told.out


def test_a_file_that_hangs_or_takes_too_much_memory_costs_only_itself(music: Make) -> None:
    library = music(2)
    soundfile.write(library.path("long.wav"), np.zeros(RATE * 3600, np.int16), RATE)
    assert library("--set", "run.memory_mb=64") == 0
    assert library.failures() == {"long.wav": ("decode", "crashed")} and len(library.vectors()) == 2


def test_the_pipeline_makes_what_a_plain_loop_makes_bit_for_bit(music: Make) -> None:
    library = music(3)
    library.write("other_rate.wav", 9, 1.0, rate=44100)
    assert library() == 0
    model = embedders.choose(Embed(), StoreOptions()).load()
    expected = {}
    for path in library.path("").iterdir():
        decoded = sounds.decode(str(path), path.name, model.sample_rate)
        expected[path.name] = windows.mean(model.embed([decoded.samples])).tobytes()
    assert library.vectors() == expected


def test_m4a_is_decoded_by_the_extra_av(music: Make) -> None:
    av = pytest.importorskip("av")
    library = music(1)
    with av.open(str(library.path("song.m4a")), "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=44100, layout="stereo")
        samples = np.stack([sound(5, 1.0, 44100)] * 2)
        for start in range(0, 44100 - 1024, 1024):
            frame = av.AudioFrame.from_ndarray(samples[:, start : start + 1024].copy(), "fltp", "stereo")
            frame.sample_rate, frame.pts = 44100, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    library.path("broken.M4A").write_bytes(library.path("song.m4a").read_bytes()[:500])
    assert library("--windows", "canonical") == 0
    assert library.failures() == {"broken.M4A": ("decode", "undecodable")}
    row = next(row for row in library.table().to_pylist() if row["path"].endswith("song.m4a"))
    assert row["sample_rate"] == 44100 and row["duration_s"] == pytest.approx(1.0, abs=0.1)


def test_a_flac_that_does_not_tell_its_length_is_told_as_such(music: Make) -> None:
    library = music(1)
    path = library.path("track000.flac")
    data = bytearray(path.read_bytes())
    data[21:26] = bytes([data[21] & 0xF0, 0, 0, 0, 0])
    path.write_bytes(data)
    assert library() == 3 and library.failures() == {"track000.flac": ("decode", "undecodable")}
    log = (library.folder / "data/embed_checkpoint_failed.jsonl").read_text()
    assert "does not tell its length (streamed); rewrite it" in log


def test_decoding_that_takes_too_long_is_a_timeout_of_that_file(music: Make) -> None:
    library = music(1)
    assert library("--set", "run.timeout_s=0.0001") == 3
    assert library.failures() == {"track000.flac": ("decode", "timeout")}
