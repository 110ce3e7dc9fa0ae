"""The report: its numbers are those of the files, it is one file of bounded size, and people can use it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pyarrow.parquet as pq
import pytest
from corpus import Corpus

from resplice.io import audio, html, samples
from resplice.io.preview import preview
from resplice.pipelines import report
from resplice.transforms.page import Listing, Page, Section
from resplice.transforms.recovery_page import page

Facts = dict[str, Any]
PRESSED = """Array.from(document.querySelectorAll("button.play")).flatMap(
    (button, index) => button.getAttribute("aria-pressed") === "true" ? [index] : []).join()"""
MARKUP = """<script>alert("1")</script> & 'x'"""


@pytest.fixture(scope="module")
def facts(recovered: Corpus) -> Facts:
    found: Facts = json.loads((recovered.workspace / "runs/r/report.json").read_text())
    return found


@pytest.fixture(scope="module")
def file(recovered: Corpus) -> Path:
    return recovered.workspace / "runs/r/report.html"


def test_every_row_of_the_coverage_flows_into_one_end(recovered: Corpus, facts: Facts) -> None:
    rows = pq.read_table(recovered.path("verify") / "coverage.parquet").to_pylist()
    planned = set((recovered.path("plan") / "affected.txt").read_text().splitlines())
    in_planned = [row for row in rows if row["video_id"] in planned]
    flow = facts["flow"]
    assert sum(line["rows"] for line in flow) == len(rows) == facts["coverage"]["rows"]
    assert sum(line["rows"] for line in flow if line["standing"] == "planned") == len(in_planned)
    for bucket, count in facts["coverage"]["buckets"].items():
        assert sum(line["rows"] for line in flow if line["bucket"] == bucket) == count


def test_before_the_run_only_videos_that_need_no_repair_had_a_right_tar(recovered: Corpus, facts: Facts) -> None:
    frozen = pq.read_table(recovered.path("baseline") / "videos.parquet").to_pylist()
    plan = {row["video_id"]: set(row["reasons"]) for row in
            pq.read_table(recovered.path("plan") / "affected.parquet").to_pylist()}  # fmt: skip
    bad_ids = {line["unit"] for line in recovered.lines("plan/refused.jsonl")}
    tar = {"tar_missing", "tar_unreadable", "members_missing", "tar_mismatch"}
    right = [
        v for v in frozen if v["rows"] and v["video_id"] not in bad_ids and not tar & plan.get(v["video_id"], set())
    ]
    assert facts["changes"]["videos_right_tar"]["before"] == len(right)
    assert facts["changes"]["rows_right_tar"]["before"] == sum(video["rows"] for video in right)


def test_a_coverage_of_another_plan_is_none(again: Corpus) -> None:
    assert again("plan", "--limit", "3") == 0
    assert again("report") == 0
    assert "Not finished" in (again.workspace / "runs/r/report.html").read_text()


def test_sounds_that_do_not_fit_are_left_out_and_waveforms_stay(again: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "AUDIO_BYTES", 300_000)
    assert again("report") == 0
    text = (again.workspace / "runs/r/report.html").read_text()
    assert text.count('<article class="card wide listening"') == samples.COUNT
    assert 0 < sum(len(sound) for sound in re.findall(r"base64,([^\"]*)", text)) <= 400_000


def test_the_change_is_what_repair_and_validation_added(recovered: Corpus, facts: Facts) -> None:
    tars = len(list((recovered.path("repair") / "transcribed").glob("*.tar")))
    videos = facts["changes"]["videos_right_tar"]
    assert videos["after"] - videos["before"] == tars > 0
    results = facts["changes"]["rows_validated"]
    assert results["after"] == facts["coverage"]["validated"] > results["before"]


def test_the_distributions_count_every_judged_segment_once(recovered: Corpus, facts: Facts) -> None:
    shards = [pq.read_table(path) for path in (recovered.path("validate") / "shards").glob("*.parquet")]
    judged = sum(shard.num_rows for shard in shards)
    assert facts["results"]["segments"] == judged
    by_title = {one["title"]: one for one in facts["results"]["distributions"]}
    assert len(by_title) == 6
    for title, column in (("Duration", "duration_s"), ("Peak level", "peak_dbfs")):
        measured = sum(shard.column(column).drop_null().length() for shard in shards)
        assert sum(map(sum, by_title[title]["counts"].values())) == measured


def test_the_page_is_one_file_without_any_address(file: Path) -> None:
    text = file.read_text()
    assert len(text) < html.MAX_BYTES
    assert re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:|#)[^"'\s>]+""", text) == []
    assert "@import" not in text
    assert "http://" not in text
    assert "https://" not in text


