"""`synthesize`, from the outside: the audio is espeak-ng's, and an engine spoils what a test names."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
from blocks import ROOT, Shell, blocks
from speaking import QUIET, SLOW, Shelf, demand, ids

from resplice.io.pipeline_json import PipelineJson, Record
from resplice.io.speaking import read_text
from resplice.pipelines.__main__ import main

Make = Callable[..., Shelf]
FALLBACK = ("--fallback", "xtts", "--voice", "af_sarah")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(count: int = 4, books: dict[str, int] | None = None, **more: str) -> Shelf:
        made = Shelf.make(tmp_path / "shelf", books or {"book": count}, **more)
        monkeypatch.chdir(made.folder)
        return made

    return make


def test_the_story_fresh_then_two_chunks_again_by_the_fallback_with_its_own_voice(
    shelf: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    book = shelf(15)
    book.spoil("kokoro", (10, 11), SLOW)
    assert book("--voice", "af_sarah") == 3
    assert book.calls() == [(chunk, "kokoro", "af_sarah") for chunk in ids(range(1, 16))]
    assert "13 made, 0 kept, 2 failed of 15 chunks" in capsys.readouterr().out
    first = book.entry()
    failed = [row["chunk_id"] for row in first["chunks"] if row["status"] == "failed"]
    assert (failed, first["status"]) == (ids((10, 11)), "partial")
    assert {row["validation_reason"] for row in first["chunks"]} == {"valid", "duration_mismatch"}
    assert len(first["chunk_audio_paths"]) == 13 and len(book.digests()) == 15
    before = book.digests()

    assert book(*FALLBACK, "--dry-run") == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("chunk_")]
    assert shown == ["chunk_0010 duration_mismatch", "chunk_0011 duration_mismatch"]
    assert book.calls() == [] and book.entry() == first

    assert book(*FALLBACK) == 0
    assert book.calls() == [(chunk, "xtts", "claribel_dervla") for chunk in ids((10, 11))]
    after = book.digests()
    assert {name for name in before if before[name] != after[name]} == {"chunk_0010.wav", "chunk_0011.wav"}
    entry = book.entry()
    assert [row["chunk_id"] for row in entry["chunks"]] == ids(range(1, 16))
    assert entry["status"] == "success" and entry["errors"] == []
    assert entry["chunk_audio_paths"] == [f"audio/book/{chunk}.wav" for chunk in ids(range(1, 16))]
    assert entry["chunk_audio_paths"] == entry["artifacts"]["chunk_audio_paths"]
    assert entry["metrics"] == {"total_chunks": 15, "chunks_completed": 15, "chunks_failed": 0}
    assert entry["engines_used"] == ["kokoro", "xtts"] and entry["voices_used"] == ["af_sarah", "claribel_dervla"]
    tenth = book.rows()["chunk_0010"]
    assert (tenth["engine"], tenth["voice"], tenth["attempts"]) == ("xtts", "claribel_dervla", 2)
    assert tenth["audio_sha256"] == after["chunk_0010.wav"]
    said = capsys.readouterr().out
    assert "2 made, 13 kept, 0 failed of 15 chunks" in said and "(87 %)" in said
    assert book.summary() == {
        "stage": "synthesize", "unit": "chunk", "in": 15, "done": 15, "skipped": 0, "refused": 0, "by_reason": {},
    }  # fmt: skip


def test_a_fallback_speaks_in_the_run_in_which_the_primary_fails_and_a_second_run_does_nothing(shelf: Make) -> None:
    book = shelf(4)
    book.spoil("kokoro", (2,), QUIET)
    book.spoil("kokoro", (3,), "crash")
    assert book(*FALLBACK) == 0
    assert [call for call in book.calls() if call[1] == "xtts"] == [
        ("chunk_0002", "xtts", "claribel_dervla"), ("chunk_0003", "xtts", "claribel_dervla"),
    ]  # fmt: skip
    second = book.rows()["chunk_0002"]
    assert second["attempts"] == 2 and second["errors"][0].startswith("kokoro (af_sarah): rms_too_low: -4")
    files = _lasting(book)
    changing = {"run.json", "report.html", "report.json"}
    assert book(*FALLBACK) == 0
    assert book.calls() == []
    assert {path.name for path, data in files.items() if path.read_bytes() != data} <= changing
    assert set(_lasting(book)) == set(files)


def _lasting(book: Shelf) -> dict[Path, bytes]:
    """Return all files but the memory of digests, in which files stand only from two seconds after their change on."""
    there = (path for path in book.folder.rglob("*") if path.is_file() and path.parent.name != "digests")
    return {path: path.read_bytes() for path in there}


def test_the_time_of_an_engine_that_failed_is_spent_and_not_saved(shelf: Make) -> None:
    book = shelf(4)
    assert book() == 0
    book.audio("book", 2).unlink()
    book.spoil("kokoro", (2,), "hang")
    assert book("--fallback", "xtts", "--timeout", "1") == 0
    told = json.loads((book.folder / "resplice-work/runs/r/synthesize/saved.json").read_text())
    assert (told["made"], told["kept"]) == (1, 3) and told["engine_s"] > 1
    assert 0 < told["saved_s"] <= 3 * (told["engine_s"] - 1) + 0.01


def test_a_cloned_voice_of_the_primary_is_never_given_to_the_fallback(shelf: Make) -> None:
    book = shelf(2)
    book.spoil("kokoro", (1,), "crash")
    cloned = ("--set", "synthesis.engines.kokoro.voices=['af_bella', 'jim_locke']", "--voice", "jim_locke")
    assert book("--fallback", "xtts", *cloned) == 0
    assert book.calls() == [
        ("chunk_0001", "kokoro", "jim_locke"), ("chunk_0001", "xtts", "claribel_dervla"),
        ("chunk_0002", "kokoro", "jim_locke"),
    ]  # fmt: skip


def test_a_missing_broken_empty_or_rowless_chunk_is_made_again_and_failed_ones_do_not_hide_it(shelf: Make) -> None:
    book = shelf(8)
    book.spoil("kokoro", (8,), QUIET)
    assert book() == 3
    book.called()
    book.audio("book", 1).unlink()
    book.audio("book", 2).write_bytes(b"")
    data = book.audio("book", 3).read_bytes()
    book.audio("book", 3).write_bytes(data[: len(data) // 2])
    book.change(chunks=[row for row in book.entry()["chunks"] if row["chunk_id"] != "chunk_0004"])
    book.text("book", 5).write_text("This is quite another text, which nobody has spoken before today.")
    before = book.digests()
    assert book(*FALLBACK) == 0
    asked = [("chunk_0008", "xtts", "claribel_dervla")]
    assert book.calls() == [(chunk, "kokoro", "af_sarah") for chunk in ids(range(1, 6))] + asked
    after = book.digests()
    assert all(before[f"{chunk}.wav"] == after[f"{chunk}.wav"] for chunk in ids((6, 7)))
    assert list(book.rows()) == ids(range(1, 9))


def test_a_retry_of_a_retry_keeps_what_the_first_one_made(shelf: Make) -> None:
    book = shelf(4)
    book.spoil("kokoro", (2, 3, 4), QUIET)
    book.spoil("xtts", (3, 4), "crash")
    assert book() == 3 and book(*FALLBACK) == 3
    book.mend()
    kept = book.digests()["chunk_0002.wav"]
    book.called()
    assert book(*FALLBACK) == 0
    assert book.called() == ids((3, 4)) and book.digests()["chunk_0002.wav"] == kept
    assert [row["engine"] for row in book.entry()["chunks"]] == ["kokoro", "xtts", "xtts", "xtts"]


def test_an_engine_that_crashes_hangs_writes_nothing_garbage_or_half_fails_that_chunk_only(shelf: Make) -> None:
    book = shelf(6)
    for number, how in enumerate(("crash", "hang", "nothing", "garbage", "cut"), 1):
        book.spoil("kokoro", (number,), how)
    assert book("--timeout", "1.5") == 3
    assert book.refused() == {
        "book/chunk_0001": "engine_failed", "book/chunk_0002": "timeout", "book/chunk_0003": "no_audio",
        "book/chunk_0004": "unreadable", "book/chunk_0005": "unreadable",
    }  # fmt: skip
    rows = book.rows()
    assert rows["chunk_0006"]["status"] == "success"
    assert "ended with 3: model fell over" in rows["chunk_0001"]["errors"][0]
    assert {rows[chunk]["audio_path"] for chunk in ids(range(1, 6))} == {None}
    leader = int((book.folder / "hanging").read_text())
    deadline = time.monotonic() + 10
    while _group_lives(leader) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _group_lives(leader)


def _group_lives(pid: int) -> bool:
    """Return whether a process, or a child of it (`sleep`), is running."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z" and (int(path.parent.name) == pid or int(fields[1]) == pid):
            return True
    return False


