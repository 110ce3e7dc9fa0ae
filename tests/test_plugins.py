"""Plug-ins of third parties: they do their work by name, and a bad one costs its segment or video, never the run."""

from __future__ import annotations

import json
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from corpus import Corpus

from resplice.io.pool import close_all

Planned = Callable[[], Corpus]
VIDEO = "collapsed-splits"


@pytest.fixture(autouse=True)
def new_workers() -> Iterator[None]:
    """Start every test with workers that know its sys.path."""
    close_all()
    yield
    close_all()


def wave(corpus: Corpus, tmp_path: Path, *videos: str) -> Corpus:
    """Narrow the plan of a fresh run to some videos."""
    (tmp_path / "wave.txt").write_text("".join(f"{video}\n" for video in videos), "utf-8")
    assert corpus("plan", f"--videos={tmp_path / 'wave.txt'}") == 0
    return corpus


@pytest.mark.parametrize(
    ("splitter", "reason"),
    [
        ("aborts", "crashed"),
        ("sleeps", "timeout"),
        ("allocates", "out_of_memory"),
        ("raises", "crashed"),
        ("outside", "crashed"),
    ],
)
def test_a_bad_splitter_costs_its_video(planned: Planned, tmp_path: Path, splitter: str, reason: str) -> None:
    corpus = wave(planned(), tmp_path, VIDEO, "raw-missing")
    assert corpus("repair", f"--set=polish.splitter=splitters:{splitter}", "--set=run.timeout_s=0.5") == 0
    refused = {line["unit"]: line["reason"] for line in corpus.lines("repair/refused.jsonl")}
    assert refused == {VIDEO: reason, "raw-missing": "raw_missing"}


def test_a_splitter_that_only_cuts_gives_the_same_tar_and_its_settings_reach_it(
    planned: Planned, recovered: Corpus, tmp_path: Path
) -> None:
    corpus = wave(planned(), tmp_path, VIDEO)
    assert corpus("repair", "--set=polish.splitter=splitters:halves") == 0
    tar = f"repair/transcribed/{VIDEO}_transcribed.tar"
    assert corpus.path(tar).read_bytes() == recovered.path(tar).read_bytes()


def test_a_splitter_that_returns_samples_gives_segments_without_bounds(planned: Planned, tmp_path: Path) -> None:
    corpus = wave(planned(), tmp_path, VIDEO)
    assert corpus("repair", "--set=polish.splitter=splitters:copies") == 0
    with tarfile.open(corpus.path(f"repair/transcribed/{VIDEO}_transcribed.tar")) as tar:
        segments = [json.load(tar.extractfile(m)) for m in tar if "/transcriptions/" in m.name]
    assert segments and all(segment["start_s"] is None for segment in segments)


