"""docs/corpus.md: its commands run in order, its words are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from blocks import ROOT, Shell
from clips import konvid, pair
from test_corpus_rows import KEYS

from resplice.io import clips, scoring
from resplice.transforms.corpus_rows import UNAVAILABLE

MANUAL = ROOT / "docs" / "corpus.md"


def test_the_commands_of_the_manual_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    konvid(tmp_path / "konvid-1k", "a")
    pair(tmp_path / "netflix")  # they tell their size, and are small
    shell = Shell(tmp_path, monkeypatch)
    shell.play(MANUAL)
    assert [done.command.text for done in shell.done if done.code != done.command.code] == []
    (row,) = map(json.loads, (tmp_path / "bvi_dvc.jsonl").read_text("utf-8").splitlines())
    assert (row["adm2_mean"], row["vmaf_score"], row["width"]) == (0.97, 90.5, 480)
    assert json.loads((tmp_path / "bvi_dvc.intoto.json").read_text("utf-8"))["subject"]


def test_the_size_of_the_manual_is_one_of_real_videos() -> None:
    assert re.findall(r"--yuv-size (\d+x\d+)", MANUAL.read_text("utf-8")) == ["1920x1080"]


def test_the_manual_names_every_key_and_column_that_it_does_not_count() -> None:
    text = MANUAL.read_text("utf-8")
    told = {*KEYS.split()} - {*UNAVAILABLE}
    spelt = {name for name in told if f"`{name}`" in text or name[:9] in ("vif_scale",)}
    assert told == spelt and f"the other {len(UNAVAILABLE)} |" in text
    assert all(f"`{name}`" in text for name in clips.SCHEMA.names if not name.startswith("vif_scale"))
    assert all(f"`{name}`" in text for name in scoring.SCHEMA.names[:6])
