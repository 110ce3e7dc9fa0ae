"""What is told by column is what the rows say one by one: settled videos are whole, and sound ones are settled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resplice.transforms import audit, settled
from resplice.transforms.affected import OK, Video, reasons
from resplice.transforms.audit import RowName, transcribed_content
from resplice.transforms.coverage import Bucket, Result, Standing, place
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
    videos, files = (pa.array([row[i] for row in rows], text) for i in range(2))
    owners, names, statuses = (pa.array([result[i] for result in results], text) for i in range(3))
    found = {"video_id": owners, "stem": settled.plain_stems(names, ".flac"), "status": statuses}
    return settled.settle(pa.array(VIDEOS), pa.table({"video_id": videos, "segment_file": files}), pa.table(found))


def with_results(rows: Sequence[Pair]) -> list[Found]:
    return [(video, file, "passed") for video, file in rows]


@given(pairs, found_results, st.booleans())
def test_every_row_of_a_settled_video_is_validated_by_the_result_that_settled_it(
    rows: list[Pair], more: list[Found], whole: bool
) -> None:
    results = with_results(rows) if whole else more
    found = settle(rows, results)
    for row, key, number in zip(rows, found.stems.to_pylist(), found.result.to_pylist(), strict=True):
        if not found.videos[VIDEOS.index(row[0])]:
            continue
        mine = [result for result in results if result[0] == row[0] and read_row_or_none(result[1], None)]
        [only] = [result for result in mine if read_row(result[1], None) == read_row(row[1], None)]
        assert results[number] == only
        assert stem(read_row(row[1], frozenset({row[1]}))) == stem(read_row(row[1], None)) == key
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


@given(
    st.lists(st.sampled_from(FILES), max_size=3),
    st.sets(st.sampled_from([f"a/{folder}/{name}" for folder in ("segments", "transcriptions", "other")
                             for name in ("x.flac", "x.json", "y_1.flac", "y_1.json", "z.flac", "z.json")])),
    st.booleans(),
)  # fmt: skip
def test_no_reason_holds_for_a_settled_video_with_a_right_tar(files: list[str], drawn: set[str], right: bool) -> None:
    rows = [("a", file) for file in files]
    stems = [file.removesuffix(".flac") for file in files]
    wanted = {
        f"a/{folder}/{name}.{kind}"
        for name in stems
        for folder, kind in (("segments", "flac"), ("transcriptions", "json"))
    }
    members = sorted(wanted if right else drawn)
    found = settle(rows, with_results(rows))
    table = pa.table({"video_id": pa.array(["a"] * len(members), pa.string()), "name": pa.array(members, pa.string())})
    videos = pa.table({"video_id": pa.array([video for video, _ in rows], pa.string())})
    [sound, _] = (found.videos & settled.right_tars(pa.array(VIDEOS), videos, found.stems, table)).tolist()
    names = [RowName(number, file, read_row_or_none(file, None)) for number, file in enumerate(files)]
    content = transcribed_content("a", members)
    faults = audit.faults(content, audit.read_names(content, names, None), names, {})
    results = {name.segment: "passed" for name in names if name.segment}
    if sound:
        assert reasons(Video(names, OK, faults, None, results), ()) == []
    elif right and len(set(files)) == len(files) and files and set(files) <= {"x.flac", "y_1.flac"}:
        pytest.fail("a sound video was not seen to be sound")


def test_a_tar_is_judged_by_its_own_members_alone() -> None:
    rows = pa.table({"video_id": ["a", "b"]})
    names = ["b/segments/x.flac", "b/transcriptions/x.json", "a/segments/x.flac", "a/transcriptions/x.json"]
    members = pa.table({"video_id": ["a", "a", "b", "b"], "name": names})
    assert settled.right_tars(pa.array(VIDEOS), rows, pa.array(["x", "x"]), members).tolist() == [False, False]
