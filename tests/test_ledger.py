"""The ledger of a stage: the latest outcome of every unit, kept in one object a work item."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resplice.io import ledger
from resplice.io.ledger import Entry
from resplice.io.local import LocalStore
from resplice.transforms.records import Reason, Refusal

STAGE = "runs/r/repair"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path))


def test_a_stage_that_never_ran_has_no_entries(store: LocalStore) -> None:
    assert ledger.load(store, STAGE) == {}


def test_what_is_saved_is_loaded(store: LocalStore) -> None:
    entry = Entry(
        "v", "done", "f" * 64, 3, at="now", inputs={"raw": ["token", "sha"]}, counts={"segments": 2, "seconds": 1.5}
    )
    ledger.save(store, STAGE, "00001", [entry])
    assert ledger.load(store, STAGE) == {"v": entry}


def test_a_later_outcome_takes_the_place_of_an_earlier_one_and_others_stay(store: LocalStore) -> None:
    ledger.save(store, STAGE, "1", [Entry("a", "done"), Entry("b", "done")])
    ledger.save(store, STAGE, "2", [Entry("c", "done")])
    ledger.save(store, STAGE, "1", [Entry("a", "refused", reason="crashed"), Entry("b", "done")])
    outcomes = {unit: entry.outcome for unit, entry in ledger.load(store, STAGE).items()}
    assert outcomes == {"a": "refused", "b": "done", "c": "done"}


def test_two_processes_that_work_on_one_item_lose_nothing_of_each_other(store: LocalStore) -> None:
    def work(process: int) -> None:
        for number in range(10):
            ledger.save(store, STAGE, "1", [Entry(f"{process}-{number}", "done", seq=process)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert sorted(ledger.load(store, STAGE)) == sorted(f"{p}-{n}" for p in range(4) for n in range(10))


def test_an_older_process_does_not_undo_the_outcome_of_a_newer_one(store: LocalStore) -> None:
    ledger.save(store, STAGE, "1", [Entry("a", "done", seq=2)])
    ledger.save(store, STAGE, "1", [Entry("a", "refused", seq=1, reason="timeout")])
    assert ledger.load(store, STAGE)["a"].outcome == "done"


@pytest.mark.parametrize("order", [("1", "2"), ("2", "1")])
def test_the_entry_of_the_latest_process_counts_in_whatever_item_it_stands(
    store: LocalStore, order: tuple[str, str]
) -> None:
    ledger.save(store, STAGE, order[0], [Entry("v", "refused", seq=1, reason="timeout")])
    ledger.save(store, STAGE, order[1], [Entry("v", "done", seq=2)])
    assert ledger.load(store, STAGE)["v"].outcome == "done"


def test_the_ledgers_of_stages_do_not_mix(store: LocalStore) -> None:
    ledger.save(store, "runs/r/repair", "1", [Entry("a", "done")])
    ledger.save(store, "runs/r/validate", "1", [Entry("b", "done")])
    ledger.save(store, "runs/r2/repair", "1", [Entry("c", "done")])
    assert list(ledger.load(store, "runs/r/repair")) == ["a"]


def test_saving_the_same_entries_in_another_order_does_not_touch_the_object(store: LocalStore) -> None:
    ledger.save(store, STAGE, "1", [Entry("a", "done"), Entry("b", "done")])
    before = list(store.list())
    ledger.save(store, STAGE, "1", [Entry("b", "done"), Entry("a", "done")])
    assert list(store.list()) == before


def test_a_refusal_becomes_an_entry_with_its_reason_detail_and_segment() -> None:
    entry = Entry.refused("v", Refusal(Reason.SEGMENT_MISMATCH, "two and three", "a_split0"), "print", 4)
    assert (entry.unit, entry.outcome, entry.fingerprint, entry.seq) == ("v", "refused", "print", 4)
    assert (entry.reason, entry.detail, entry.segment) == ("segment_mismatch", "two and three", "a_split0")
    assert entry.at


def test_the_same_outcome_is_the_same_whenever_it_was() -> None:
    entry = Entry("v", "refused", "f", 1, "crashed", "x", at="then")
    assert entry.same_as(Entry("v", "refused", "f", 2, "crashed", "x", at="now"))
    assert not entry.same_as(Entry("v", "refused", "f", 1, "timeout", "x", at="then"))


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(detail=st.text(), segment=st.sampled_from(["a", "a\u2028b", "\x85", "\x1c\x0b\x0c", "é"]))
def test_any_text_survives(store: LocalStore, detail: str, segment: str) -> None:
    entry = Entry("v", "refused", reason="bad_name", detail=detail, segment=segment)
    ledger.save(store, STAGE, "1", [entry])
    assert ledger.load(store, STAGE) == {"v": entry}
