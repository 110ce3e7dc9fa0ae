"""What is to do of a book in any state of pipeline.json: the expected chunks without the valid ones, and no other."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resplice.transforms import chunks
from resplice.transforms.chunks import chunk_id, number_of
from resplice.transforms.records import UserError
from resplice.transforms.retry import collect_failed_chunks, fallback_voice, route
from resplice.transforms.voices import engines

SHA, OTHER = "a" * 64, "b" * 64


def row(number: Any, status: Any = "success", **more: Any) -> dict[str, Any]:
    return {"chunk_id": number, "status": status, "audio_path": f"{number}.wav", **more}


def good(count: int) -> list[dict[str, Any]]:
    return [row(chunk_id(number)) for number in range(1, count + 1)]


def files(*rows: dict[str, Any]) -> dict[str, str]:
    return {row["audio_path"]: "" for row in rows}


FOUR = good(4)
MISMATCH = [("chunk_0002", "duration_mismatch")]
FAILED = row("chunk_0002", "failed", validation_reason="duration_mismatch")
NONE = [(chunk_id(number), "no_row") for number in range(1, 5)]
HERE = files(*FOUR)
STATES: dict[str, tuple[Any, dict[str, str], list[tuple[str, str]]]] = {
    "no entry": (None, {}, NONE),
    "an empty entry": ({}, {}, NONE),
    "rows null": ({"chunks": None}, {}, NONE),
    "audio without rows": ({"chunks": [], "chunk_audio_paths": list(HERE)}, HERE, NONE),
    "all valid": ({"chunks": FOUR}, HERE, []),
    "a failed row whose file exists": (
        {"chunks": [FOUR[0], FAILED, *FOUR[2:]]}, HERE, [("chunk_0002", "duration_mismatch")],
    ),
    "a failed row does not hide a missing file": (
        {"chunks": [FOUR[0], FAILED, *FOUR[2:]]}, files(*FOUR[:3]),
        [("chunk_0002", "duration_mismatch"), ("chunk_0004", "missing_audio")],
    ),
    "a failed row without an id": ({"chunks": [*FOUR, row(None, "failed")]}, HERE, []),
    "a failed row without a reason": (
        {"chunks": [row("chunk_0001", "failed"), *FOUR[1:]]}, HERE, [("chunk_0001", "failed")],
    ),
    "a failed row whose reason is a sentence": (
        {"chunks": [row("chunk_0001", "failed", validation_reason="it is\nbad"), *FOUR[1:]]}, HERE,
        [("chunk_0001", "failed")],
    ),
    "statuses that are no success": (
        {"chunks": [row(f"chunk_000{n}", status) for n, status in enumerate(("error", "partial", "pending", None), 1)]},
        HERE, [(id_, "not_made") for id_, _ in NONE],
    ),
    "ids are integers from 1": (
        {"chunks": [row(1), row(2, "failed", validation_reason="too_quiet"), row(3), row(4)]},
        {f"{n}.wav": "" for n in range(1, 5)}, [("chunk_0002", "too_quiet")],
    ),
    "ids of several widths": (
        {"chunks": [row("chunk_1"), row("00002"), row("chunk-003", "failed"), row("CHUNK_000004")]},
        {f"{id_}.wav": "" for id_ in ("chunk_1", "00002", "chunk-003", "CHUNK_000004")}, [("chunk_0003", "failed")],
    ),
    "13 of 15 recorded paths, two never made": ({"chunks": FOUR[:2], "chunk_audio_paths": list(HERE)}, HERE, NONE[2:]),
    "paths empty, files there": ({"chunks": FOUR, "chunk_audio_paths": []}, HERE, []),
    "the folder is gone": ({"chunks": FOUR}, {}, [(id_, "missing_audio") for id_, _ in NONE]),
    "an empty and a broken file": (
        {"chunks": FOUR}, {**HERE, "chunk_0001.wav": "empty_audio", "chunk_0003.wav": "unreadable_audio"},
        [("chunk_0001", "empty_audio"), ("chunk_0003", "unreadable_audio")],
    ),
    "a success without a path": (
        {"chunks": [*FOUR[:3], {"chunk_id": 4, "status": "success", "audio_path": None}]}, HERE,
        [("chunk_0004", "missing_audio")],
    ),
    "two rows of one chunk, the failed one first": ({"chunks": [FAILED, *FOUR]}, HERE, MISMATCH),
    "two rows of one chunk, the failed one last": ({"chunks": [*FOUR, FAILED]}, HERE, MISMATCH),
    "two rows of one chunk, neither of success": ({"chunks": [FAILED, row(2, "pending"), *FOUR]}, HERE, MISMATCH),
    "two rows of one chunk, one unknown": ({"chunks": [row(2, "pending"), *FOUR]}, HERE, [("chunk_0002", "not_made")]),
    "two rows of one chunk, both failed": (
        {"chunks": [{**FAILED, "validation_reason": "timeout"}, FAILED, *FOUR]}, HERE, MISMATCH,
    ),
    "a changed text": (
        {"chunks": [row("chunk_0001", text_sha256=OTHER), *FOUR[1:]]}, HERE, [("chunk_0001", "text_changed")],
    ),
    "a text of before it was hashed": ({"chunks": [row("chunk_0001", text_sha256=SHA), *FOUR[1:]]}, HERE, []),
    "rows as keys are ignored": ({"chunks": FOUR, "chunk_0001": {"status": "failed"}}, HERE, []),
    "rows beyond the expected ones, and odd ones": (
        {"chunks": [*FOUR, row("chunk_0005", "failed"), row("chunk_0000", "failed"), row(True, "failed"), "row", None]},
        HERE, [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STATES)
def test_every_state_has_its_right_answer(name: str) -> None:
    entry, listing, expected = STATES[name]
    assert collect_failed_chunks(entry, [SHA] * 4, listing) == expected


def test_bad_texts_are_named_and_do_not_shift_the_others() -> None:
    texts = [SHA, "empty_text", "missing_text", SHA]
    entry = {"chunks": [FOUR[0], FOUR[1], row("chunk_0004", "failed")]}
    assert collect_failed_chunks(entry, texts, HERE) == [
        ("chunk_0002", "empty_text"), ("chunk_0003", "missing_text"), ("chunk_0004", "failed"),
    ]  # fmt: skip


def test_the_order_is_numeric_beyond_four_digits() -> None:
    found = [id_ for id_, _ in collect_failed_chunks(None, [SHA] * 10_001, {})]
    assert found[9998:] == ["chunk_9999", "chunk_10000", "chunk_10001"]
    rows = [row("chunk_10000"), row("chunk_9999"), row("chunk_10001")]
    merged = chunks.merged({"chunks": rows}, {1000: row("chunk_1000")}, 10_001)["chunks"]
    assert [r["chunk_id"] for r in merged] == ["chunk_1000", "chunk_9999", "chunk_10000", "chunk_10001"]


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "chunk_id": st.one_of(st.integers(0, 9), st.integers(0, 9).map(chunk_id), st.none()),
            "status": st.sampled_from(["success", "failed", "pending", None]),
            "audio_path": st.sampled_from(["a", "b", "c", None]),
        },
        optional={"text_sha256": st.sampled_from([SHA, OTHER, None]), "validation_reason": st.sampled_from(["x", ""])},
    ),
    max_size=12,
)
LISTING = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["", "empty_audio", "unreadable_audio"]))
TEXTS = st.lists(st.sampled_from([SHA, OTHER, "missing_text", "empty_text"]), max_size=7)


@given(ROWS, LISTING, TEXTS)
def test_to_do_is_the_expected_without_the_valid_for_any_state(
    rows: list[dict[str, Any]], listing: dict[str, str], texts: list[str]
) -> None:
    def valid(number: int, text: str) -> bool:
        mine = [r for r in rows if number_of(r["chunk_id"]) == number]
        last = mine[-1] if mine else {}
        return (
            bool(mine) and all(r["status"] == "success" for r in mine)
            and len(text) == 64 and last.get("text_sha256") in (None, text)
            and listing.get(last["audio_path"]) == ""
        )  # fmt: skip

    expected = [chunk_id(n) for n, text in enumerate(texts, 1) if not valid(n, text)]
    assert [id_ for id_, _ in collect_failed_chunks({"chunks": rows}, texts, listing)] == expected


@given(ROWS, st.dictionaries(st.integers(1, 7), st.just({"status": "success", "audio_path": "new"})))
def test_merging_loses_no_row_and_is_done_once(rows: list[dict[str, Any]], made: dict[int, dict[str, Any]]) -> None:
    numbered = {number: {"chunk_id": chunk_id(number), **row_} for number, row_ in made.items()}
    before = {"chunks": rows, "mine": 1}
    once = chunks.merged(before, numbered, 7)
    assert chunks.merged(once, numbered, 7) == once and once["mine"] == 1

    def expected(row_: dict[str, Any]) -> bool:
        return (number_of(row_["chunk_id"]) or 0) in range(1, 8)

    kept = [number_of(r["chunk_id"]) for r in once["chunks"] if expected(r)]
    assert kept == sorted({number_of(r["chunk_id"]) for r in rows if expected(r)} | set(made))
    assert [r for r in once["chunks"] if not expected(r)] == [r for r in rows if not expected(r)]


def test_the_sums_are_drawn_from_the_rows_and_other_keys_stay() -> None:
    entry = {
        "chunks": [{**r, "engine": "kokoro", "voice": "v"} for r in FOUR], "metrics": {"rt_p50": 1.5},
        "errors": ["odd"], "artifacts": {"run_summary": "s.json"}, "chunk_audio_paths": ["stale"],
    }  # fmt: skip
    made = chunks.settled(entry, {2: ("timeout", "no answer")}, 4, "audio/book")
    assert made["status"] == "partial" and made["errors"] == [
        {"chunk_id": "chunk_0002", "message": "timeout: no answer"}, "odd",
    ]  # fmt: skip
    assert made["chunk_audio_paths"] == ["chunk_0001.wav", "chunk_0003.wav", "chunk_0004.wav"]
    assert made["artifacts"] == {"run_summary": "s.json", "audio_dir": "audio/book",
                                 "chunk_audio_paths": made["chunk_audio_paths"]}  # fmt: skip
    assert made["metrics"] == {"rt_p50": 1.5, "total_chunks": 4, "chunks_completed": 3, "chunks_failed": 1}
    assert chunks.settled(entry, dict.fromkeys(range(1, 5), ("x", "")), 4, "")["status"] == "failed"
    assert chunks.settled({}, {}, 0, "")["status"] == "success"
    assert chunks.settled(made, {2: ("timeout", "no answer")}, 4, "audio/book") == made


def test_a_path_of_another_valid_chunk_is_never_given_away() -> None:
    taken = {"d/chunk_0002.wav": ("book", 1), "d/chunk_0003.wav": ("other", 3)}
    todo = [("book", 1), ("book", 2), ("book", 3), ("other", 2)]
    found = chunks.targets({"book": "d", "other": "d"}, todo, taken, str)
    assert found == {
        ("book", 1): "d/chunk_0001.wav", ("book", 2): "d/chunk_0002-2.wav", ("book", 3): "d/chunk_0003-2.wav",
        ("other", 2): "d/chunk_0002-3.wav",
    }  # fmt: skip


def test_numbers_of_ids() -> None:
    assert [number_of(id_) for id_ in (3, "3", "chunk_0003", "chunk3", "chunk_10000")] == [3, 3, 3, 3, 10000]
    assert [number_of(id_) for id_ in (None, "", "book_0003", "chunk_", True, 1.0, "G9 L 1.3")] == [None] * 7
    numbers = [random.Random(1).randrange(1, 10**6) for _ in range(100)]
    assert [number_of(chunk_id(number)) for number in numbers] == numbers


def test_the_fallback_speaks_with_its_own_default_voice() -> None:
    assert fallback_voice("kokoro") == "af_bella" and fallback_voice("xtts") == "claribel_dervla"
    mine = engines([("mine", {"command": ["x", "{text}", "{wav}"], "voices": ["a", "b"], "default_voice": "b"})])
    assert fallback_voice("mine", mine) == "b"
    with pytest.raises(UserError, match="unknown engine 'mine': it must be one of espeak, kokoro, xtts"):
        fallback_voice("mine")


@pytest.mark.parametrize(
    ("reason", "retry", "engines_"),
    [
        ("no_row", "failed", ("k", "x")),
        ("missing_audio", "failed", ("k", "x")),
        ("text_changed", "failed", ("k", "x")),
        ("duration_mismatch", "failed", ("x",)),
        ("duration_mismatch", "none", ()),
        ("missing_audio", "none", ("k", "x")),
        ("duration_mismatch", "all", ("k", "x")),
        ("", "all", ("k", "x")),
        ("empty_text", "all", ()),
    ],
)
def test_a_failed_chunk_goes_straight_to_the_fallback_and_any_other_to_the_primary_first(
    reason: str, retry: str, engines_: tuple[str, ...]
) -> None:
    assert route(reason, retry, "k", "x") == engines_
    assert route(reason, retry, "k", None) == (("k",) if engines_ else ())
