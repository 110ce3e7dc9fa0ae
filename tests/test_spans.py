"""Lists of records in the workspace: spans name whole lines, and what is read is what was written."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resplice.io import progress, spans
from resplice.io.context import Context
from resplice.io.ledger import Entry
from resplice.io.work import Item, Planned
from resplice.transforms import provenance
from resplice.transforms.provenance import Run
from resplice.transforms.records import Reason, Refusal
from resplice.transforms.replace import Tar
from resplice.transforms.settings import Corpus, Settings


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Run("r", str(tmp_path), "test", "", seq=3), Settings(corpus=Corpus(workspace=str(tmp_path))))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(values, max_size=12), st.integers(1, 5))
def test_the_spans_of_a_list_give_its_records_in_order(context: Context, records: list[Any], per_span: int) -> None:
    written = spans.write(context, "stage", "things", records, lambda value: value, per_span)
    found = [list(written.lines(span)) for span in written.spans]
    assert [record for part in found for record in part] == records
    assert [len(part) for part in found[:-1]] == [per_span] * (len(found) - 1)


def test_an_element_is_a_few_bytes_however_large_its_record_is(context: Context) -> None:
    written = spans.write(context, "stage", "things", ["x" * 100_000] * 3, str)
    assert all(len(pickle.dumps(span)) < 40 for span in written.spans)
    assert len(pickle.dumps(written.lines)) < 1000


def test_work_is_done_on_each_record_of_a_span_or_on_all_at_once(context: Context) -> None:
    written = spans.write(context, "stage", "things", [1, 2, 3], int, per_span=2)
    each, together = written.lines.each(lambda n: [n, -n]), written.lines.all(lambda some: [sum(some)])
    assert [list(each(span)) for span in written.spans] == [[1, -1, 2, -2], [3, -3]]
    assert [list(together(span)) for span in written.spans] == [[3], [3]]


def test_lists_of_two_processes_of_a_run_do_not_meet_and_each_goes_with_its_stage(context: Context) -> None:
    other = Context(Run("r", context.run.root, "test", "", seq=4), context.settings)
    mine, theirs = (spans.write(one, "stage", "things", [one.run.seq], int) for one in (context, other))
    progress.clear(context, progress.by_marks(context, "stage", 1))
    assert [list(theirs.lines(span)) for span in theirs.spans] == [[4]]
    with pytest.raises(FileNotFoundError):
        list(mine.lines(mine.spans[0]))


def test_a_work_item_is_the_same_when_it_is_read_again() -> None:
    video = Planned("v", True, 3, 1.5, "token", None, "digest", None, Tar("objects/1.tar", "1", 2))
    done = Entry("v", "done", "print", 1, inputs={"raw": ["token", "sha"]}, counts={"segments": 3})
    refused = Entry.refused("w", Refusal(Reason.CRASHED, "why", "seg"), "print", 2)
    others = (Planned("w", False, 0, 0.0, None, None, "", "ok"), Planned("x", False, 0, 0.1, None, None, "", None))
    item = Item("00001-abc", (video, *others), (done, refused, None), frozenset({"x"}))
    assert Item.from_json(provenance.plain(item)) == item
