"""Which videos of a range need no closer look, told by column for all of them at once.

A video is settled if each of its rows has a stem of its own and exactly one live result, which is a verdict, and
nothing else has. Nearly all videos of a sound corpus are; whatever is not settled is looked at row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_PLAIN = "^[A-Za-z0-9_-]+([.]flac(_split(0|[1-9][0-9]{0,8}))?)?$"
_AMBIGUOUS = "_split[0-9]+_split[0-9]+$|_split0[0-9]+$|_split[0-9]{10}|^_split[0-9]+$"
_LONGEST = 200
_TOO_LONG = 4000  # for a stem that is read
_UNKNOWN_MD5 = "0" * 32
_TOLERANCE_S = 0.05
Column: TypeAlias = pa.Array | pa.ChunkedArray


def split_like(stems: Column) -> Column:
    """Return whether each stem ends as that of a split does, whatever its digits."""
    return pc.match_substring_regex(stems, "_split[0-9]+$")


def splits(stems: Column) -> Column:
    """Return whether each stem is that of a split."""
    return pc.match_substring_regex(stems, "_split(0|[1-9][0-9]*)$")


def plain_stems(names: Column) -> tuple[Column, Column]:
    """Return the stems of rows' plain names, null for any other name, and which of them hold only where the raw tar has
    no FLAC of that name.

    Plain are `X`, `X.flac`, `X.flac_splitD`, `X_splitD` and `X_splitD.flac` for an X of letters, digits, `_` and `-`
    that does not itself end as a split: they need no escaping, and their stem is the name without `.flac`.
    """
    stems = pc.replace_substring(names, ".flac", "", max_replacements=1)
    plain = pc.and_(pc.match_substring_regex(names, _PLAIN), pc.less_equal(pc.binary_length(names), _LONGEST))
    if not pc.any(pc.match_substring(stems, "_split")).as_py():
        return pc.if_else(plain, stems, None), pa.repeat(False, len(names))
    plain = pc.and_not(plain, pc.match_substring_regex(stems, _AMBIGUOUS))
    unsure = pc.and_(pc.and_(plain, split_like(stems)), pc.ends_with(names, ".flac"))
    return pc.if_else(plain, stems, None), pc.fill_null(unsure, False)


@dataclass(frozen=True)
class Settled:
    """What `settle` found: whether each video is settled, and the number of each row's result."""

    videos: np.ndarray
    result: pa.Array


def settle(videos: Column, rows: pa.Table, results: pa.Table) -> Settled:
    """Settle the videos of a range.

    videos: ids, distinct; rows: `video_id, stem`; results: `video_id, stem` (null: not told by column), `status`
    (passed, failed, error or unjudged).
    """
    keys = _keys(rows["video_id"], rows["stem"])
    result = pc.index_in(keys, value_set=_keys(results["video_id"], results["stem"]), skip_nulls=True)
    good = _first(keys) & _true(pc.and_(pc.is_valid(result), pc.less(pc.binary_length(rows["stem"]), _TOO_LONG)))
    verdict = _true(pc.and_(pc.is_valid(results["stem"]), pc.not_equal(results["status"], "error")))
    of_row, of_result = (_numbers(table["video_id"], videos) for table in (rows, results))
    count = _counts(of_row, len(videos))
    settled = (count > 0) & (_counts(of_row[good], len(videos)) == count)
    settled &= (_counts(of_result, len(videos)) == count) & (_counts(of_result[verdict], len(videos)) == count)
    return Settled(settled, _whole(result))


def right_tars(videos: Column, rows: pa.Table, tars: pa.Table) -> np.ndarray:
    """Return which videos with one row a stem have a tar of just the members that these want, one FLAC and one JSON
    each, and of splits that can be their own.

    rows: `video_id, stem, duration_s`; tars: `video_id, flacs, jsons, extra` (see the index of tars).
    """
    keys, of_row = _keys(rows["video_id"], rows["stem"]), _numbers(rows["video_id"], videos)
    count = _counts(of_row, len(videos))
    of_tar = _numbers(tars["video_id"], videos)
    right: np.ndarray = _counts(of_tar[_true(pc.equal(pc.list_value_length(tars["extra"]), 0))], len(videos)) == 1
    flacs = _members(tars, "flacs")
    for stems in (_stems(flacs), _members(tars, "jsons")):
        there = _true(pc.is_in(keys, value_set=_keys(stems["video_id"], stems["value"]), skip_nulls=True))
        right &= _counts(_numbers(stems["video_id"], videos), len(videos)) == count
        right &= _counts(of_row[there], len(videos)) == count
    doubtful = _numbers(_doubtful_splits(rows, keys, flacs), videos)
    right[doubtful[doubtful >= 0]] = False
    return right


def _members(tars: pa.Table, name: str) -> pa.Table:
    """Return the members of a list column, one a row: `video_id, value`."""
    lists = _whole(tars[name])
    owners = _whole(tars["video_id"]).take(pc.list_parent_indices(lists))
    return pa.table({"video_id": owners, "value": pc.list_flatten(lists)})


def _stems(flacs: pa.Table) -> pa.Table:
    return flacs.set_column(1, "value", pc.struct_field(flacs["value"], "stem"))


def _doubtful_splits(rows: pa.Table, keys: pa.Array, flacs: pa.Table) -> Column:
    """Return the videos with a split that has no STREAMINFO, the MD5 of another one of its original, or another length
    than its row; some more may be among them.
    """
    flacs = flacs.filter(splits(pc.struct_field(flacs["value"], "stem")))
    owners = flacs["video_id"]
    stems, rate, samples, md5 = (
        _whole(pc.struct_field(flacs["value"], name)) for name in ("stem", "rate", "samples", "md5")
    )
    original = pc.replace_substring_regex(stems, "_split[0-9]+$", "")
    same = _keys(
        owners, pc.binary_join_element_wise(original, pc.if_else(pc.equal(md5, _UNKNOWN_MD5), stems, md5), "/")
    )
    seconds = pc.divide(samples.cast(pa.float64()), rate.cast(pa.float64()))
    wanted = _whole(rows["duration_s"]).take(pc.index_in(_keys(owners, stems), value_set=keys))
    off = pc.and_(pc.greater(samples, 0), pc.greater(pc.abs(pc.subtract(seconds, wanted)), _TOLERANCE_S))
    doubtful = ~_first(same) | _true(pc.is_null(rate)) | _true(off)
    return owners.filter(pa.array(doubtful))


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
