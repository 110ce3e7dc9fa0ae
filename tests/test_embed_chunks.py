import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from resplice.io.library import LibraryFile
from resplice.pipelines import embed_chunks, embedding_args
from resplice.pipelines.__main__ import main
from resplice.transforms.paths import normal
from resplice.transforms.records import UserError, valid_video_id


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(pattern: str, start: int = 1, end: int = 0) -> list[str]:
    return [path.name for path in embed_chunks.chunks(pattern, start, end)]


def test_parts_come_in_the_order_of_their_numbers() -> None:
    for name in ("p.part999.txt", "p.part1000.txt", "p.part002.txt", "p.txt", "p.part003.txt.bak"):
        Path(name).touch()
    Path("p.part004.txt").mkdir()
    assert names("p.part*.txt") == ["p.part002.txt", "p.part999.txt", "p.part1000.txt"]
    assert names("p.part*.txt", 2) == ["p.part999.txt", "p.part1000.txt"]
    assert names("p.part*.txt", 2, 2) == ["p.part999.txt"]


@pytest.mark.parametrize(
    ("pattern", "start", "end", "said"),
    [
        ("none*.txt", 1, 0, "matches no file"),
        ("p*.txt", 0, 0, "2 files match"),
        ("p*.txt", 3, 0, "give 1 to 2"),
        ("p*.txt", 2, 1, "the start before the end"),
        ("p*.txt", 1, 3, "give 1 to 2"),
        ("**/p1.txt", 1, 0, "their checkpoints would be one"),
    ],
)
def test_what_selects_nothing_or_too_much_is_exit_2(pattern: str, start: int, end: int, said: str) -> None:
    Path("x").mkdir()
    for name in ("p1.txt", "p2.txt", "x/p1.txt"):
        Path(name).touch()
    with pytest.raises(UserError, match=said) as raised:
        embed_chunks.chunks(pattern, start, end)
    assert raised.value.exit_code == 2


def work(codes: dict[str, int]) -> tuple[int, list[str], list[str]]:
    """Return the exit code, what was embedded, and what was said, where the parts end with these codes."""
    done: list[str] = []
    said: list[str] = []

    def embed(part: Path, checkpoint: Path) -> int:
        done.append(str(checkpoint))
        return codes[part.name]

    code = embed_chunks.each(
        [Path(name) for name in codes], Path("d"), embed, lambda: 2000 - 700 * len(done), said.append
    )
    return code, done, said


def test_each_part_has_its_checkpoint_and_the_gap_is_told_after_it() -> None:
    code, done, said = work({"p.part001.txt": 0, "p.part002.txt": 0})
    assert (code, done) == (0, ["d/p.part001.json", "d/p.part002.json"])
    assert said == [
        "embed-chunks: 2 parts; 2,000 files pending",
        "embed-chunks: p.part001.txt (1 of 2): 2,000 → 1,300 pending (-700)",
        "embed-chunks: p.part002.txt (2 of 2): 1,300 → 600 pending (-700)",
    ]


@pytest.mark.parametrize(
    ("codes", "code", "worked"), [((3, 0), 3, 2), ((0, 3, 0), 3, 3), ((0, 75, 0), 75, 2), ((1, 0), 1, 1)]
)
def test_a_part_of_bad_files_does_not_end_the_work_but_a_failure_does(
    codes: tuple[int, ...], code: int, worked: int
) -> None:
    found, done, _ = work({f"{number}.txt": code for number, code in enumerate(codes)})
    assert (found, len(done)) == (code, worked)