def test_empty_missing_and_undecodable_texts_are_refused_and_do_not_shift_the_others(shelf: Make) -> None:
    book = shelf(6)
    book.text("book", 2).write_text(" \n")
    book.text("book", 3).unlink()
    book.text("book", 4).write_bytes(b"\xff\xfe\x00")
    state = book.state()
    state["phase3"]["files"]["book"]["chunk_paths"][4] = None
    book.write(state)
    assert book(*FALLBACK, "--max-refused", "1") == 3
    assert book.called() == ids((1, 6))
    assert list(book.refused().values()) == ["empty_text", "missing_text", "undecodable_text", "missing_text"]
    rows = book.rows()
    assert [rows[chunk]["validation_reason"] for chunk in ids(range(1, 7))] == [
        "valid", "empty_text", "missing_text", "undecodable_text", "missing_text", "valid",
    ]  # fmt: skip
    assert [path[-14:] for path in book.entry()["chunk_audio_paths"]] == ["chunk_0001.wav", "chunk_0006.wav"]
    book.text("book", 2).write_text("At last there is something that can be said about this.")
    assert book(*FALLBACK) == 3
    assert book.calls() == [("chunk_0002", "kokoro", "af_sarah")]


def test_texts_that_are_gone_for_a_while_cost_no_audio(shelf: Make) -> None:
    book = shelf(3)
    assert book() == 0
    (book.folder / "texts").rename(book.folder / "away")
    book.called()
    assert book(run_id="other") == 3
    assert set(book.refused("other").values()) == {"missing_text"}
    (book.folder / "away").rename(book.folder / "texts")
    assert book() == 0
    assert book.called() == [] and book.entry()["status"] == "success"