def test_another_splitter_version_makes_the_tar_again(
    planned: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = wave(planned(), tmp_path, VIDEO)
    module = tmp_path / "own_splitter.py"
    monkeypatch.syspath_prepend(tmp_path)
    sidecar = corpus.path(f"repair/transcribed/{VIDEO}_transcribed.tar.manifest.json")
    prints = []
    for version in ("1", "1", "2"):
        module.write_text(f"from splitters import halves\n__version__ = '{version}'\n", "utf-8")
        close_all()  # a new process would load the module anew
        assert corpus("repair", "--set=polish.splitter=own_splitter:halves") == 0
        prints.append((json.loads(sidecar.read_text("utf-8"))["fingerprint"], sidecar.stat().st_mtime_ns))
    assert prints[0] == prints[1] != prints[2]
    assert prints[0][0] != prints[2][0]


def test_another_json_writer_gives_loaders_the_old_shape(planned: Planned, tmp_path: Path) -> None:
    corpus = wave(planned(), tmp_path, VIDEO)
    assert corpus("repair", "--set=repair.json=splitters:old_json") == 0
    with tarfile.open(corpus.path(f"repair/transcribed/{VIDEO}_transcribed.tar")) as tar:
        texts = [json.load(tar.extractfile(m)) for m in tar if "/transcriptions/" in m.name]
    assert texts and all(set(text) == {"text", "name"} for text in texts)


def test_a_json_writer_that_fails_costs_its_video(planned: Planned, tmp_path: Path) -> None:
    corpus = wave(planned(), tmp_path, VIDEO)
    assert corpus("repair", "--set=repair.json=splitters:no_bytes") == 0
    assert [line["reason"] for line in corpus.lines("repair/refused.jsonl")] == ["crashed"]


def test_a_plug_in_that_is_not_there_stops_before_any_work(
    planned: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = planned()
    assert corpus("repair", "--set=polish.splitter=nowhere:f") == 2
    assert "'nowhere:f' cannot be loaded" in capsys.readouterr().err


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution that brings the engine `foreign`."""
    info = tmp_path / "site/foreign-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text("[resplice.engines]\nforeign = splitters:Engine\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path / "site")
    sys.path_importer_cache.clear()


def test_an_installed_engine_judges_with_settings_and_measures_of_its_own(
    planned: Planned, tmp_path: Path, installed: None
) -> None:
    corpus = wave(planned(), tmp_path, VIDEO)
    assert corpus("repair") == 0
    assert corpus("validate", '--set=validate.engines=["foreign"]') == 0
    rows = corpus.results()
    assert rows and {(row["engine"], row["status"]) for row in rows} == {("foreign", "passed")}
    assert all(row["letters"] > 0 and row["rate_hz"] == 16000 for row in rows)


@pytest.mark.parametrize(
    ("does", "reason"),
    [("aborts", "crashed"), ("sleeps", "timeout"), ("allocates", "out_of_memory"), ("raises", "engine_failed")],
)
def test_a_bad_engine_costs_its_segments_and_a_retry_judges_just_these(
    planned: Planned, tmp_path: Path, installed: None, does: str, reason: str
) -> None:
    corpus = wave(planned(), tmp_path, VIDEO)
    assert corpus("repair") == 0
    engines = ['--set=validate.engines=["foreign"]', "--set=run.timeout_s=0.5"]
    assert corpus("validate", *engines, f"--set=validate.foreign.does={does}") == 0
    assert Counter((r["status"], *r["reasons"]) for r in corpus.results()) == {("error", reason): len(corpus.results())}
    assert corpus("merge") == 0
    assert corpus("verify") == 3  # the affected videos outside the wave are unaccounted
    mine = {row["reason"] for (video, _), row in corpus.coverage().items() if video == VIDEO}
    assert mine == {reason}
    assert corpus("validate", *engines) == 0
    assert {row["status"] for row in corpus.results()} == {"passed"}


full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")


@full_device
def test_a_splitter_on_a_full_disk_stops_the_run_and_costs_no_video(
    planned: Planned, recovered: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = wave(planned(), tmp_path, VIDEO)
    assert corpus("repair", "--set=polish.splitter=splitters:fills") == 75
    assert "out of disk space" in capsys.readouterr().err
    assert corpus("repair", "--set=polish.splitter=splitters:halves") == 0
    tar = f"repair/transcribed/{VIDEO}_transcribed.tar"
    assert corpus.path(tar).read_bytes() == recovered.path(tar).read_bytes()


@full_device
def test_an_engine_on_a_full_disk_stops_the_run_and_costs_no_segment(
    planned: Planned, tmp_path: Path, installed: None, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = wave(planned(), tmp_path, VIDEO)
    assert corpus("repair") == 0
    engines = '--set=validate.engines=["foreign"]'
    assert corpus("validate", engines, "--set=validate.foreign.does=fills") == 75
    assert "out of disk space" in capsys.readouterr().err
    assert corpus.results() == []
    assert corpus("validate", engines) == 0
    assert {row["status"] for row in corpus.results()} == {"passed"}