def record(folder: Path, name: str, seed: int) -> str:
    """Write half a second of noise; return its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).normal(0, 0.1, 8000), 16000)
    return str(path)


def tracks() -> dict[str, Any]:
    return json.loads(Path("meta.json").read_bytes())["tracks"]  # type: ignore[no-any-return]


def gap(*flags: str) -> dict[str, Any]:
    assert main(["gaps", "--quiet", "--music-root", "music", "--chunk-size", "4", *flags]) == 0
    return json.loads(Path("data/pending_embedding_paths.json").read_bytes())  # type: ignore[no-any-return]


def spelt_library(folder: Path) -> list[str]:
    """Lay out six files, two of them bad, and a library that knows three of them, one under two other spellings."""
    files = [record(folder / "music", f"{number}/same stem.wav", number) for number in range(4)]
    for name in ("#1 empty.wav", "'no audio'.mp3"):
        (folder / "music" / name).write_bytes(b"no audio" * ("mp3" in name))
        files.append(f"{folder}/music/{name}")
    known = {
        f"{files[0]}/": {"title": "one"},
        files[0].replace("/music/", "/music//"): {},
        files[1]: {"embedding": None},
        files[2]: {"embedding": "gone.npy"},
        f"{folder}/music/gone.wav": {"title": "gone"},
    }
    Path("meta.json").write_text(json.dumps({"tracks": known}))
    return files


def test_a_gap_is_embedded_part_by_part_and_no_key_comes_twice(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, before = spelt_library(folder), tracks()
    found = gap("--library", "meta.json")
    names = ("missing_meta", "missing_embedding_ref", "embedding_file_missing", "pending_embedding")
    assert [found[f"{name}_total"] for name in names] == [3, 2, 1, 6]
    assert (len(found["chunk_files"]), found["duplicate_paths_total"]) == (2, 1)
    chunks = ("embed-chunks", "--quiet", "--library", "meta.json", "--music-root", "music")
    assert main([*chunks, "--dry-run"]) == 0 and tracks() == before and not Path("data/embeddings").exists()
    capsys.readouterr()
    assert main([*chunks, "--run-id", "wave"]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "pending" in line and "embed-chunks" in line]
    assert [line.split(": ")[-1] for line in told if "checkpoint" not in line] == [
        "2 parts; 6 files pending", "6 → 4 pending (-2)", "4 → 2 pending (-2)"
    ]  # fmt: skip
    assert set(tracks()) == {*before, files[3]}
    assert Counter(map(normal, tracks())).most_common(1) == [(files[0], 2)]
    assert {entry.get("title") for entry in tracks().values()} == {"one", "gone", None}
    after = gap("--library", "meta.json", "--embedder", "logmel")
    assert [after[f"{name}_total"] for name in names] == [2, 0, 0, 2]
    assert (after["ok"], after["samples"]["missing_meta_total"]) == (4, sorted(files[4:]))
    assert gap("--index", "data/embeddings")["ok"] == 4
    assert (
        gap("--index", "data/embeddings", "--embedder", "logmel", "--windows", "canonical")["stale_embedding_total"]
        == 4
    )


@pytest.mark.parametrize("flags", [(), ("--embedder", "logmel"), ("--windows", "canonical")])
def test_the_gap_is_the_one_that_gaps_counts(
    folder: Path, flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [record(folder / "music", f"{number}.wav", number) for number in range(2)]
    Path("v.npy").write_bytes(b"vector")
    Path("meta.json").write_text(
        json.dumps({"tracks": {paths[0]: {"embedding": "v.npy", "embedding_digest": "other"}}})
    )
    pending = gap("--library", "meta.json", *flags)["pending_embedding_total"]
    assert pending == (2 if flags else 1)
    assert (
        main(["embed-chunks", "--quiet", "--library", "meta.json", "--music-root", "music", "--dry-run", *flags]) == 0
    )
    assert f"1 parts; {pending} files pending" in capsys.readouterr().out


def test_an_index_of_fixed_windows_counts_by_what_is_wanted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = record(folder / "music", "a.wav", 1)
    gap()
    assert main(["embed-chunks", "--quiet", "--windows", "fixed:0.2/0.1"]) == 0
    assert "1 → 0 pending (-1)" in capsys.readouterr().out
    index = ("--index", "data/embeddings")
    assert gap(*index)["ok"] == gap(*index, "--windows", "fixed:0.2/0.1")["ok"] == 1
    for other in ("full", "fixed:0.3/0.1"):
        assert gap(*index, "--windows", other)["stale_embedding_total"] == 1
    record(folder / "music", "a.wav", 2)
    assert main(["embed", path, "--quiet"]) == 0
    assert gap(*index)["ok"] == gap(*index, "--windows", "full")["ok"] == 1  # of its bytes are those written last
    assert gap(*index, "--windows", "fixed:0.2/0.1")["stale_embedding_total"] == 1


def test_a_part_that_is_run_again_goes_on_by_its_own_checkpoint(folder: Path) -> None:
    Path("data").mkdir()
    for number in range(2):
        Path(f"data/pending_embedding_paths.part00{number + 1}.txt").write_text(record(folder, f"{number}.wav", number))
    assert main(["embed-chunks", "--quiet", "--start-index", "2"]) == 0
    checkpoints = Path("data/checkpoints")
    assert [path.name for path in checkpoints.glob("*.json")] == ["pending_embedding_paths.part002.json"]
    assert main(["embed-chunks", "--quiet", "--resume", "--no-resume"]) == 2
    assert main(["embed-chunks", "--quiet", "--resume"]) == 0
    counters = {path.stem[-1]: json.loads(path.read_bytes())["counters"] for path in checkpoints.glob("*.json")}
    assert [(counters[part]["queued"], counters[part]["skipped_checkpoint"]) for part in "12"] == [(1, 0), (0, 1)]


def test_a_part_is_a_run_named_by_it_and_the_last_one_makes_the_preview() -> None:
    args = embedding_args.EmbedChunks(run_id="r" * 150, preview=True, windows="canonical", no_resume=True)
    made = [embed_chunks.of_part(args, Path(f"d/{'p' * 300}..é {n}.txt"), Path("c.json"), n == 2) for n in (1, 2)]
    assert len({one.run_id for one in made}) == 2 and all(valid_video_id(str(one.run_id)) for one in made)
    assert [(one.preview, one.resume, one.windows) for one in made] == [
        (False, False, "canonical"), (True, False, "canonical")
    ]  # fmt: skip


def test_parts_whose_names_differ_only_in_what_a_run_cannot_have_are_runs_of_their_own() -> None:
    stems = ["p 1", "p_1", "p+1", "p..1", "p.1", os.fsdecode(b"p\xe91"), "q" * 90, "x" + "q" * 90, "y" + "q" * 90]
    names = [embed_chunks.run_name(stem) for stem in stems]
    assert len(set(names)) == len(stems) and all(map(valid_video_id, names))
    assert embed_chunks.run_name("pending.part001") == "pending.part001"


@pytest.mark.slow
def test_killed_again_and_again_it_ends_as_if_it_never_was(folder: Path) -> None:
    files = [record(folder / "music", f"{number}.wav", number) for number in range(12)]
    Path("meta.json").write_text(json.dumps({"tracks": {f"{path}/": {"title": path} for path in files[:6]}}))
    gap("--library", "meta.json")
    chunks = ["embed-chunks", "--quiet", "--library", "meta.json", "--checkpoint-every", "1", "--run-id", "wave"]
    file = LibraryFile.at("meta.json")
    for vectors in (1, 4, 7, 10):
        with subprocess.Popen([sys.executable, "-m", "resplice.pipelines", *chunks]) as process:
            while len(list(Path("vectors").glob("*.npy"))) < vectors and process.poll() is None:
                time.sleep(0.01)
            assert process.poll() is None
            process.kill()
        assert all(file.has(entry) for entry in tracks().values() if "embedding" in entry)
        for path in Path("data/checkpoints").glob("*[0-9].json"):
            done = json.loads(path.read_bytes())["completed_paths"]
            assert all("embedding" in entry for key in done for entry in file.read().entries(key))
    assert main(chunks) == 0
    assert gap("--library", "meta.json", "--embedder", "logmel")["ok"] == 12
    assert len(tracks()) == 12 and len({entry["embedding"] for entry in tracks().values()}) == 12
    done = [json.loads(path.read_bytes()) for path in sorted(Path("data/checkpoints").glob("*[0-9].json"))]
    assert [(one["status"], len(one["completed_paths"])) for one in done] == [("completed", 4)] * 3
