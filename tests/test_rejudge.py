"""validate --rejudge, --sweep and calibrate on the demo: new thresholds without audio, and what labels say of them."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import Corpus
from hypothesis import given
from hypothesis import strategies as st

from resplice.io import engines, rejudging, sidecars
from resplice.io.context import Context
from resplice.io.judging import Prints
from resplice.io.work import Planned as Video
from resplice.transforms.calibration import Labelled, curve, of_rule, share
from resplice.transforms.kinds import KINDS
from resplice.transforms.provenance import Run, fingerprint
from resplice.transforms.settings import Settings
from resplice.transforms.verdict import VIDEO_REASONS

Planned = Callable[[], Corpus]
NEW = "--set=validate.signal.rate_low=14"
MARGIN = ("--set=validate.signal.rate_low=14", "--set=validate.signal.margin_rate_low=1")
WITH_SNR = '--set=validate.engines=["signal", "snr"]'


def shards(corpus: Corpus) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(corpus.path("validate/shards").glob("*.parquet"))}


def times(corpus: Corpus) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in corpus.path("validate/shards").glob("*")}


def test_judging_again_is_judging_anew_to_the_byte_and_validate_has_nothing_more_to_do(
    again: Corpus, tmp_path: Path
) -> None:
    before = shards(again)
    shutil.copytree(again.workspace, tmp_path / "anew")
    anew = Corpus(again.folder, tmp_path / "anew")
    assert again("validate", "--rejudge", NEW) == anew("validate", NEW) == 0
    assert shards(again) == shards(anew) != before
    made = times(again)
    assert again("validate", NEW) == again("validate", "--rejudge", NEW) == 0
    assert times(again) == made
    assert again("validate", "--rejudge") == 0 and shards(again) == before


def test_an_engine_before_signal_hides_no_neighbour_and_judging_again_is_judging_anew(
    again: Corpus, tmp_path: Path
) -> None:
    first, other = '--set=validate.engines=["snr", "signal"]', "--set=validate.snr.snr_low=20"
    assert again("validate", first) == 0
    rows = again.results()
    assert "snr" in {row["engine"] for row in rows}
    assert all(row["pcm_md5"] for row in rows if "undecodable" not in row["reasons"])
    shutil.copytree(again.workspace, tmp_path / "anew")
    anew = Corpus(again.folder, tmp_path / "anew")
    assert again("validate", "--rejudge", first, other) == anew("validate", first, other) == 0
    assert shards(again) == shards(anew)


def test_merge_publishes_what_was_decided_again(again: Corpus) -> None:
    before = again.json("verify/coverage.json")
    assert [again("validate", "--rejudge", NEW), again("merge"), again("verify")] == [0, 0, 0]
    after = again.json("verify/coverage.json")
    assert (after["snapshot"], after["validated"]) == (before["snapshot"] + 1, before["validated"])
    assert after["failed"] > before["failed"]


def test_a_fingerprint_is_the_digest_of_all_its_parts() -> None:
    context, versions = Context(Run("r", "w", "test", ""), Settings()), {"signal": "1"}
    chain = engines.ChainSpec((("signal", (("rate_low", 2.0),)),))
    video = Video("v", False, 1, 0.0, None, None, "a" * 64, None)
    assert Prints(context, chain, versions).of("b" * 64, video) == fingerprint(
        tar="b" * 64, rows="a" * 64, columns=context.settings.database.columns, chain=chain, versions=versions,
        tools=sidecars.tools(),
    )  # fmt: skip


def test_no_audio_is_read(again: Corpus) -> None:
    shutil.rmtree(again.path("repair/transcribed"))
    assert again("validate", "--rejudge", NEW) == 0


MOMENTS = ("before the shard", "before its sidecar")


@pytest.mark.parametrize("at", MOMENTS)
def test_killed_between_its_writes_it_ends_the_same(
    again: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    shutil.copytree(again.workspace, tmp_path / "whole")
    whole = Corpus(again.folder, tmp_path / "whole")
    assert whole("validate", "--rejudge", NEW) == 0
    number = MOMENTS.index(at)
    calls = Counter[str]()

    def dying(module: Any, name: str, key: int) -> None:
        real = getattr(module, name)

        def call(*arguments: Any) -> Any:
            calls[arguments[key]] += 1
            if calls[arguments[key]] > number:
                raise RuntimeError("killed")
            return real(*arguments)

        monkeypatch.setattr(module, name, call)

    dying(rejudging.sidecars, "write", 1)
    dying(rejudging.refusals, "put", 1)
    assert again("validate", "--rejudge", NEW) == 1
    monkeypatch.undo()
    assert again("validate", "--rejudge", NEW) == 0
    assert shards(again) == shards(whole)
    outputs = [
        json.loads(p.read_text())["run_provenance"]["outputs"] for p in again.path("validate/shards").glob("*.json")
    ]
    assert outputs and all(set(found) == {"shard"} for found in outputs)


ERRORS = [
    ((NEW, "--set=validate.signal.silence_gap_dbfs=-40"), "changes what is measured; the stored measures"),
    (("--sweep=rate_low=1:2:1",), "--rejudge and --sweep do different things"),
    (("--from=x",), "--from and --rejudge do different things"),
    (('--set=validate.engines=["signal", "foreign"]',), "engine foreign decides by itself"),
    (("--set=validate.signal.margin_rate_lo=1",), "nearest known one is margin_rate_low"),
]  # fmt: skip


def test_what_cannot_be_decided_again_is_told_in_one_line(again: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    before = shards(again)
    for options, message in ERRORS:
        assert again("validate", "--rejudge", *options) == 2
        assert message in capsys.readouterr().err
    assert shards(again) == before


def test_an_engine_without_stored_measures_leaves_errors_that_validate_then_judges(again: Corpus) -> None:
    before = shards(again)
    assert again("validate", "--rejudge", *MARGIN, WITH_SNR) == 0
    doubts = [row for row in again.results() if row["status"] == "error"]
    assert doubts and {row["detail"].rpartition("; ")[2] for row in doubts} == {"snr: not measured"}
    assert again("validate", *MARGIN, WITH_SNR) == 0
    judged = [row for row in again.results() if row["engine"] == "snr"]
    assert {row["segment_file"] for row in doubts} == {row["segment_file"] for row in judged}
    assert {tuple(row["engine_versions"]) for row in judged} == {("signal 1", "snr 2")}
    assert again("validate", "--rejudge", *MARGIN, WITH_SNR, "--set=validate.snr.snr_low=101") == 0
    assert {row["status"] for row in again.results() if row["engine"] == "snr"} == {"failed"}
    facts = report(again)["results"]
    assert facts["costs"]["snr"]["asked"] == len(judged) and facts["costs"]["signal"]["seconds"] > 0
    assert f"{len(judged)} asked, {len(judged)} decided" in again.path("report.html").read_text("utf-8")
    assert before != shards(again)


def report(corpus: Corpus) -> dict[str, Any]:
    assert corpus("report") == 0
    return corpus.json("report.json")  # type: ignore[no-any-return]


@pytest.fixture
def without_pyloudnorm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take the extra `loudness` away."""
    monkeypatch.setitem(sys.modules, "pyloudnorm", None)
    monkeypatch.delitem(sys.modules, "resplice.io.loudness", raising=False)
    engines._factory.cache_clear()
    yield
    engines._factory.cache_clear()


