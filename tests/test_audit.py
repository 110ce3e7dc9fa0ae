"""The audit of one tar: which segments its names mean, and what is wrong with it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from resplice.transforms.audit import RowName, TarContent, faults, raw_content, read_names, transcribed_content
from resplice.transforms.flac import StreamInfo
from resplice.transforms.names import read_row_or_none
from resplice.transforms.records import Damage, Reason, Segment

MISSING, MISMATCH = Reason.MEMBERS_MISSING, Reason.TAR_MISMATCH
ZERO = "0" * 32


def rows_of(*files: str, raw: frozenset[str] | None = None, duration_s: float | None = None) -> list[RowName]:
    return [RowName(n, file, read_row_or_none(file, raw), duration_s) for n, file in enumerate(files)]


def content_of(flacs: list[str], jsons: list[str] | None = None, extra: tuple[str, ...] = ()) -> TarContent:
    jsons = flacs if jsons is None else jsons
    return TarContent({n: f"v/segments/{n}.flac" for n in flacs}, {n: f"v/{n}.json" for n in jsons}, None, extra)


def info(md5: str, samples: int = 16_000) -> StreamInfo:
    return StreamInfo(16_000, 1, 16, samples, md5)


def infos_of(content: TarContent) -> dict[str, StreamInfo | None]:
    return {name: info(f"{number + 1:032x}") for number, name in enumerate(content.flacs)}


def faults_of(
    content: TarContent, rows: list[RowName], infos: dict[str, StreamInfo | None] | None = None,
    raw: frozenset[str] | None = None,
) -> set[Reason]:  # fmt: skip
    return faults(content, read_names(content, rows, raw), rows, infos_of(content) if infos is None else infos)


# Members


def test_a_raw_tar_has_its_segments_with_or_without_the_video_and_the_rest_does_no_harm() -> None:
    content = raw_content("v", ["v/segments/a.flac", "segments/b.flac", "metadata.json", "notes.txt"])
    assert content.flacs == {"a": "v/segments/a.flac", "b": "segments/b.flac"}
    assert (content.metadata, content.jsons) == ("metadata.json", {})


def test_a_raw_tar_with_both_spellings_of_one_segment_is_damaged() -> None:
    with pytest.raises(Damage) as caught:
        raw_content("v", ["v/segments/a.flac", "segments/a.flac"])
    assert caught.value.code == "duplicate_member"


@pytest.mark.parametrize("names", [["v/metadata.json", "metadata.json"], ["metadata.json", "v/metadata.json"]])
def test_metadata_at_the_root_comes_first(names: list[str]) -> None:
    assert transcribed_content("v", names).metadata == "metadata.json"
    assert transcribed_content("v", ["v/metadata.json"]).metadata == "v/metadata.json"
    assert transcribed_content("v", []).metadata is None


@pytest.mark.parametrize(
    "stray",
    [
        "w/segments/a.flac",
        "segments/a.flac",
        "v/a.flac",
        "v/segments/a.wav",
        "v/transcriptions/a.txt",
        "x",
        "v/segments/a.json",
    ],
)
def test_a_transcribed_tar_keeps_apart_what_has_no_place_in_its_layout(stray: str) -> None:
    content = transcribed_content("v", ["v/segments/a.flac", "v/transcriptions/a.json", "metadata.json", stray])
    assert content.flacs == {"a": "v/segments/a.flac"}
    assert content.jsons == {"a": "v/transcriptions/a.json"}
    assert content.extra == (stray,)


def test_names_with_dots_are_kept_whole() -> None:
    content = transcribed_content("v", ["v/segments/12.5.flac", "v/transcriptions/12.5.flac_split1.json"])
    assert (list(content.flacs), list(content.jsons)) == (["12.5"], ["12.5.flac_split1"])


# The two readings


@pytest.mark.parametrize(
    ("rows", "names", "raw", "segment"),
    [
        (["a.flac_split3"], ["a_split3"], {"a_split3.flac", "a.flac"}, Segment("a", 3)),
        (["a_split3.flac"], ["a_split3"], {"a_split3.flac"}, Segment("a_split3")),
        (["a_split3.flac"], ["a%5Fsplit3"], {"a_split3.flac"}, Segment("a_split3")),
        (["12.5.flac"], ["12.5"], {"12.5.flac"}, Segment("12.5")),
        (["12.5.flac"], ["12%2E5"], {"12.5.flac"}, Segment("12.5")),
        (["100%25.flac"], ["100%25"], {"100%25.flac"}, Segment("100%25")),
        (["100%25.flac"], ["100%2525"], {"100%25.flac"}, Segment("100%25")),
        (["100%.flac"], ["100%25"], {"100%.flac"}, Segment("100%")),
        (["12.5.flac_split1"], ["12%2E5_split1"], None, Segment("12.5", 1)),
        (["12.5.flac_split1"], ["12.5_split1"], None, Segment("12.5", 1)),
    ],
)
def test_names_fit_if_one_reading_of_all_of_them_gives_the_rows(
    rows: list[str], names: list[str], raw: set[str] | None, segment: Segment
) -> None:
    held = None if raw is None else frozenset(raw)
    content, known = content_of(names), rows_of(*rows, raw=held)
    reading = read_names(content, known, held)
    assert reading.fits
    assert reading.flacs == reading.jsons == {names[0]: segment}
    assert reading.member_of() == {segment: names[0]}
    assert faults_of(content, known, raw=held) == set()


def test_one_tar_is_not_read_in_two_ways_at_once() -> None:
    raw = frozenset({"a.flac", "a_split3.flac", "12.5.flac"})
    rows = rows_of("a.flac_split3", "12.5.flac", raw=raw)
    assert read_names(content_of(["a_split3", "12%2E5"]), rows, raw).fits
    assert not read_names(content_of(["a_split3", "12.5"]), rows, raw).fits  # the first as a stem, the second as a row
    assert not read_names(content_of(["a_split3", "12%2E5"], ["a_split3", "12.5"]), rows, raw).fits


def test_without_a_fit_the_row_reading_decides() -> None:
    raw = frozenset({"a_split3.flac"})
    rows = rows_of("a_split3.flac", "b.flac", raw=raw)
    reading = read_names(content_of(["a_split3"]), rows, raw)
    assert not reading.fits
    assert reading.flacs == {"a_split3": Segment("a_split3")}


def test_a_name_that_cannot_be_read_fits_nothing() -> None:
    rows = rows_of("a_split01.flac")
    reading = read_names(content_of(["a_split01"]), rows, None)
    assert (reading.fits, reading.flacs) == (False, {"a_split01": None})


# Faults


def test_the_collapse_of_the_bug_misses_members_and_has_one_too_many() -> None:
    rows = rows_of("X.flac_split0", "X.flac_split1", "X.flac_split2")
    assert faults_of(content_of(["X"]), rows) == {MISSING, MISMATCH}


@pytest.mark.parametrize(
    ("content", "rows", "expected"),
    [
        pytest.param(content_of(["a", "b"]), ["a.flac", "b.flac"], set(), id="right"),
        pytest.param(
            content_of(["a_split0", "a_split1"]), ["a.flac_split0", "a.flac_split1"], set(), id="right splits"
        ),
        pytest.param(content_of(["a"]), ["a.flac", "b.flac"], {MISSING}, id="a row without both"),
        pytest.param(content_of([]), ["a.flac"], {MISSING}, id="an empty tar"),
        pytest.param(content_of(["a", "b"], ["a"]), ["a.flac", "b.flac"], {MISSING, MISMATCH}, id="no JSON: unpaired"),
        pytest.param(content_of(["a"], ["a", "b"]), ["a.flac", "b.flac"], {MISSING, MISMATCH}, id="no FLAC: unpaired"),
        pytest.param(content_of(["a", "b"]), ["a.flac"], {MISMATCH}, id="a pair without a row"),
        pytest.param(content_of(["a", "b"], ["a"]), ["a.flac"], {MISMATCH}, id="a FLAC without a row"),
        pytest.param(content_of(["a"], ["a", "b"]), ["a.flac"], {MISMATCH}, id="a JSON without a row"),
        pytest.param(content_of(["a"], extra=("v/notes.txt",)), ["a.flac"], {MISMATCH}, id="an extra member"),
        pytest.param(content_of(["a"]), [], {MISMATCH}, id="a tar of a video without rows"),
        pytest.param(content_of([]), [], {MISMATCH}, id="an empty tar of a video without rows"),
        pytest.param(
            content_of(["12.5", "12%2E5"], ["12.5"]), ["12.5.flac"], {MISMATCH}, id="two FLACs name one segment"
        ),
        pytest.param(
            content_of(["12.5"], ["12.5", "12%2E5"]), ["12.5.flac"], {MISMATCH}, id="two JSONs name one segment"
        ),
        pytest.param(
            content_of(["a"]), ["a.flac", "b_split01"], {MISSING}, id="bad_name counts as without its members"
        ),
        pytest.param(
            content_of(["a", "b_split01"]),
            ["a.flac", "b_split01"],
            {MISSING, MISMATCH},
            id="also if the tar has its name",
        ),
        pytest.param(content_of(["a", "b"]), ["a.flac", "c.flac"], {MISSING, MISMATCH}, id="one for another"),
    ],
)
def test_the_names_of_a_tar_are_compared_both_ways(content: TarContent, rows: list[str], expected: set[Reason]) -> None:
    assert faults_of(content, rows_of(*rows)) == expected


TWO = content_of(["a_split0", "a_split1"])
ROWS = ["a.flac_split0", "a.flac_split1"]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(info("a" * 32), info("b" * 32), set(), id="other audio"),
        pytest.param(info("a" * 32), info("a" * 32), {MISMATCH}, id="the same audio"),
        pytest.param(info(ZERO), info(ZERO), set(), id="an unknown MD5 says nothing"),
    ],
)
def test_two_splits_of_one_original_cannot_be_the_same_audio(
    first: StreamInfo, second: StreamInfo, expected: set[Reason]
) -> None:
    assert faults_of(TWO, rows_of(*ROWS), {"a_split0": first, "a_split1": second}) == expected


def test_splits_of_two_originals_may_be_the_same_audio() -> None:
    same = info("a" * 32)
    content = content_of(["a_split0", "b_split0"])
    assert faults_of(content, rows_of("a.flac_split0", "b.flac_split0"), {"a_split0": same, "b_split0": same}) == set()


@pytest.mark.parametrize(
    ("samples", "duration_s", "expected"),
    [
        (16_000, 1.0, set()),
        (16_800, 1.0, set()),
        (15_200, 1.0, set()),
        (16_801, 1.0, {MISMATCH}),
        (15_199, 1.0, {MISMATCH}),
        (16_000, 2.0, {MISMATCH}),
        (16_000, None, set()),
        (0, 1.0, set()),
    ],
)
def test_a_split_is_at_most_50_ms_off_its_rows_duration(
    samples: int, duration_s: float | None, expected: set[Reason]
) -> None:
    rows = rows_of("a.flac_split0", duration_s=duration_s)
    assert faults_of(content_of(["a_split0"]), rows, {"a_split0": info("a" * 32, samples)}) == expected


def test_unsplit_audio_is_compared_by_name_only() -> None:
    content, rows = content_of(["a", "b"]), rows_of("a.flac", "b.flac", duration_s=99.0)
    assert faults_of(content, rows, {"a": info("a" * 32), "b": info("a" * 32)}) == set()
    assert faults_of(content, rows, {"a": None, "b": None}) == set()


def test_the_order_of_members_and_rows_plays_no_part() -> None:
    rows = [replace(row, duration_s=1.0) for row in rows_of("b.flac", *ROWS)]
    content = content_of(["a_split1", "b", "a_split0"], ["b", "a_split0", "a_split1"])
    assert faults_of(content, rows) == faults_of(content, rows[::-1]) == set()
