"""Which videos of a range need no closer look, told by column for all of them at once.

A name is plain if it means the same unsplit original by every rule of names, and is its stem but for `.flac`. A video
is settled if each of its rows has a plain name of its own and exactly one live result, which is a verdict, and nothing
else has. Nearly all videos of a sound corpus are; whatever is not settled is looked at row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_PLAIN = "^[A-Za-z0-9_-]{1,200}"
_SPLIT = "_split[0-9]+"
Column: TypeAlias = pa.Array | pa.ChunkedArray


def plain_stems(names: Column, suffix: str) -> Column:
    """Return the stems of plain names that end with `suffix`, null for any other name."""
    plain = pc.match_substring_regex(names, f"{_PLAIN}{suffix.replace('.', '[.]')}$")
    split = pc.match_substring_regex(names, f"{_SPLIT}{suffix.replace('.', '[.]')}$")
    stems = pc.utf8_slice_codeunits(names, 0, -len(suffix)) if suffix else names
    return pc.if_else(pc.and_not(plain, split), stems, None)


@dataclass(frozen=True)
class Settled:
    """What `settle` found: whether each video is settled, the stem of each row, and the number of its result."""

    videos: np.ndarray
    stems: Column
    result: pa.Array


def settle(videos: Column, rows: pa.Table, results: pa.Table) -> Settled:
    """Settle the videos of a range.

    videos: ids, distinct; rows: `video_id, segment_file`; results: `video_id, stem` (null: the name is not plain),
    `status` (passed, failed, error or unjudged).
    """
    stems = plain_stems(rows["segment_file"], ".flac")
    keys = _keys(rows["video_id"], stems)
    result = pc.index_in(keys, value_set=_keys(results["video_id"], results["stem"]), skip_nulls=True)
    good = _first(keys) & _true(pc.is_valid(result))
    verdict = _true(pc.and_(pc.is_valid(results["stem"]), pc.not_equal(results["status"], "error")))
    of_row, of_result = (_numbers(table["video_id"], videos) for table in (rows, results))
    count = _counts(of_row, len(videos))
    settled = (count > 0) & (_counts(of_row[good], len(videos)) == count)
    settled &= (_counts(of_result, len(videos)) == count) & (_counts(of_result[verdict], len(videos)) == count)
    return Settled(settled, stems, _whole(result))


def right_tars(videos: Column, rows: pa.Table, stems: Column, members: pa.Table) -> np.ndarray:
    """Return which videos have just the members that plain rows want, one FLAC and one JSON each.

    rows: `video_id`; stems: of the rows, null where one is not plain; members: `video_id` of the tar, `name`.
    """
    there = _keys(members["video_id"], members["name"])
    found = np.full(len(rows), True)
    for folder, suffix in (("segments", ".flac"), ("transcriptions", ".json")):
        name = pc.binary_join_element_wise(
            rows["video_id"], folder, pc.binary_join_element_wise(stems, suffix, ""), "/"
        )
        found &= _true(pc.is_in(_keys(rows["video_id"], name), value_set=there, skip_nulls=True))
    of_row = _numbers(rows["video_id"], videos)
    count = _counts(of_row, len(videos))
    wanted = _counts(of_row[found], len(videos)) == count
    right: np.ndarray = wanted & (_counts(_numbers(members["video_id"], videos), len(videos)) == 2 * count)
    return right


def within(column: Column, videos: Column) -> np.ndarray:
    """Return whether each id is one of the videos."""
    return _true(pc.is_in(column, value_set=_whole(videos)))


def _keys(videos: Column, names: Column) -> pa.Array:
    """Return what names a segment (or member) of a video; null if the name is. The last line feed ends a valid id."""
    return _whole(pc.binary_join_element_wise(videos, names, "\n"))


def _first(keys: pa.Array) -> np.ndarray:
    """Return whether each key is the first of its kind."""
    first = np.zeros(len(keys), bool)
    first[np.unique(keys.dictionary_encode(null_encoding="encode").indices.to_numpy(), return_index=True)[1]] = True
    return first


def _numbers(column: Column, videos: Column) -> np.ndarray:
    """Return the number of each id among the videos, −1 for others."""
    numbers = pc.fill_null(pc.index_in(column, value_set=_whole(videos)), -1)
    return np.asarray(_whole(numbers).to_numpy(zero_copy_only=False))


def _counts(numbers: np.ndarray, videos: int) -> np.ndarray:
    return np.bincount(numbers[numbers >= 0], minlength=videos)


def _true(mask: Column) -> np.ndarray:
    return np.asarray(_whole(pc.fill_null(mask, False)).to_numpy(zero_copy_only=False))


def _whole(column: Column) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