def test_a_missing_engine_is_skipped_and_told_and_passes_nothing(
    again: Corpus, without_pyloudnorm: None, capsys: pytest.CaptureFixture[str]
) -> None:
    both = '--set=validate.engines=["signal", "loudness"]'
    assert again("validate", *MARGIN, both) == 0
    assert "engine loudness is not installed: skipped (pip install 'resplice[loudness]')" in capsys.readouterr().out
    doubts = [row for row in again.results() if row["reasons"] == ["engine_failed"]]
    assert doubts and {row["status"] for row in doubts} == {"error"}
    assert report(again)["results"]["skipped"] == ["loudness"]
    assert "nothing passed by it: loudness" in again.path("report.html").read_text("utf-8")


def test_the_report_tells_who_was_missing_at_judging_also_where_no_verdict_changed(
    again: Corpus, without_pyloudnorm: None
) -> None:
    both = '--set=validate.engines=["signal", "loudness"]'
    assert again("validate", both) == 0
    engines._factory.cache_clear()
    sys.modules.pop("pyloudnorm")
    assert again("report", both) == 0 and again.json("report.json")["results"]["skipped"] == ["loudness"]
    assert again("validate", both) == 0
    assert report(again)["results"]["skipped"] == []


def test_any_number_of_workers_gives_the_same_shards(planned: Planned, tmp_path: Path) -> None:
    made = []
    for workers in (1, 2):
        corpus = planned() if workers == 1 else Corpus(made[0][0].folder, tmp_path / "two")
        if workers == 2:
            shutil.copytree(made[0][0].workspace, corpus.workspace)
            shutil.rmtree(corpus.path("validate"))
        else:
            (tmp_path / "wave.txt").write_text("collapsed-splits\nmany-splits\n")
            assert corpus("plan", f"--videos={tmp_path / 'wave.txt'}") == corpus("repair") == 0
        chain = '--set=validate.engines=["loudness", "vad", "snr", "signal"]'
        passing = [f"--set=validate.{name}.passes=false" for name in ("loudness", "vad", "snr")]
        assert corpus("validate", chain, *passing, f"--workers={workers}") == 0
        made.append((corpus, shards(corpus)))
    assert made[0][1] == made[1][1]
    rows = made[0][0].results()
    assert len({row["engine"] for row in rows}) > 1 and all(row["loudness_lufs"] is not None for row in rows)