def test_a_failed_chunk_whose_text_is_gone_for_a_while_keeps_its_history_and_goes_to_the_fallback(
    shelf: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = shelf(2)
    book.spoil("kokoro", (2,), QUIET)
    assert book() == 3
    failed = book.rows()["chunk_0002"]
    book.text("book", 2).rename(book.folder / "away")
    book.called()
    assert book(*FALLBACK, run_id="other") == 3
    assert book.refused("other") == {"book/chunk_0002": "missing_text"} and book.rows()["chunk_0002"] == failed
    assert book.entry()["errors"][0]["message"].startswith("missing_text: ")
    (book.folder / "away").rename(book.text("book", 2))
    with monkeypatch.context() as patch:  # the text goes away when the work has already begun
        patch.setattr("resplice.io.speaking.read_text", lambda path: read_text(book.folder / "gone"))
        assert book(*FALLBACK, run_id="third") == 3
    assert book.rows()["chunk_0002"] == failed
    assert book(*FALLBACK) == 0
    assert book.calls() == [("chunk_0002", "xtts", "claribel_dervla")] and book.rows()["chunk_0002"]["attempts"] == 2


def test_retry_none_leaves_failed_rows_and_makes_missing_ones_and_all_makes_everything_anew(
    shelf: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    book = shelf(4)
    book.spoil("kokoro", (2,), QUIET)
    assert book() == 3
    book.audio("book", 4).unlink()
    book.called(), capsys.readouterr()
    assert book(*FALLBACK, "--retry", "none", "--dry-run") == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("chunk_")] == [
        "chunk_0004 missing_audio"
    ]
    assert book(*FALLBACK, "--retry", "none") == 3
    assert book.called() == ["chunk_0004"] and book.refused() == {"book/chunk_0002": "rms_too_low"}

    before = book.digests()
    book.spoil("kokoro", (1,), "crash")
    assert book("--voice", "af_sarah", "--retry", "all") == 3
    assert book.calls() == [(chunk, "kokoro", "af_sarah") for chunk in ids(range(1, 5))]
    assert book.rows()["chunk_0001"]["status"] == "success"  # it was valid, and stays what it was
    assert book.digests()["chunk_0001.wav"] == before["chunk_0001.wav"]
    assert "book/chunk_0001 was not made anew (engine_failed); its valid audio is kept" in capsys.readouterr().out
    assert book.refused() == {"book/chunk_0002": "rms_too_low"}


def test_many_books_at_once_are_told_apart(shelf: Make) -> None:
    books = shelf(books={"one": 3, "two": 3, "three": 2})
    assert books("--file-id", "one", "--file-id", "two") == 0
    assert books.called() == sorted(ids((1, 2, 3)) * 2)
    assert "three" not in books.state()["phase4"]["files"]
    books.audio("two", 2).unlink()
    assert books("--all") == 0
    assert books.called() == sorted([*ids((1, 2)), "chunk_0002"])
    assert books.summary()["in"] == 8
    assert all(books.entry(name)["status"] == "success" for name in ("one", "two", "three"))


def test_books_that_share_a_folder_and_shifted_names_overwrite_nothing(shelf: Make) -> None:
    books = shelf(books={"one": 3, "two": 2})
    state = books.state()
    state["phase4"] = {"files": {"one": {"artifacts": {"audio_dir": "shared"}}}}
    books.write(state)
    assert books("--file-id", "one") == 0 and (books.folder / "shared.manifest.json").exists()
    state = books.state()
    state["phase4"]["files"]["two"] = {"artifacts": {"audio_dir": f"{books.folder}/./shared"}}
    books.write(state)
    kept = {path: path.read_bytes() for path in (books.folder / "shared").iterdir()}
    assert books("--all") == 0
    assert all(path.read_bytes() == data for path, data in kept.items())
    named = [Path(name).name for name in books.entry("two")["chunk_audio_paths"]]
    assert named == ["chunk_0001-2.wav", "chunk_0002-2.wav"]
    sidecars = {path.name: path.read_bytes() for path in books.folder.glob("shared*.manifest.json")}
    assert sorted(sidecars) == ["shared.one.manifest.json", "shared.two.manifest.json"]
    assert books("--all") == 0
    assert {path.name: path.read_bytes() for path in books.folder.glob("shared*.manifest.json")} == sidecars

    rows = books.entry("one")["chunks"]
    rows[0]["audio_path"], rows[1]["audio_path"] = rows[1]["audio_path"], "gone.wav"  # 1 owns the file named after 2
    books.change("one", chunks=rows)
    assert books("--file-id", "one") == 0
    assert books.entry("one")["chunk_audio_paths"][:2] == ["shared/chunk_0002.wav", "shared/chunk_0002-3.wav"]
    assert all(path.read_bytes() == data for path, data in kept.items())


def test_files_whose_names_begin_alike_are_left_alone(shelf: Make) -> None:
    book = shelf(1)
    assert book() == 0
    others = [
        book.folder / "audio/book" / name for name in ("chunk_00010.wav", "chunk_0001.wav.bak", "chunk_0001_b.wav")
    ]
    for path in others:
        path.write_text("mine")
    book.audio("book", 1).write_bytes(b"broken")
    assert book() == 0
    assert [path.read_text() for path in others] == ["mine"] * 3


def test_a_title_with_numbers_dots_and_spaces_names_its_own_folder_and_no_chunk(shelf: Make) -> None:
    book = shelf(books={"G9 L 1.3. ": 2, "G9 L 1.3": 1})
    assert book("--all", "--workers", "2") == 0
    assert [path.name for path in sorted((book.folder / "audio/G9 L 1.3. ").glob("*.wav"))] == [
        "chunk_0001.wav", "chunk_0002.wav",
    ]  # fmt: skip
    assert len(list((book.folder / "audio/G9 L 1.3").glob("*.wav"))) == 1
    assert book("--file-id", "G9 L 1.3. ") == 0
    assert len(book.called()) == 3


def test_an_absolute_audio_dir_gives_absolute_paths(shelf: Make, tmp_path: Path) -> None:
    book = shelf(2)
    state = book.state()
    state["phase4"] = {"files": {"book": {"artifacts": {"audio_dir": str(tmp_path / "elsewhere"), "note": 1}}}}
    book.write(state)
    assert book() == 0
    assert book.entry()["chunk_audio_paths"] == [f"{tmp_path}/elsewhere/{chunk}.wav" for chunk in ids((1, 2))]
    assert book.entry()["artifacts"]["note"] == 1


@pytest.mark.parametrize(("audio_dir", "told"), [("notes.txt", "is a file"), ("notes.txt/deep", "is a file"),
                                                 ("x" * 300, "File name too long")])  # fmt: skip
def test_where_no_audio_can_be_is_told_before_an_engine_speaks(
    shelf: Make, audio_dir: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    book = shelf(2)
    state = book.state()
    book.path.with_name("notes.txt").write_text("mine")
    state["phase4"] = {"files": {"book": {"artifacts": {"audio_dir": audio_dir}}}}
    book.write(state)
    assert book() == 2 and book.calls() == []
    line = capsys.readouterr().err.splitlines()[-1]
    assert told in line and "give the book another artifacts.audio_dir in" in line


def test_an_old_file_with_integer_ids_nan_and_unknown_keys_keeps_them_all(shelf: Make) -> None:
    book = shelf(3)
    assert book() == 0
    state = book.state()
    entry = state["phase4"]["files"]["book"]
    for number, row in enumerate(entry["chunks"], 1):
        row |= {"chunk_id": number, "rt_factor": float("nan"), "mine": [1, {"é": 2.5e-7}]}
        del row["text_sha256"]
    entry["chunks"][1]["status"] = "failed"
    entry["chunks"] = [{"chunk_id": 12, "extra": True}, *reversed(entry["chunks"]), {"chunk_id": None}, "odd"]
    entry["chunk_0001"] = {"legacy": True}
    entry["chunk_audio_paths"] = ["stale"]
    state |= {"phase5": {"big": 12345678901234567890, "nothing": None}, "half": "\ud83d"}
    book.write(state)
    book.called()
    assert book(*FALLBACK) == 0
    assert book.calls() == [("chunk_0002", "xtts", "claribel_dervla")]
    after = book.entry()
    assert [row["chunk_id"] for row in after["chunks"][:3]] == [1, "chunk_0002", 3]
    assert after["chunks"][3:] == [{"chunk_id": 12, "extra": True}, {"chunk_id": None}, "odd"]
    assert after["chunk_0001"] == {"legacy": True} and len(after["chunk_audio_paths"]) == 3
    assert all((row["rt_factor"], row["mine"]) == (None, [1, {"é": 2.5e-7}]) for row in after["chunks"][:3])
    assert {key: book.state()[key] for key in ("phase5", "half")} == {key: state[key] for key in ("phase5", "half")}


def test_what_is_made_has_a_sidecar_that_can_be_verified(shelf: Make) -> None:
    book = shelf(2)
    book.spoil("kokoro", (2,), QUIET)
    assert book() == 3
    sidecar = book.folder / "audio/book/chunk_0001.wav.manifest.json"
    facts = json.loads(sidecar.read_text())
    assert facts["run_id"] == "r" and facts["stats"]["engine"] == "kokoro"
    assert main(["manifest", "verify", str(sidecar)]) == 0
    assert not (book.folder / "audio/book/chunk_0002.wav.manifest.json").exists()
    book.audio("book", 1).write_bytes(b"other")
    assert main(["manifest", "verify", str(sidecar)]) == 4


@pytest.mark.parametrize("sidecar", ["{", "{}", '{"run_id": "r", "run_provenance": {"inputs": {}, "outputs": {}}}'])
def test_a_sidecar_that_does_not_read_as_ours_counts_as_none(shelf: Make, sidecar: str) -> None:
    book = shelf(2)
    assert book() == 0
    places = [book.folder / f"audio/book{name}.manifest.json" for name in ("/chunk_0001.wav", "")]
    for place in places:
        place.write_text(sidecar)
    assert book() == 0 and book.summary()["skipped"] == 1
    assert places[0].read_text() == sidecar and json.loads(places[1].read_text())["stats"]["file_id"] == "book"


def test_odd_paths_in_rows_and_texts_are_no_files(shelf: Make) -> None:
    book = shelf(4)
    assert book() == 0
    rows = book.entry()["chunks"]
    for row, odd in zip(rows, ("a\0b", "\ud800", ["a"], None), strict=True):
        row["audio_path"] = odd
    book.change(chunks=rows)
    assert book("--dry-run") == 0 and book() == 0
    state = book.state()
    state["phase3"]["files"]["book"]["chunk_paths"][:2] = ["a\0b", "\ud800"]
    book.write(state)
    assert book() == 3 and list(book.refused().values()) == ["missing_text", "missing_text"]


def test_the_report_tells_what_the_run_came_to(shelf: Make, capsys: pytest.CaptureFixture[str]) -> None:
    book = shelf(3)
    book.spoil("kokoro", (2,), QUIET)
    assert book() == 3
    folder = book.folder / "resplice-work/runs/r"
    page, facts = (folder / "report.html").read_text(), json.loads((folder / "report.json").read_text())
    assert "1 chunks are not valid" in page and "rms_too_low" in page
    assert facts["books"] == {"book": {"chunks": 3, "engines": {"kokoro": 2}, "valid": 2}}
    assert (facts["saved"]["made"], facts["saved"]["failed"]) == (2, 1)
    capsys.readouterr()
    place = "--set=corpus.workspace=resplice-work"
    assert main(["failed", "--run-id", "r", place]) == 0 and main(["status", "--run-id", "r", place]) == 0
    assert main(["report", "--run-id", "r", place]) == 0
    said = capsys.readouterr().out
    assert "rms_too_low" in said and "chunk" in said and (folder / "report.html").read_text().count("rms_too_low")


def test_audio_that_was_replaced_by_a_process_that_died_before_its_row_is_not_taken_for_valid(
    shelf: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = shelf(2)
    assert book() == 0
    book.audio("book", 2).unlink()
    book.spoil("kokoro", (2,), QUIET)
    record = PipelineJson.record

    def dies(self: PipelineJson, record_: Record, first: bool = False) -> None:
        if not first:
            raise KeyboardInterrupt
        record(self, record_, first)

    monkeypatch.setattr(PipelineJson, "record", dies)
    assert book() == 130
    assert book.audio("book", 2).exists()
    monkeypatch.undo()
    monkeypatch.chdir(book.folder)
    book.mend(), book.called()
    assert book(*FALLBACK) == 0
    assert book.calls() == [("chunk_0002", "kokoro", "af_sarah")]
    assert book.rows()["chunk_0002"]["audio_sha256"] == book.digests()["chunk_0002.wav"]


def test_a_dry_run_writes_nothing(shelf: Make) -> None:
    book = shelf(3)
    before = {path: path.stat().st_mtime_ns for path in book.folder.rglob("*")}
    assert book("--dry-run") == 0
    assert {path: path.stat().st_mtime_ns for path in book.folder.rglob("*")} == before


def test_what_espeak_makes_is_valid_as_it_is(shelf: Make) -> None:
    book = shelf(3, config="")
    assert book("--voice", "en-us+f3", engine="espeak") == 0
    assert book.rows()["chunk_0003"]["voice"] == "en-us+f3"
    assert soundfile.info(book.audio("book", 1)).frames > 22050
    assert book.entry()["requested_engine"] == "espeak"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phase3": None}, "has no books: phase3.files is empty or missing"),
        ({"phase3": {"files": []}}, "has no books"),
        ({"phase3": {"files": {"book": ["t/1.txt"]}}}, r"phase3.files\['book'\] must be an object, not a list"),
        ({"phase3": {"files": {"book": "x"}}}, r"phase3.files\['book'\] must be an object, not a str"),
        ({"phase3": {"files": {"\ud800": {"chunk_paths": ["a.txt"]}}}}, r"book '\\ud800' has a name that is no UTF-8"),
        ({"phase4": {"files": {"book": {"artifacts": {"audio_dir": "a\0b"}}}}}, r"audio_dir is no path: 'a\\x00b'"),
        ({"phase4": {"files": {"book": {"artifacts": {"audio_dir": "\udc00"}}}}}, r"audio_dir is no path: '\\udc00'"),
        ({"phase3": {"files": {"book": {"chunk_paths": "texts"}}}}, "chunk_paths must be a list of paths, not a str"),
        ({"phase4": {"files": {"book": {"chunks": {"1": {}}}}}}, "chunks must be a list, not a dict"),
        ({"phase4": {"files": {"book": []}}}, r"phase4.files\['book'\] must be an object, not a list"),
        ({"phase4": []}, "phase4 of pipeline.json must be an object, not a list"),
        ({"phase3": {"files": {"book": {"chunk_paths": ["a.txt"]}, "a/b": {"chunk_paths": ["a.txt"]}}}},
         "book 'a/b' cannot name a folder: give it artifacts.audio_dir"),
    ],
)  # fmt: skip
def test_a_state_that_cannot_be_meant_is_exit_2_and_stays_as_it_is(
    shelf: Make, change: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    book = shelf(1)
    book.write({**book.state(), **change})
    before = book.path.read_bytes()
    assert book("--all", engine="espeak") == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert re.search(message, err), err
    assert book.path.read_bytes() == before


@pytest.mark.parametrize("files", [{"book": None}, {"book": {}}, {"book": {"chunk_paths": []}}])
def test_a_book_without_texts_is_done(shelf: Make, files: dict[str, Any]) -> None:
    book = shelf(1)
    book.write({"phase3": {"files": files}})
    assert book("--all") == 0
    assert book.entry()["status"] == "success" and book.entry()["metrics"]["total_chunks"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--engine", "cocoro"), "--engine cocoro is no engine; known: espeak, kokoro, xtts"),
        (("--fallback", "piper"), "--fallback piper is no engine; known: espeak, kokoro, xtts"),
        (("--fallback", "kokoro"), "--fallback kokoro is --engine, too, which is asked once: name another, or none"),
        (("--voice", "jim_locke"), "--voice jim_locke is no voice of kokoro; known: af_bella, af_sarah, bf_emma, "),
        (("--file-id", "nobook"), "--file-id 'nobook' is no book of phase3 in .*; known: book"),
        (("--timeout", "0"), "--timeout must be a number of seconds above 0, got 0.0"),
        (("--pipeline-json", "none.json"), "--pipeline-json none.json: there is no such file"),
        (("--all", ""), "give --file-id BOOK .* or --all"),
        (("--set", "synthesis.engines.a.voice=x"), "unknown key synthesis.engines.a.voice in --set"),
        (("--set", "synthesis.engines.a.voices=['x']"), r"\[synthesis.engines.a\] must have a command and voices"),
        (("--set", "synthesis.engines.xtts.command=['x', '{text}']"), r"command must hold \{text\} and \{wav\}"),
        (("--set", "synthesis.engines.xtts.default_voice=zoe"), "default_voice must be one of its voices"),
        (("--set", "synthesis.level=loud"), "synthesis.level must be one of acx, legacy"),
    ],
)
def test_what_cannot_be_meant_is_exit_2_in_one_line_and_writes_nothing(
    shelf: Make, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    book = shelf(1)
    flags = dict(zip(book.command()[1::2], book.command()[2::2], strict=True))
    flags |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    given = ["synthesize", *(word for flag, value in flags.items() for word in (flag, value) if word)]
    assert main(given) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert re.search(message, err), err
    assert not (book.folder / "resplice-work").exists() and "phase4" not in book.state()


def test_an_engine_whose_package_or_program_is_missing_is_told_before_anything_is_made(
    shelf: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    book = shelf(1, config="")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert book() == 2
    assert "engine kokoro: the Python package kokoro is not installed: pip install" in capsys.readouterr().err
    assert book("--fallback", "xtts", engine="espeak") == 2
    assert "engine xtts: the Python package coqui-tts is not installed" in capsys.readouterr().err
    monkeypatch.setenv("PATH", os.fspath(book.folder))
    assert book(engine="espeak") == 2
    assert "there is no program espeak-ng: install it (Debian: apt install espeak-ng)" in capsys.readouterr().err
    assert "phase4" not in book.state()


@pytest.mark.slow
def test_of_899_chunks_exactly_the_42_that_are_missing_are_made(shelf: Make) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    book = shelf(899)
    assert book("--workers", "2") == 0
    gone = sorted(random.Random(seed).sample(range(1, 900), 42))
    for number in gone:
        book.audio("book", number).unlink()
    book.called()
    before = book.digests()
    assert book("--workers", "2") == 0
    assert book.called() == ids(gone)
    after = book.digests()
    assert len(after) == 899 and {name: after[name] for name in before} == before
    assert list(book.rows()) == ids(range(1, 900))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_an_interruption_keeps_what_was_made(shelf: Make, number: int, code: int) -> None:
    from processes import Group
    from speaking import program

    book = shelf(12)
    group = Group(program(book), cwd=book.folder, env={**os.environ, "PACE": "0.2"})
    deadline = time.monotonic() + 60
    while not book.audio("book", 1).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(group.leader.pid, number)
    assert group.leader.wait(60) == code
    group.end()
    made = [row["chunk_id"] for row in book.entry()["chunks"] if row["status"] == "success"]
    assert made
    book.called()
    assert book() == 0
    assert not set(book.called()) & set(made)


def test_a_bundle_that_runs_four_times_asks_no_engine_twice(shelf: Make) -> None:
    book = shelf(5)
    book.spoil("kokoro", (2,), QUIET)
    assert book(*FALLBACK, "--direct_runner_bundle_repeat=3") == 0
    assert book.called() == sorted([*ids(range(1, 6)), "chunk_0002"])
    assert book.rows()["chunk_0002"]["attempts"] == 2


def test_the_chunks_of_all_books_are_elements_of_one_pipeline(shelf: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from apache_beam.pipeline import Pipeline

    books, ran = shelf(books={"one": 3, "two": 2}), []
    run = Pipeline.run
    monkeypatch.setattr(Pipeline, "run", lambda self, *more: ran.append(self) or run(self, *more))
    assert books("--all", "--workers", "2") == 0
    (pipeline,) = ran
    (items,) = [t for t in labels(pipeline) if t.full_label == "Items"]
    assert len(list(items.transform.values)) == 5 and {type(span) for span in items.transform.values} == {tuple}
    assert {"Synthesize/Spread", "Synthesize/Speak"} <= {t.full_label for t in labels(pipeline)}
    assert sorted(books.called()) == sorted([*ids((1, 2, 3)), *ids((1, 2))])
    assert list(books.rows("one")) == ids((1, 2, 3))  # by number, in whatever order they were made


def labels(pipeline: Any) -> list[Any]:
    """Return the applied transforms of a pipeline."""
    found, left = [], [pipeline._root_transform()]
    while left:
        node = left.pop()
        found.append(node)
        left += node.parts
    return found


def test_the_manual_can_be_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demand()
    document = ROOT / "docs/synthesis.md"
    steps = Shell(tmp_path, monkeypatch).play(document)
    done = [each for _, part in steps for each in part]
    assert [each.code for each in done] == [each.command.code for each in done] and len(done) == 5
    said = [each.said for each in done]
    assert "3 made, 0 kept, 0 failed" in said[0] and "0 made, 3 kept, 0 failed" in said[1]
    assert said[3] in [block.text for block in blocks(document, "text")]
    assert "1 made, 2 kept, 0 failed of 3 chunks" in said[4]
    (shown,) = (json.loads(block.text) for block in blocks(document, "json") if "chunk_id" in block.text)
    row = json.loads((tmp_path / "pipeline.json").read_text())["phase4"]["files"]["book"]["chunks"][1]
    assert shown.keys() == row.keys() and shown["validation_details"].keys() <= row["validation_details"].keys()
    same = ("chunk_id", "text_len", "engine", "voice", "audio_path", "status", "attempts")
    assert [shown[key] for key in same] == [row[key] for key in same]
    assert round(row["est_dur"], 2) == shown["est_dur"]
