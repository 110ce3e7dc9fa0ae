"""What is told by column is what the rows say one by one: settled videos are whole, and sound ones are settled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from resplice.io import tarindex
from resplice.io.tarstate import TarState
from resplice.transforms import audit, settled
from resplice.transforms.affected import OK, Video, reasons
from resplice.transforms.audit import RowName, TarContent
from resplice.transforms.coverage import Bucket, Result, Standing, place
from resplice.transforms.flac import StreamInfo
from resplice.transforms.names import read_row, read_row_or_none, stem

VIDEOS = ("a", "b")
FILES = ("x.flac", "y_1.flac", "x", "x_split0.flac", "x.flac_split0", "x_split01.flac", "x%2Ey.flac", "x y.flac", "")
STATUSES = ("passed", "failed", "unjudged", "error")
Pair = tuple[str, str]
Found = tuple[str, str, str]

pairs = st.lists(st.tuples(st.sampled_from(VIDEOS), st.sampled_from(FILES)), max_size=6)
found_results = st.lists(
    st.tuples(st.sampled_from((*VIDEOS, "c")), st.sampled_from(FILES), st.sampled_from(STATUSES)), max_size=6
)


def settle(rows: Sequence[Pair], results: Sequence[Found]) -> settled.Settled:
    """Settle the two videos; results are of history."""
    text = pa.string()
    videos, stems = pa.array([video for video, _ in rows], text), pa.array([stem_of(file) for _, file in rows], text)
    owners, names, statuses = (pa.array([result[i] for result in results], text) for i in range(3))
    found = {"video_id": owners, "stem": settled.plain_stems(names)[0], "status": statuses}
    return settled.settle(pa.array(VIDEOS), pa.table({"video_id": videos, "stem": stems}), pa.table(found))


def stem_of(file: str, raw_names: frozenset[str] | None = None) -> str | None:
    segment = read_row_or_none(file, raw_names)
    return segment and stem(segment)


def with_results(rows: Sequence[Pair]) -> list[Found]:
    return [(video, file, "passed") for video, file in rows]


@given(pairs, found_results, st.booleans())
def test_every_row_of_a_settled_video_is_validated_by_the_result_that_settled_it(
    rows: list[Pair], more: list[Found], whole: bool
) -> None:
    results = with_results(rows) if whole else more
    found = settle(rows, results)
    for row, number in zip(rows, found.result.to_pylist(), strict=True):
        if not found.videos[VIDEOS.index(row[0])]:
            continue
        mine = [result for result in results if result[0] == row[0] and read_row_or_none(result[1], None)]
        [only] = [result for result in mine if read_row(result[1], None) == read_row(row[1], None)]
        assert results[number] == only
        assert place(Standing(), Result(only[2], False)).bucket == Bucket.VALIDATED
        assert len([result for result in results if result[0] == row[0]]) == Counter(v for v, _ in rows)[row[0]]


@given(
    st.sets(st.tuples(st.sampled_from(VIDEOS), st.from_regex(r"[A-Za-z0-9-]{1,5}\.flac", fullmatch=True)), min_size=1)
)
def test_a_video_whose_plain_rows_have_one_verdict_each_is_settled(rows: set[Pair]) -> None:
    found = settle(sorted(rows), with_results(sorted(rows, reverse=True)))
    assert found.videos.tolist() == [any(video == row[0] for row in rows) for video in VIDEOS]


@pytest.mark.parametrize(
    "results",
    [
        [],
        [("a", "x.flac", "error")],
        [("a", "x.flac", "passed"), ("a", "x.flac", "passed")],
        [("a", "x.flac", "passed"), ("a", "z.flac", "passed")],
        [("a", "x.flac", "passed"), ("a", "%", "passed")],
        [("b", "x.flac", "passed")],
    ],
)
def test_a_row_without_just_one_verdict_is_looked_at(results: list[Found]) -> None:
    assert not settle([("a", "x.flac")], results).videos[0]


bases = st.text("ab_-0.%é ", max_size=4) | st.sampled_from(["a_split1", "_split0", "a%2E", "x" * 199])
endings = st.sampled_from(
    ["", ".flac", "_split0", "_split12.flac", ".flac_split3", "_split01.flac", ".flac_split01", "_split0_split1.flac",
     "_split1234567890", "_split1234567890.flac", ".flac.flac", "\n", "_split1\n", ".flac_split1.flac"]
)  # fmt: skip
names_ = st.tuples(bases, endings).map("".join) | st.text(max_size=5)


@given(st.lists(names_), st.lists(names_))
@example(["_split1.flac", "a_split1.flac", "a_split1_split2", "a.flac"], ["_split1.flac"])
def test_names_that_are_told_by_column_are_what_they_are_read_as(files: list[str], raw: list[str]) -> None:
    stems, unsure = settled.plain_stems(pa.array(files, pa.string()))
    held = frozenset(raw + files[: len(files) // 2])
    for file, found, is_unsure in zip(files, stems.to_pylist(), unsure.to_pylist(), strict=True):
        assert found is None or found == stem_of(file)
        if found is not None and not (is_unsure and file in held):
            assert found == stem_of(file, held)


@pytest.mark.parametrize("name", ["X-1_y", "X-1_y.flac", "X.flac_split0", "X_split12", "X_split12.flac"])
def test_plain_names_are_told_by_column(name: str) -> None:
    stems, unsure = settled.plain_stems(pa.array([name]))
    assert (stems[0].as_py(), unsure[0].as_py()) == (stem_of(name), name == "X_split12.flac")


SOUNDS = (("1" * 32, 16_000), ("2" * 32, 16_000), ("0" * 32, 16_000), ("0" * 32, 0), ("3" * 32, 48_000), None)
FLACS = ("x", "y_1", "z", "x_split0", "x_split1", "x%2Ey", "x.y", "y_1_split0")
splits = st.lists(st.sampled_from(("x.flac", "x.flac_split0", "x_split1", "x.y.flac", "y_1_split0.flac")), max_size=4)


@given(
    splits,
    st.dictionaries(st.sampled_from(FLACS), st.sampled_from(SOUNDS)),
    st.sets(st.sampled_from(FLACS)),
    st.booleans(),
    st.booleans(),
    st.sampled_from((None, 1.0, 1.05, 1.06)),
    st.data(),
)
def test_no_reason_holds_for_a_settled_video_with_a_right_tar(
    files: list[str], flacs: dict[str, Any], jsons: set[str], extra: bool, right: bool, length: float | None, data: Any
) -> None:
    rows = [("a", file) for file in files]
    stems = [stem_of(file) for file in files]
    if right:
        flacs = {name: data.draw(st.sampled_from(SOUNDS)) for name in stems if name}
        jsons, extra = set(flacs), False
    infos = {name: sound and StreamInfo(16_000, 1, 16, sound[1], sound[0]) for name, sound in flacs.items()}
    content = TarContent({name: name for name in flacs}, {name: name for name in jsons}, extra=("z",) * extra)
    results = [("a", file, "passed") for file in files]
    table = tarindex.table([("a", TarState(OK, "1", 0, content, infos))])
    durations = pa.array([length] * len(rows), pa.float64())
    of_rows = pa.table(
        {"video_id": pa.array(["a"] * len(rows), pa.string()), "stem": pa.array(stems, pa.string()),
         "duration_s": durations}
    )  # fmt: skip
    tar_right = settled.right_tars(pa.array(VIDEOS), of_rows, table)
    [sound, _] = (settle(rows, results).videos & tar_right).tolist()
    names = [RowName(number, file, read_row_or_none(file, None), length) for number, file in enumerate(files)]
    faults = audit.faults(content, audit.read_names(content, names, None), names, infos)
    if sound:
        of_segments = {name.segment: "passed" for name in names if name.segment}
        assert reasons(Video(names, OK, faults, None, of_segments), ()) == []
    elif right and files and len(set(stems)) == len(files) and "x.y.flac" not in files and not faults:
        assume(length != 1.05)  # within the tolerance only after rounding: looked at row by row
        pytest.fail("a sound video was not seen to be sound")


def test_a_tar_is_judged_by_its_own_members_alone() -> None:
    rows = pa.table({"video_id": ["a", "b"], "stem": ["x", "y"], "duration_s": pa.nulls(2, pa.float64())})
    tars = [TarContent({name: name}, {name: name}) for name in ("y", "x")]
    index = tarindex.table(zip(VIDEOS, (TarState(OK, "1", 0, tar) for tar in tars), strict=True))
    assert settled.right_tars(pa.array(VIDEOS), rows, index).tolist() == [False, False]