def test_a_sweep_counts_what_judging_again_then_fails(again: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert again("validate", "--sweep=signal.rate_low=12:14:1") == 0
    counts = {float(line.split()[0]): line.split()[1:] for line in capsys.readouterr().out.splitlines()
              if line.strip()[:2] in ("12", "13", "14")}  # fmt: skip
    assert list(counts) == [12.0, 13.0, 14.0]
    assert again("validate", "--rejudge", NEW) == 0
    rows = again.results()
    failed = [row for row in rows if row["status"] == "failed"]
    low = sum("rate_low" in row["reasons"] for row in failed)
    assert counts[14.0][:2] == [str(len(failed)), str(low)] != counts[12.0][:2]


def test_a_sweep_over_what_was_not_measured_is_told(again: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert again("validate", "--sweep=snr_low=1:2:1", WITH_SNR) == 2
    assert "no segment of this run was measured by snr: run `resplice validate" in capsys.readouterr().err
    assert again("validate", "--sweep=rate_low=1:2:1", "--set=validate.signal.silence_gap_dbfs=-40") == 2
    assert "silence_gap_dbfs = -40.0 changes what is measured" in capsys.readouterr().err
    assert again("validate", *MARGIN, WITH_SNR) == 0
    assert again("validate", "--sweep=snr_low=1:2:1", *MARGIN, WITH_SNR) == 0
    count, total = sum(row.get("snr_db") is not None for row in again.results()), len(again.results())
    assert 0 < count < total and f"{count} of {total} segments have snr_db" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sweep", "values"),
    [
        ("clipped_ratio=1e-11:3e-11:1e-11", [1e-11, 2e-11, 3e-11]),
        ("silent_dbfs=-0.3:0.1:0.1", [-0.3, -0.2, -0.1, 0, 0.1]),
    ],
)
def test_every_value_of_a_sweep_is_a_line_of_its_own(
    recovered: Corpus, capsys: pytest.CaptureFixture[str], sweep: str, values: list[float]
) -> None:
    assert recovered("validate", f"--sweep={sweep}") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [float(line[0]) for line in lines if len(line) == 5 and line[0][-1].isdigit()] == values


def test_of_a_run_that_is_not_judged_whole_nothing_is_decided_again(
    planned: Planned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, wave = planned(), tmp_path / "wave.txt"
    for videos in ("collapsed-splits\n", "collapsed-splits\nmany-splits\n"):
        wave.write_text(videos)
        assert corpus("plan", f"--videos={wave}") == corpus("repair") == 0
        if not corpus.path("validate").exists():
            assert corpus("validate") == 0
    before = shards(corpus)
    assert corpus("validate", "--rejudge", NEW) == 2
    assert "--rejudge: 1 of 2 videos are not judged yet: first run `resplice validate" in capsys.readouterr().err
    assert shards(corpus) == before
    assert corpus("validate", "--sweep=rate_low=1:2:1") == 0
    assert "1 of 2 videos of this run are not judged yet" in capsys.readouterr().out


def test_what_measured_is_known_as_long_as_its_measures_are(again: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    both, other = '--set=validate.engines=["signal", "vad"]', "--set=validate.vad.speech=0.9"
    fewer = (NEW, "--set=validate.signal.margin_rate_low=0.3")
    assert again("validate", *MARGIN, both) == 0
    assert again("validate", "--rejudge", *fewer) == 0
    errors = sum(row["status"] == "error" for row in again.results())
    assert again("validate", *fewer) == 0
    kept = [row for row in again.results() if row.get("speech_ratio") is not None]
    assert errors and kept
    capsys.readouterr()
    assert again("validate", "--rejudge", *MARGIN, both, other) == 2
    assert "speech = 0.9 changes what is measured; the stored measures were made with 0.5" in capsys.readouterr().err
    assert again("validate", "--rejudge", *MARGIN, both) == 0
    assert again("validate", *MARGIN, both, other) == again("validate", "--rejudge", *MARGIN, both, other) == 0


def test_a_chain_of_missing_engines_alone_is_told(
    again: Corpus, without_pyloudnorm: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert again("validate", "--rejudge", '--set=validate.engines=["loudness"]') == 2
    assert "['loudness']: none of them can be used" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["--rejudge", "--sweep=snr_low=1:2:1"])
def test_a_chain_that_passes_nothing_is_told(recovered: Corpus, capsys: pytest.CaptureFixture[str], how: str) -> None:
    assert recovered("validate", how, WITH_SNR, "--set=validate.snr.passes=false") == 2
    assert "snr is the last of [validate] engines" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ("rate_lo=1:2:1", "no threshold of signal; the nearest is rate_low"),
        ("rate_low=1:2", "give THRESHOLD=FROM:TO:STEP"),
        ("rate_low=2:1:1", "FROM is at most TO"),
        ("rate_low=1:2:0", "STEP above 0"),
        ("rate_low=1:5:inf", "STEP above 0 and finite"),
        ("rate_low=1:1e308:1e-300", "1000 are allowed"),
        ("rate_low=0:1:1e-9", "1000 are allowed"),
    ],
)
def test_a_wrong_sweep_is_told(recovered: Corpus, capsys: pytest.CaptureFixture[str], sweep: str, message: str) -> None:
    assert recovered("validate", f"--sweep={sweep}") == 2
    assert message in capsys.readouterr().err


# Labels


def label(corpus: Corpus, path: Path) -> int:
    """Label as bad what is slower than 12.5 characters a second; return how many are."""
    rows = corpus.results()
    bad = [row["chars_per_s"] is not None and row["chars_per_s"] < 12.5 for row in rows]
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["video_id", "stem", "label", "why"])
        for row, is_bad in zip(rows, bad, strict=True):
            why = "rate_low" if is_bad else ""
            lines.writerow([row["video_id"], row["segment_file"], "bad" if is_bad else "good", why])
        lines.writerow(["nowhere", "a", "good", ""])
    return sum(bad)