def test_a_report_of_a_run_that_goes_on_tells_what_is_known(
    planned: Callable[[], Corpus], recovered: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = planned()
    (corpus.workspace / "runs/r/run.json").write_bytes((recovered.workspace / "runs/r/run.json").read_bytes())
    shutil.copytree(recovered.path("repair") / "ledger", corpus.path("repair") / "ledger")  # killed before its end
    assert corpus("report") == 0
    assert "report.html" in capsys.readouterr().out
    text = (corpus.workspace / "runs/r/report.html").read_text()
    assert "Not finished" in text
    assert "why videos are affected" in text
    assert "83 videos = 50 done + ? that need nothing + 23 refused" in text
    assert json.loads((corpus.workspace / "runs/r/report.json").read_text())["coverage"] is None


def test_a_dry_report_writes_nothing(again: Corpus) -> None:
    for name in ("report.html", "report.json"):
        (again.workspace / "runs/r" / name).unlink()
    assert again("report", "--dry-run") == 0
    assert not list(again.workspace.glob("runs/r/report.*"))


def test_a_run_that_is_not_there_is_named_with_those_that_are(
    again: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    assert again("report", run_id="nobody") == 2
    assert "there: r" in capsys.readouterr().err


def test_samples_come_from_whatever_tars_are_left(again: Corpus) -> None:
    tars = sorted((again.path("repair") / "transcribed").glob("*.tar"))
    for tar in tars[::2]:
        tar.write_bytes(tar.read_bytes()[:700])
    assert again("report") == 0
    assert '<article class="card wide listening"' in (again.workspace / "runs/r/report.html").read_text()


def many(facts: Facts, count: int, detail: str) -> Page:
    rows = [(f"video-{number:06d}", "repair", "raw_missing", MARKUP, detail) for number in range(count)]
    return page({**facts, "refused": count + 7}, rows, [], "runs/r")


def test_what_the_corpus_says_is_text_and_never_markup(facts: Facts) -> None:
    text = html.render(many(facts, 3, MARKUP)).decode()
    assert text.count("<script>") == 1
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize("detail", ["x" * 1000, "&" * 1000, "𝄞" * 1000], ids=["long", "escaped", "wide"])
def test_no_number_of_refusals_makes_the_page_too_large(facts: Facts, detail: str) -> None:
    data = html.render(many(facts, report.INLINE, detail))
    assert len(data) <= html.MAX_BYTES
    shown = data.count(b'<th scope="row">video-')
    assert shown > 1000
    assert f"The first {shown:,} of {report.INLINE + 7:,} refusals" in data.decode()


def test_a_page_that_cannot_fit_says_so() -> None:
    section = Section("s", "s", "x" * 2000, [Listing("t", ("a",), [["b"]] * 9, 9, "w")])
    with pytest.raises(ValueError, match="without its listings"):
        html.render(Page("t", "v", "good", [], [section]), limit=2000)


@pytest.mark.parametrize(("bits", "channels"), [(8, 1), (16, 2), (24, 1)])
def test_a_preview_shows_the_extremes_and_plays_the_first_seconds(bits: int, channels: int) -> None:
    kind = np.int32 if bits == 24 else np.int16
    samples = np.zeros((16000, channels), kind)
    samples[8000:] = np.iinfo(kind).max // 2 + 1
    look = preview(audio.encode(samples, 8000, bits), 100, 1.5, 1 << 30)
    assert look.seconds == 2.0
    assert look.peaks == ((0.0, 0.0),) * 50 + ((0.5, 0.5),) * 50
    clip = audio.decode(look.flac)
    assert (clip.frames, clip.rate, clip.bits, clip.samples.shape[1]) == (12000, 8000, 16, 1)
    assert look.clip_s == 1.5


def test_a_segment_shorter_than_the_columns_has_a_column_a_sample() -> None:
    look = preview(audio.encode(np.array([[1], [-2], [3]], np.int16), 8000, 16), 100, 4.0, 1 << 20)
    assert len(look.peaks) == 3


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Browser]:
    if browser.executable() is None:
        pytest.skip("there is no Chromium on PATH (Debian: apt install chromium)")
    with browser.chromium() as started:
        yield started


@pytest.fixture(params=["light", "dark"])
def seen(request: pytest.FixtureRequest, chromium: browser.Browser, file: Path) -> Iterator[browser.Page]:
    with browser.opened(chromium, file, request.param) as opened:
        yield opened


def test_the_search_finds_words_in_any_column_and_counts(seen: browser.Page, facts: Facts) -> None:
    rows = seen.locator("tbody[id$=rows] tr")
    assert rows.count() == facts["refused"]
    search = seen.get_by_label("Search", exact=True)
    search.fill("repair RAW_missing")
    wanted = facts["stages"]["repair"]["by_reason"]["raw_missing"]
    assert rows.filter(visible=True).count() == wanted
    assert seen.get_by_role("status").text_content() == f"{wanted} of {facts['refused']} refusals"
    search.fill("nothing is called so")
    assert rows.filter(visible=True).count() == 0
    search.fill("")
    assert rows.filter(visible=True).count() == facts["refused"]


def test_a_button_plays_its_sound_and_stops_the_other(seen: browser.Page) -> None:
    buttons = seen.get_by_role("button", name=re.compile("^Play "))
    assert buttons.count() >= 4
    for index in (0, 1):
        buttons.nth(index).focus()
        seen.keyboard.press("Enter")
        browser.wait_until(seen, f"document.querySelectorAll('audio')[{index}].currentTime > 0.05")
        browser.wait_until(seen, f"{PRESSED} === '{index}'")
    buttons.nth(1).click()
    browser.wait_until(seen, f"{PRESSED} === ''")
    assert seen.evaluate("Array.from(document.querySelectorAll('audio')).every((audio) => audio.paused)")


def test_everything_has_a_name_for_those_who_cannot_see_it(seen: browser.Page) -> None:
    nameless = """(selector) => Array.from(document.querySelectorAll(selector)).filter((e) => {
        const by = (e.getAttribute("aria-labelledby") || "").split(" ").filter(Boolean);
        const text = by.map((id) => document.getElementById(id)?.textContent || "").join("");
        return !(e.getAttribute("aria-label") || text || e.labels?.length || e.textContent.trim());
    }).length"""
    for selector in ("svg[role=img]", "button", "input", "section", "nav", "[role=region]"):
        assert seen.locator(selector).count() > 0
        assert seen.evaluate(nameless, selector) == 0, selector
    ids = seen.evaluate("Array.from(document.querySelectorAll('[id]'), (e) => e.id)")
    assert len(ids) == len(set(ids))
    targets = seen.evaluate("Array.from(document.querySelectorAll('a[href]'), (e) => e.getAttribute('href').slice(1))")
    described = "Array.from(document.querySelectorAll('[aria-describedby]'), (e) => e.getAttribute('aria-describedby'))"
    assert set(targets) | set(seen.evaluate(described)) <= set(ids)
    assert seen.locator("html").get_attribute("lang") == "en"


def test_text_stands_out_from_its_ground(seen: browser.Page) -> None:
    # WCAG 2.1, 1.4.3: a contrast of 4.5 for text
    for ink in ("--ink", "--soft", "--good", "--warn", "--bad", "--accent"):
        for ground in ("--card", "--ground"):
            assert contrast(seen, ink, ground) >= 4.5, (ink, ground)


def contrast(page: browser.Page, one: str, other: str) -> float:
    """Return the contrast ratio of two colours of the page (WCAG 2.1, relative luminance)."""
    style = "getComputedStyle(document.documentElement).getPropertyValue('{}').trim()"
    lights = []
    for name in (one, other):
        colour = page.evaluate(style.format(name))
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_a_narrow_screen_shows_it_without_scrolling_sideways(chromium: browser.Browser, file: Path) -> None:
    with browser.opened(chromium, file, width=380) as page_:
        assert page_.evaluate("document.documentElement.scrollWidth") <= 380


def test_five_thousand_refusals_can_be_searched(chromium: browser.Browser, facts: Facts, tmp_path: Path) -> None:
    (tmp_path / "r.html").write_bytes(html.render(many(facts, report.INLINE, MARKUP)))
    with browser.opened(chromium, tmp_path / "r.html") as page_:
        page_.get_by_label("Search", exact=True).fill("video-004999")
        assert page_.get_by_role("status").text_content() == "1 of 5,000 refusals"
