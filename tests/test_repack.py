"""Regenerated segments against rows: which refusal comes first, and what the JSON of a segment says."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from resplice.transforms.audit import RowName
from resplice.transforms.names import read_row_or_none
from resplice.transforms.records import Reason, Refusal, Segment
from resplice.transforms.repack import (
    Piece,
    check_durations,
    check_names,
    check_segments,
    member_names,
    number_pieces,
    originals_without_rows,
    segment_json,
    segment_object,
    tar_name,
)


def rows_of(*files: str, duration_s: float | None = None) -> list[RowName]:
    return [RowName(n, file, read_row_or_none(file, None), duration_s) for n, file in enumerate(files)]


def refusal_of(call: Callable[[], None]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        call()
    return caught.value


def pieces_of(durations: dict[Segment, float]) -> dict[Segment, Piece]:
    return {segment: Piece(segment, 0.0, seconds, seconds) for segment, seconds in durations.items()}


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, []), (1, [Segment("a")]), (2, [Segment("a", 0), Segment("a", 1)]), (11, [Segment("a", n) for n in range(11)])],
)
def test_one_piece_is_no_split_and_from_two_on_they_are_numbered_from_zero(count: int, expected: list[Segment]) -> None:
    assert number_pieces("a", count) == expected


BAD = Refusal(Reason.BAD_NAME, "its split number", "a_split01")


@pytest.mark.parametrize(
    ("files", "bad", "reason"),
    [
        ([], [], Reason.NO_ROWS),
        (["a_split01"], [BAD], Reason.BAD_NAME),
        (["b.flac", "b", "a_split01"], [BAD], Reason.BAD_NAME),
        (["b.flac", "b"], [], Reason.NAME_COLLISION),
        (["12.5.flac_split1", "c", "12%2E5_split1"], [], Reason.NAME_COLLISION),
    ],
)
def test_the_first_refusal_that_holds_is_given(files: list[str], bad: list[Refusal], reason: Reason) -> None:
    assert refusal_of(lambda: check_names(rows_of(*files), bad)).reason == reason


def test_a_collision_names_both_rows_and_the_stem() -> None:
    refusal = refusal_of(lambda: check_names(rows_of("12.5.flac_split1", "12%2E5_split1"), []))
    assert refusal.segment == "12%2E5_split1"
    assert "12.5.flac_split1" in refusal.detail
    assert "12%2E5_split1" in refusal.detail


def test_rows_that_differ_only_in_case_or_in_unicode_form_do_not_collide() -> None:
    check_names(rows_of("a.flac", "A.flac", "\u00e9.flac", "e\u0301.flac"), [])


@pytest.mark.parametrize(
    ("raw", "files", "expected"),
    [
        ({"a", "b", "c"}, ["a.flac_split0", "c.flac"], ["b"]),
        ({"b", "a"}, [], ["a", "b"]),
        ({"a"}, ["a_split7"], []),
        ({"a"}, ["z.flac"], ["a"]),
        ({"a"}, ["a_split01"], ["a"]),
    ],
)
def test_an_original_is_without_rows_if_none_of_its_pieces_has_one(
    raw: set[str], files: list[str], expected: list[str]
) -> None:
    assert originals_without_rows(raw, rows_of(*files)) == expected


@pytest.mark.parametrize(
    ("pieces", "files", "segment"),
    [
        ([("a", 0), ("a", 1)], ["a.flac_split0"], "a_split1"),
        ([("a", 0)], ["a.flac_split0", "a.flac_split1"], "a_split1"),
        ([("a", None)], ["a.flac_split0", "a.flac_split1"], "a"),
        ([("a", 0), ("a", 1)], ["a.flac"], "a"),
        ([("a", None)], ["b.flac"], "a"),
        ([], ["b.flac"], "b"),
        ([("b", None)], [], "b"),
    ],
)
def test_segments_that_differ_on_either_side_are_a_mismatch(
    pieces: list[tuple[str, int | None]], files: list[str], segment: str
) -> None:
    found = [Segment(original, index) for original, index in pieces]
    refusal = refusal_of(lambda: check_segments(found, rows_of(*files)))
    assert (refusal.reason, refusal.segment) == (Reason.SEGMENT_MISMATCH, segment)


def test_a_mismatch_shows_both_sides() -> None:
    detail = refusal_of(lambda: check_segments([Segment("a", 0), Segment("a", 1)], rows_of("a.flac", "b.flac"))).detail
    rows, audio = detail.split(";")
    assert all(name in rows for name in ("a", "b"))
    assert all(name in audio for name in ("a_split0", "a_split1"))


def test_equal_sets_of_segments_agree_in_any_order() -> None:
    check_segments([Segment("b"), Segment("a", 1), Segment("a", 0)], rows_of("a_split0", "b", "a.flac_split1"))


@pytest.mark.parametrize(
    ("audio_s", "row_s", "tolerance_s", "agrees"),
    [
        (1.0, 1.0, 0.0, True),
        (1.05, 1.0, 0.05, True),
        (0.95, 1.0, 0.05, True),
        (1.0501, 1.0, 0.05, False),
        (0.9499, 1.0, 0.05, False),
        (10.3, 10.25, 0.05, True),
        (1.0, 2.0, 0.05, False),
        (1.0, 0.0, 0.05, False),
        (1.0, None, 0.05, True),
        (1.0, 1.4, 0.5, True),
    ],
)
def test_a_rows_duration_agrees_within_the_tolerance_where_it_has_one(
    audio_s: float, row_s: float | None, tolerance_s: float, agrees: bool
) -> None:
    def check() -> None:
        check_durations(pieces_of({Segment("a"): audio_s}), rows_of("a", duration_s=row_s), tolerance_s)

    if agrees:
        check()
    else:
        refusal = refusal_of(check)
        assert (refusal.reason, refusal.segment) == (Reason.DURATION_MISMATCH, "a")


def test_unsplit_audio_must_agree_in_length_too_and_the_first_in_stem_order_is_named() -> None:
    pieces = pieces_of({Segment("a", 10): 1.0, Segment("a", 9): 1.0, Segment("A"): 3.0})
    rows = rows_of("a_split10", "a_split9", "A", duration_s=3.0)
    assert refusal_of(lambda: check_durations(pieces, rows, 0.05)).segment == "a_split9"


COLUMNS = {
    "id": 7,
    "segment_file": "12.5.flac_split1",
    "transcription": "größe\u2028\n",
    "created_at": datetime(2024, 5, 1, 12, 0, tzinfo=UTC),
    "score": Decimal("0.25"),
    "tags": {"b": [1, None], "a": True},
}


def test_the_json_of_a_segment_has_the_fields_of_the_contract_and_every_column() -> None:
    row = RowName(7, "12.5.flac_split1", Segment("12.5", 1), 2.0)
    made = segment_object("v", row, Piece(Segment("12.5", 1), 1.5, 3.5, 2.0), COLUMNS)
    assert json.loads(segment_json(made)) == {
        "video_id": "v",
        "segment_file": "12.5.flac_split1",
        "stem": "12%2E5_split1",
        "original": "12.5",
        "split_index": 1,
        "start_s": 1.5,
        "end_s": 3.5,
        "row": {**COLUMNS, "created_at": "2024-05-01T12:00:00Z", "score": 0.25},
    }


def test_an_unsplit_segment_of_changed_samples_has_no_index_and_no_bounds() -> None:
    made = segment_object("v", RowName(1, "a", Segment("a")), Piece(Segment("a"), None, None, 2.0), {"id": 1})
    assert (made["split_index"], made["start_s"], made["end_s"], made["stem"]) == (None, None, None, "a")


def test_the_json_is_strict_sorted_utf_8_and_ends_with_a_newline() -> None:
    data = segment_json({"b": float("nan"), "a": "größe"})
    assert json.loads(data, parse_constant=lambda name: pytest.fail(name)) == {"a": "größe", "b": None}
    assert data.index(b'"a"') < data.index(b'"b"')
    assert "größe".encode() in data
    assert data.endswith(b"\n") and not data.endswith(b"\n\n")


def test_members_lie_where_the_layout_says() -> None:
    assert member_names("v", "12%2E5_split1") == (
        "v/segments/12%2E5_split1.flac",
        "v/transcriptions/12%2E5_split1.json",
    )
    assert tar_name("v") == "v_transcribed.tar"
