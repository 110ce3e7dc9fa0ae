"""A model that raises, crashes, hangs or answers nonsense costs the recordings it does so at, never the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from embedding import RATE, Music

from resplice.io.pool import close_all
from resplice.pipelines.__main__ import main

SECONDS = {"ok": 0.6, "raises": 0.7, "aborts": 0.8, "hangs": 0.9, "eats": 1.0, "leaves": 1.1, "alone": 1.2, "nan": 1.3,
           "longer": 1.4, "table": 1.5, "nothing": 1.6, "scalar": 1.7, "words": 1.8}  # fmt: skip
"""What a model does is told by the length of what it gets."""
ODD = "longer.wav", "table.wav", "nothing.wav", "scalar.wav", "words.wav"
MODULE = f"""
import os, time
import numpy as np

WHAT = {{round(seconds * {RATE}): what for what, seconds in {SECONDS!r}.items()}}

class Poisoned:
    name, digest, sample_rate = "poisoned", "1", {RATE}

    def __init__(self, argument, settings):
        self.argument = argument
        if argument == "fails":
            raise KeyError("weights")
        if argument == "blank":
            self.digest = None

    def load(self):
        if self.argument == "aborts":
            os.abort()
        self.loaded = bytearray(600 << 20)  # more than run.memory_mb

    def embed(self, windows):
        assert self.loaded is not None and len(windows) <= settings_batch
        found = [self.one(window, len(windows)) for window in windows]
        print("a word on stdout that is nobody's")
        return found

    def one(self, window, together):
        what = WHAT[len(window)]
        if what == "raises":
            raise RuntimeError("no such thing")
        if what == "aborts":
            os.abort()
        if what == "hangs":
            time.sleep(600)
        if what == "eats":
            bytearray(8 << 30)
        if what == "leaves":
            raise SystemExit(0)
        if what == "alone" and together > 1:
            raise RuntimeError("it wants to be alone")
        odd = dict(longer=np.ones(5), table=np.ones((2, 2)), nothing=None, scalar=1.0, words=["a", "b"])
        if what in odd:
            return odd[what]
        return np.full(4, np.nan if what == "nan" else np.abs(window).mean())

settings_batch = 8
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Music]:
    folder = tmp_path / "site/thirdparty-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: thirdparty\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[resplice.embedders]\npoisoned = poisoned_model:Poisoned\n")
    (tmp_path / "site/poisoned_model.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    made = Music(tmp_path / "here")
    for number, (what, seconds) in enumerate(SECONDS.items()):
        made.write(f"{what}.wav", number, seconds)
        made.write(f"{what}-not.wav", 100 + number, SECONDS["ok"])
    monkeypatch.chdir(made.folder)
    close_all()
    yield made
    close_all()


def test_what_a_model_does_to_some_recordings_is_told_of_them_and_the_others_have_their_vectors(
    library: Music, capfd: pytest.CaptureFixture[str]
) -> None:
    limits = ("--set", "run.timeout_s=2", "--set", "run.memory_mb=256")
    assert library("--embedder", "poisoned", "--batch-size", "4", *limits) == 0
    crashed = dict.fromkeys(("raises.wav", "aborts.wav", "eats.wav", "leaves.wav", *ODD), ("embed", "crashed"))
    assert library.failures() == {**crashed, "hangs.wav": ("embed", "timeout"), "nan.wav": ("embed", "non_finite")}
    assert set(library.vectors()) == {"ok.wav", "alone.wav", *(f"{what}-not.wav" for what in SECONDS)}
    log = (library.folder / "data/embed_checkpoint_failed.jsonl").read_text("utf-8")
    for told in ("RuntimeError: no such thing", "worker died by SIGABRT", "no answer in 2 s; raise run.timeout_s",
                 "more than 256 MiB above idle: MemoryError; raise run.memory_mb", "SystemExit: 0",
                 "gave a vector of 5 numbers, and of 4 before", "gave float64 of shape [2, 2] for a window",
                 "gave object of shape [] for a window"):  # fmt: skip
        assert told in log
    assert "nobody's" not in capfd.readouterr().out


def test_a_model_that_dies_when_it_is_loaded_ends_the_run_with_one_line(
    library: Music, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(library.arguments("--embedder", "poisoned:aborts")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "resplice embed: a worker process could not load what it needs: worker died by SIGABRT"
    assert library.checkpoint["status"] == "running" and library.checkpoint["completed_paths"] == []


@pytest.mark.parametrize(
    ("spec", "told"), [("fails", "failed: KeyError: 'weights'"), ("blank", "made a Poisoned whose digest is no str")]
)
def test_a_factory_that_fails_is_named(
    library: Music, capsys: pytest.CaptureFixture[str], spec: str, told: str
) -> None:
    assert main(library.arguments("--embedder", f"poisoned:{spec}")) == 2
    named = "embed.embedder: poisoned = poisoned_model:Poisoned of the entry points resplice.embedders"
    assert f"{named} {told}" in capsys.readouterr().err


def test_vectors_are_as_long_as_those_that_are_there(library: Music) -> None:
    assert library("--embedder", "poisoned", given=("music/longer.wav",)) == 0
    assert (
        library(
            "--embedder", "poisoned", "--checkpoint-every", "1", given=("music/longer.wav", "music/ok.wav"), run="s"
        )
        == 0
    )
    assert library.failures() == {"ok.wav": ("embed", "crashed")}
    assert set(library.table().column("dim").to_pylist()) == {5}
