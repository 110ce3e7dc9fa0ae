"""What `embed` leaves alone because it failed again and again, and what it does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from embedding import Music
from test_embedders import graph

from resplice.io.checkpoint import Checkpoint
from resplice.transforms import provenance

HASTE = ("--set", "run.timeout_s=0.0001")


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Music:
    made = Music.make(tmp_path / "here", 1)
    monkeypatch.chdir(made.folder)
    return made


def quarantine(library: Music) -> Path:
    return library.folder / "data/embed_checkpoint_quarantine.jsonl"


def test_a_content_that_has_succeeded_counts_from_0_again(library: Music) -> None:
    for run in "abc":
        assert library(*HASTE, run=run) == 3
    assert library(run="d") == 0 and library.counters == {"requested": 1, "skipped_quarantined": 1}
    assert library("--retry-quarantined", run="e") == 0 and library.counters["succeeded"] == 1
    assert library(*HASTE, "--out", "elsewhere", run="f") == 3
    assert quarantine(library).read_text() == ""


def test_what_is_there_is_no_matter_of_the_quarantine(library: Music) -> None:
    for run in "abc":
        assert library(*HASTE, run=run) == 3
    row = quarantine(library).read_text()
    assert library("--retry-quarantined", run="e") == 0
    quarantine(library).write_text(row)
    assert library("--resume", run="g") == 0 and library.counters == {"requested": 1, "skipped_checkpoint": 1}
    assert library.checkpoint["completed_paths"] == [str(library.path("track000.flac"))]


def test_what_a_model_fails_at_is_left_by_that_model_only(library: Music, tmp_path: Path) -> None:
    settings = graph(tmp_path / "m.onnx", scale=float("nan"))
    model = ("--embedder", settings["embedder"], "--model-sha256", settings["model_sha256"])
    for run in "abc":
        assert library(*model, run=run) == 3
    assert library(*model, run="d") == 0 and library.counters == {"requested": 1, "skipped_quarantined": 1}
    assert library(run="e") == 0 and library.counters == {"requested": 1, "queued": 1, "succeeded": 1}
    assert len(quarantine(library).read_text().splitlines()) == 1


def test_what_is_not_supported_is_tried_each_time(library: Music) -> None:
    library.path("notes.txt").write_text("no audio")
    for run in "abcd":
        assert library(run=run, given=("music/notes.txt",)) == 3
        assert library.counters == {"requested": 1, "queued": 1, "failed": 1}
    assert not quarantine(library).exists()


def test_a_row_without_a_digest_is_of_its_path_and_lines_that_are_no_rows_stay(library: Music) -> None:
    row = {"path": str(library.path("track000.flac")), "reason": "timeout", "attempts": 3, "size_bytes": 1}
    text = "a note\n" + json.dumps(row) + "\n"
    quarantine(library).parent.mkdir()
    quarantine(library).write_text(text)
    assert library() == 0 and library.counters == {"requested": 1, "skipped_quarantined": 1}
    assert quarantine(library).read_text() == text
    assert library("--retry-quarantined") == 0 and quarantine(library).read_text() == "a note\n"


def test_lines_of_other_types_are_none_of_ours(tmp_path: Path) -> None:
    checkpoint = Checkpoint.at(str(tmp_path / "c.json"))
    line = {"timestamp": "t", "path": "/a", "phase": "decode", "reason": "crashed", "error": "", "content_sha256": "c",
            "size_bytes": 1, "embedder_digest": "e", "windows": "full"}  # fmt: skip
    checkpoint.log([{**line, "run_id": run} for run in "abc"])
    wrong = {"path": 1, "content_sha256": [], "reason": {}, "run_id": [1], "timestamp": None, "size_bytes": "1",
             "embedder_digest": [], "windows": 2}  # fmt: skip
    checkpoint.log([{**line, "run_id": "d", name: value} for name, value in wrong.items()])
    others = [{"path": name, "content_sha256": [1]} for name in "xy"] + [{"path": "/b", "windows": {}}]
    checkpoint.quarantine.write_bytes(provenance.jsonl(others))
    assert checkpoint.keep_quarantined((), "e", "full") == 1
    first, *kept = map(json.loads, checkpoint.quarantine.read_text().splitlines())
    assert (first["path"], first["attempts"]) == ("/a", 3) and kept == others
    assert checkpoint.quarantined("e", "full") == {"c"}