def test_calibrate_finds_the_threshold_that_the_labels_were_made_with(
    again: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = label(again, tmp_path / "labels.csv")
    assert again("calibrate", str(tmp_path / "labels.csv"), "--precision=1") == 0
    facts = again.json("validate/calibration.json")
    said = capsys.readouterr().out
    assert (facts["labels"] - 1, facts["bad"]) == (facts["labelled"], count) and f"{count} are bad" in said
    [rule] = [rule for rule in facts["rules"] if rule["reason"] == "rate_low"]
    best = rule["suggested"]
    assert (best["precision"], best["recall"], best["flagged"]) == (1.0, 1.0, count)
    html = again.path("report.html").read_text("utf-8")
    assert html.count('<path class="curve precision"') >= 1 and "precision 1:" in html
    assert "of former verdicts" not in html
    assert again("validate", "--rejudge", f"--set=validate.signal.rate_low={best['threshold']}") == 0
    assert sum("rate_low" in row["reasons"] for row in again.results()) == count
    assert report(again)["calibration"]["former"]
    assert "all of this is of former verdicts and thresholds" in again.path("report.html").read_text("utf-8")


def test_calibrate_counts_reasons_without_a_threshold_of_their_own_as_judged(
    again: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label(again, tmp_path / "labels.csv")
    assert again("calibrate", str(tmp_path / "labels.csv")) == 0
    further = {row["reason"]: row["flagged"] for row in again.json("validate/calibration.json")["stored"]}
    stored = Counter(reason for row in again.results() for reason in row["reasons"])
    assert further and set(further) <= {"undecodable", "header_mismatch", *VIDEO_REASONS}
    assert further == {reason: stored[reason] for reason in further}
    said = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    assert {line[0] for line in said if line[1:] == ["as", "judged"]} == {"any", *further}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video_id,stem\n", "has no column label (it has: video_id, stem)"),
        ("video_id,stem,label\na,b,maybe\n", "line 2: label is 'maybe'; good or bad is expected"),
        ("video_id,stem,label,why\na,b,good,silent\n", "a good segment has no reason"),
        ("video_id,stem,label\na,b,good\na,b,bad\n", "line 3: a b has another label"),
        ("video_id,stem,label\na,b,good\n", "none of its 1 segments has a result"),
    ],
)
def test_labels_that_cannot_be_read_are_told(
    recovered: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    (tmp_path / "labels.csv").write_text(text)
    assert recovered("calibrate", str(tmp_path / "labels.csv"), "--dry-run") == 2
    assert message in capsys.readouterr().err


RULES = [(name, rule) for name, kind in sorted(KINDS.items()) for rule in kind.rules]


@given(
    st.sampled_from(RULES), st.floats(0.3, 1),
    st.lists(st.tuples(st.integers(-9, 9) | st.none(), st.booleans(), st.booleans()), min_size=1, max_size=25),
)  # fmt: skip
def test_the_suggested_threshold_flags_most_at_the_wanted_precision(
    named: tuple[str, Any], wanted: float, segments: list[tuple[int | None, bool, bool]]
) -> None:
    name, rule = named
    decider = KINDS[name].decider({})
    values = np.array([np.nan if value is None else value for value, _, _ in segments])
    measures = {key: np.ones(len(values)) for key in decider.measures} | {rule.measure: values}
    bad = np.array([is_bad for _, is_bad, _ in segments])
    whys = [rule.reason if is_bad and known else "other" if is_bad else "" for _, is_bad, known in segments]
    labelled = Labelled(measures, bad, whys, bad, [()] * len(bad))
    if rule.needs == rule.measure:
        return
    found = of_rule(rule, decider, labelled, wanted)["suggested"]
    targets = labelled.targets(rule.reason)
    every = [share(rule.holds(measures, t), bad, targets, t) for t in np.arange(-10, 10.5, 0.5)]
    enough = [point.flagged for point in every if point.precision is not None and point.precision >= wanted]
    assert (found["flagged"] if found else 0) == max(enough, default=0)
    for point in curve(rule, labelled, targets):
        assert point == share(rule.holds(measures, point.threshold), bad, targets, point.threshold)
