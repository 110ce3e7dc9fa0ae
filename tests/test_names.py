"""Names: the four rules of a row's spelling, and the one-to-one map between (original, index) and stem."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from resplice.transforms.names import esc, parse_stem, read_row, read_row_or_none, stem, unesc
from resplice.transforms.records import Reason, Refusal, Segment

PARTS = [
    "a",
    "b",
    ".",
    "/",
    "\\",
    "%",
    "_",
    "_split",
    "split",
    "0",
    "3",
    "10",
    "03",
    ".flac",
    "%5F",
    "%2E",
    "%25",
    "٣",
    "\x00",
]
tricky = st.lists(st.sampled_from(PARTS), min_size=1, max_size=7).map("".join)
originals = st.one_of(st.text(min_size=1, max_size=20), tricky)
segments = st.builds(Segment, originals, st.none() | st.integers(0, 10**12))
any_code_point = st.characters(exclude_categories=())


@pytest.mark.parametrize(
    ("segment_file", "raw_names", "original", "index"),
    [
        # 1. the form that the bug wrote
        ("X.flac_split0", set(), "X", 0),
        ("X.flac_split12", None, "X", 12),
        ("12.5.flac_split1", set(), "12.5", 1),
        ("a_split3.flac_split0", set(), "a_split3", 0),
        ("a%5Fsplit3.flac_split0", set(), "a%5Fsplit3", 0),
        ("X.flac.flac_split2", set(), "X.flac", 2),
        ("X.flac_split1", {"X.flac_split1.flac", "X.flac"}, "X", 1),
        # 2. the raw tar holds it
        ("a_split3.flac", {"a_split3.flac"}, "a_split3", None),
        ("a_split03.flac", {"a_split03.flac"}, "a_split03", None),
        ("12%2E5.flac", {"12%2E5.flac"}, "12%2E5", None),
        ("a%5Fsplit3.flac", {"a%5Fsplit3.flac"}, "a%5Fsplit3", None),
        ("12.5.flac", {"12.5.flac"}, "12.5", None),
        # 3. a split
        ("a_split3.flac", {"a.flac"}, "a", 3),
        ("a_split3.flac", None, "a", 3),
        ("a_split3", {"a_split3.flac"}, "a", 3),
        ("a_split0", set(), "a", 0),
        ("12%2E5_split1", set(), "12.5", 1),
        ("12.5_split1.flac", set(), "12.5", 1),
        ("12%2e5_split1", set(), "12%2e5", 1),
        ("100%_split1", set(), "100%", 1),
        ("a%5Fsplit3_split1", set(), "a_split3", 1),
        ("a_split3_split1.flac", set(), "a_split3", 1),
        ("a_split03_split1.flac", set(), "a_split03", 1),
        ("X.flac_split1.flac", set(), "X.flac", 1),
        # 4. an unsplit original
        ("N", set(), "N", None),
        ("N.flac", {"M.flac"}, "N", None),
        ("N.flac", None, "N", None),
        ("12.5.flac", set(), "12.5", None),
        ("12%2E5.flac", set(), "12.5", None),
        ("12%2E5.flac", None, "12.5", None),
        ("a%5Fsplit3", set(), "a_split3", None),
        ("a%5Fsplit03", set(), "a%5Fsplit03", None),
        ("%41", set(), "%41", None),
        ("a%2fb", set(), "a%2fb", None),
        ("a%2Fb", set(), "a/b", None),
        ("a_split٣.flac", set(), "a_split٣", None),
        ("a_split", set(), "a_split", None),
        ("a_split-1.flac", set(), "a_split-1", None),
        ("a_split3.FLAC", set(), "a_split3.FLAC", None),
        ("a_split1.flac.flac", set(), "a_split1.flac", None),
        ("a_split1\n", set(), "a_split1\n", None),
        ("a_split01 ", set(), "a_split01 ", None),
    ],
)
def test_a_row_is_read_by_the_first_rule_that_holds(
    segment_file: str, raw_names: set[str] | None, original: str, index: int | None
) -> None:
    assert read_row(segment_file, raw_names) == Segment(original, index)
    assert read_row_or_none(segment_file, raw_names) == Segment(original, index)


@pytest.mark.parametrize(
    ("segment_file", "raw_names"),
    [
        ("", set()),
        ("", None),
        ("a_split01", set()),
        ("a_split00.flac", {"a.flac"}),
        ("a_split03.flac", None),
        ("a_split03", {"a_split03.flac"}),
        ("a.flac_split01", {"a.flac"}),
        ("a.flac_split007.flac", set()),
        ("caf\udce9.flac", set()),
        ("caf\udce9.flac", {"caf\udce9.flac"}),
        ("caf\udce9.flac_split0", set()),
        ("\ud800_split1", None),
    ],
)
def test_a_name_that_no_rule_can_read_is_bad_name(segment_file: str, raw_names: set[str] | None) -> None:
    with pytest.raises(Refusal) as caught:
        read_row(segment_file, raw_names)
    assert caught.value.reason == Reason.BAD_NAME
    assert read_row_or_none(segment_file, raw_names) is None


@pytest.mark.parametrize("segment_file", [".flac", "_split0", "_split0.flac", ".flac_split0"])
def test_a_name_with_an_empty_original_is_bad_name(segment_file: str) -> None:
    with pytest.raises(Refusal) as caught:
        read_row(segment_file, {".flac"})
    assert caught.value.reason == Reason.BAD_NAME


@pytest.mark.parametrize(
    ("original", "index", "expected"),
    [
        ("12.5.flac".removesuffix(".flac"), 1, "12%2E5_split1"),
        ("a_split3", None, "a%5Fsplit3"),
        ("a_split3", 0, "a%5Fsplit3_split0"),
        ("a_split03", None, "a_split03"),
        ("a_split3_split4", None, "a_split3%5Fsplit4"),
        ("_split0", None, "%5Fsplit0"),
        ("100%", None, "100%25"),
        ("%2E", None, "%252E"),
        ("a/b\\c", 2, "a%2Fb%5Cc_split2"),
        ("\x00\x1f\x7f\n", None, "%00%1F%7F%0A"),
        ("\x80ä€😀 ", None, "\x80ä€😀 "),
        ("a_split٣", None, "a_split٣"),
        ("plain-Name_1", 10, "plain-Name_1_split10"),
    ],
)
def test_the_stem_escapes_what_the_contract_names_and_nothing_else(
    original: str, index: int | None, expected: str
) -> None:
    assert stem(Segment(original, index)) == expected
    assert parse_stem(expected) == Segment(original, index)


@pytest.mark.parametrize(
    "text", ["", "a.b", "a/b", "a\\b", "100%", "%2e", "%41", "%5Fsplit03", "\x7f", "_split0", "a\udce9"]
)
def test_what_no_segment_has_for_its_stem_is_no_stem(text: str) -> None:
    assert parse_stem(text) is None


@given(segments)
@example(Segment("a_split3", None))
@example(Segment("a%5Fsplit3", None))
@example(Segment("a", 3))
def test_a_stem_gives_its_segment_back(segment: Segment) -> None:
    assert parse_stem(stem(segment)) == segment


@given(segments, segments)
def test_two_segments_never_share_a_stem(one: Segment, other: Segment) -> None:
    assert (stem(one) == stem(other)) == (one == other)


@given(st.one_of(st.text(max_size=12), tricky))
def test_a_text_is_at_most_one_stem_and_that_exactly(text: str) -> None:
    segment = parse_stem(text)
    assert segment is None or stem(segment) == text


@given(originals)
def test_an_escaped_original_has_no_character_that_means_something_in_a_path_and_no_split(original: str) -> None:
    escaped = esc(original)
    assert not set(escaped) & {".", "/", "\\", "\x7f", *map(chr, range(32))}
    assert unesc(escaped) == original
    assert parse_stem(escaped) == Segment(original, None)


@given(segments)
def test_a_row_that_holds_a_canonical_stem_is_read_as_its_segment(segment: Segment) -> None:
    assume(segment.index is not None or read_row_or_none(stem(segment), None) is not None)
    assert read_row(stem(segment), None) == segment
    assert read_row(stem(segment) + ".flac", None) == segment


@given(originals, st.integers(0, 99), st.booleans())
def test_the_bugs_form_is_always_the_split_of_what_stands_before_it(original: str, index: int, known: bool) -> None:
    names = {f"{original}.flac", f"{original}.flac_split{index}"} if known else None
    assert read_row(f"{original}.flac_split{index}", names) == Segment(original, index)


@given(st.one_of(st.text(any_code_point, max_size=12), tricky), st.none() | st.sets(tricky.map(lambda n: n + ".flac")))
def test_every_text_is_read_or_is_bad_name(segment_file: str, raw_names: set[str] | None) -> None:
    try:
        segment = read_row(segment_file, raw_names)
    except Refusal as refusal:
        assert refusal.reason == Reason.BAD_NAME
        return
    assert segment.original
    assert parse_stem(stem(segment)) == segment


@given(st.lists(segments, max_size=12))
def test_stem_order_is_original_by_code_point_then_number(found: list[Segment]) -> None:
    by_order = sorted(found, key=lambda segment: segment.order)
    expected = sorted(found, key=lambda s: ([ord(c) for c in s.original], -1 if s.index is None else s.index))
    assert by_order == expected


def test_split_ten_comes_after_split_nine() -> None:
    found = [Segment("a", 10), Segment("b", 0), Segment("a", 9), Segment("a", None)]
    assert sorted(found, key=lambda s: s.order) == [Segment("a"), Segment("a", 9), Segment("a", 10), Segment("b", 0)]
