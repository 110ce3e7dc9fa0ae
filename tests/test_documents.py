"""The rules of documents: ids, what a row must hold, and joins that depend on no order."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resplice.transforms import documents, lineage
from resplice.transforms.documents import (
    DRAFT,
    ESSAY,
    EVALUATION,
    LINK,
    SOURCES,
    Row,
    checked,
    identify,
    is_another,
    layout,
    small_of,
)
from resplice.transforms.lineage import Candidate, Decision, Found, Id
from resplice.transforms.records import Reason, Refusal, UserError

HEADERS = {
    DRAFT: ["draft_task_id", "combo_id", "draft_template_id", "generation_model", "generation_status",
            "generation_timestamp", "response_file", "response_size_bytes"],
    EVALUATION: ["evaluation_task_id", "essay_task_id", "generation_task_id", "combo_id", "evaluation_template",
                 "evaluation_model", "evaluation_status", "evaluation_timestamp", "eval_response_file"],
}  # fmt: skip
CELLS = {
    DRAFT: ["d1", "c", "t", "m", "success", "2025-09-06T00:00:00Z", "d.txt", "17"],
    EVALUATION: ["v1", "e1", "", "", "t", "m", "success", "2025-09-06T00:00:00", "v.txt"],
}


def test_the_golden_id_holds() -> None:
    assert identify("draft", "combo_v1_0123456789ab", "creative-synthesis-v10", "gemini_25_pro") == "uva8v97ko1nswflt"


def test_an_id_is_16_digits_of_base_36_whatever_the_parts() -> None:
    for number in range(2000):
        id_ = identify(str(number))
        assert len(id_) == 16 and set(id_) <= set("0123456789abcdefghijklmnopqrstuvwxyz")


def test_a_part_that_holds_the_separator_gives_the_id_of_other_parts() -> None:
    assert identify("draft", "a", "b", "c") == identify("draft", "a|b", "c") == "4jsq83omk97n3kka"


@pytest.mark.slow
def test_a_million_generated_keys_have_no_collision() -> None:
    keys = (("draft", f"combo_v1_{number:012x}", f"template-{number % 40}", "m") for number in range(1_000_000))
    assert len({identify(*key) for key in keys}) == 1_000_000


def row(source: int = DRAFT, **changed: str) -> Row:
    cells = dict(zip(HEADERS[source], CELLS[source], strict=True)) | changed
    return layout(source, HEADERS[source]).row(0, list(cells.values()))


BAD = [
    (DRAFT, {"draft_task_id": ""}, "invalid_row: draft_task_id is empty"),
    (DRAFT, {"combo_id": ""}, "invalid_row: combo_id is empty"),
    (DRAFT, {"draft_template_id": ""}, "invalid_row: draft_template_id is empty"),
    (DRAFT, {"generation_model": ""}, "invalid_row: generation_model is empty"),
    (DRAFT, {"generation_timestamp": ""}, "invalid_row: generation_timestamp is empty"),
    (DRAFT, {"generation_timestamp": "soon"}, "invalid_row: generation_timestamp 'soon' is no time"),
    (DRAFT, {"generation_timestamp": " 2025-09-06"}, "invalid_row: generation_timestamp ' 2025-09-06' is no time"),
    (DRAFT, {"generation_timestamp": "2025-02-30"}, "invalid_row: generation_timestamp '2025-02-30' is no time"),
    (DRAFT, {"generation_timestamp": "0001-01-01T00:00:00+14:00"}, "invalid_row: .* is no time"),
    (DRAFT, {"generation_timestamp": "soon", "generation_status": "failed"}, "invalid_row: .* is no time"),
    (DRAFT, {"generation_status": "Success"}, "not_successful: generation_status is 'Success'"),
    (DRAFT, {"generation_status": "success "}, "not_successful: generation_status is 'success '"),
    (DRAFT, {"generation_status": ""}, "not_successful: generation_status is ''"),
    (DRAFT, {"draft_task_id": "a\0b"}, "invalid_row: a cell holds a NUL character"),
    (DRAFT, {"draft_task_id": "a\udcff"}, "invalid_row: a cell is not UTF-8"),
    (EVALUATION, {"evaluation_template": ""}, "invalid_row: evaluation_template is empty"),
    (EVALUATION, {"evaluation_status": "parse_error"}, "not_successful: evaluation_status is 'parse_error'"),
]


@pytest.mark.parametrize(("source", "changed", "why"), BAD)
def test_a_row_is_refused_for_the_first_reason_that_holds(source: int, changed: dict[str, str], why: str) -> None:
    with pytest.raises(Refusal, match=f"^{why}$"):
        checked(row(source, **changed))


def test_an_evaluation_needs_no_combo() -> None:
    assert checked(row(EVALUATION)) == checked(row(DRAFT))


def test_no_cell_is_stripped() -> None:
    spaced = row(draft_task_id=" d1 ")
    checked(spaced)
    assert spaced.key == "draft_generation_results.csv: d1 :2025-09-06T00:00:00Z"


TIMES = [
    ("2025-09-06T00:00:00Z", "2025-09-06T00:00:00.000000Z"),
    ("2025-09-06T00:00:00", "2025-09-06T00:00:00.000000Z"),
    ("2025-09-06 00:00:00.5", "2025-09-06T00:00:00.500000Z"),
    ("2025-09-06T00:00:00+02:00", "2025-09-05T22:00:00.000000Z"),
    ("2025-09-06T00:00:00.000001-11:30", "2025-09-06T11:30:00.000001Z"),
    ("2025-09-06", "2025-09-06T00:00:00.000000Z"),
    ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59.000000Z"),
]


@pytest.mark.parametrize(("written", "utc"), TIMES)
def test_a_time_is_read_to_utc(written: str, utc: str) -> None:
    ticks = documents.ticks(written)
    assert ticks is not None and documents.iso(ticks) == utc


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ([*CELLS[DRAFT], "more"], "9 cells, the header has 8"),
        (CELLS[DRAFT][:6], "6 cells, response_file is the 7th"),
        ([], "0 cells, response_file is the 7th"),
        (CELLS[DRAFT][:7], ""),  # only a column that nobody needs is not there
    ],
)
def test_a_ragged_row_is_judged_by_its_last_required_column(cells: list[str], fault: str) -> None:
    assert layout(DRAFT, HEADERS[DRAFT]).row(0, cells).fault == fault


def test_columns_are_found_by_name_and_the_response_of_an_evaluation_under_either() -> None:
    for name in ("eval_response_file", "evaluation_response_file"):
        header = [name, *reversed(HEADERS[EVALUATION][:-1])]
        read = layout(EVALUATION, header).row(0, ["v.txt", *reversed(CELLS[EVALUATION][:-1])])
        assert (read.file, read.task_id, read.essay, read.fault) == ("v.txt", "v1", "e1", "")


def test_an_evaluation_may_end_before_columns_that_it_can_do_without() -> None:
    header = [HEADERS[EVALUATION][n] for n in (0, 4, 5, 6, 7, 8, 1, 3, 2)]
    cells = ["v1", "t", "m", "success", "2025-09-06", "v.txt", "e1"]
    read = layout(EVALUATION, header).row(0, cells)
    assert (read.fault, read.essay, read.generation) == ("", "e1", "")
    assert layout(EVALUATION, header).row(0, cells[:5]).fault == "5 cells, eval_response_file is the 6th"


@pytest.mark.parametrize(
    ("cells", "file"),
    [(["1.txt", "2.txt"], "1.txt"), (["", "2.txt"], "2.txt"), (["1.txt", ""], "1.txt"), (["", ""], ""), ([""], "")],
)
def test_of_both_names_of_the_response_the_first_cell_that_is_not_empty_holds(cells: list[str], file: str) -> None:
    both = layout(EVALUATION, [*HEADERS[EVALUATION], "evaluation_response_file"])
    read = both.row(0, [*CELLS[EVALUATION][:-1], *cells])
    assert (read.file, read.fault) == (file, "")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (HEADERS[DRAFT][1:], "has no column draft_task_id"),
        (HEADERS[DRAFT][:6], r"has no column response_file \(it has: draft_task_id"),
        ([*HEADERS[DRAFT], "combo_id"], "has the column combo_id twice"),
    ],
)
def test_a_header_without_a_needed_column_is_told(header: list[str], message: str) -> None:
    with pytest.raises(UserError, match=f"draft_generation_results.csv {message}"):
        layout(DRAFT, header)


def found(source: int, number: int, ticks: int, sha: str = "", **more: str) -> Found:
    given = {
        "task_id": f"{source}-{number}",
        "combo_id": "c",
        "template": "t",
        "model": "m",
        "key": f"{source}-{number}",
    }
    return Found(
        (source, number), ticks=ticks, sha256=sha or f"{source}-{number}", chars=1, root=0, **{**given, **more}
    )


def known(source: int, number: int, ticks: int, **more: str) -> Candidate:
    given = {"task_id": "d", "combo_id": "c", "model": "m", "doc_id": f"doc {source}-{number}", **more}
    return Candidate((source, number), ticks=ticks, **given)


def parent(essay: Found, drafts: Iterable[Candidate]) -> str:
    ((_, decision),) = lineage.with_parents([essay], drafts, "r")
    return decision.parent_id or decision.reason


PARENTS = [
    ("the latest that is not later", [known(DRAFT, 0, 1), known(DRAFT, 1, 5), known(DRAFT, 2, 11)], "doc 0-1"),
    ("one of the same time", [known(DRAFT, 0, 10)], "doc 0-0"),
    ("on a tie a draft before a link", [known(LINK, 0, 5), known(DRAFT, 9, 5)], "doc 0-9"),
    ("a later link before an earlier draft", [known(LINK, 0, 6), known(DRAFT, 9, 5)], "doc 1-0"),
    ("on a tie of drafts CSV order", [known(DRAFT, 3, 5), known(DRAFT, 2, 5)], "doc 0-2"),
    ("only later ones", [known(DRAFT, 0, 11)], "unresolved_parent"),
    ("another combo", [known(DRAFT, 0, 1, combo_id="x")], "unresolved_parent"),
    ("another model", [known(DRAFT, 0, 1, model="x")], "unresolved_parent"),
    ("none", [], "unresolved_parent"),
]


@pytest.mark.parametrize(("drafts", "expected"), [pytest.param(d, e, id=name) for name, d, e in PARENTS])
def test_the_parent_of_an_essay(drafts: list[Candidate], expected: str) -> None:
    assert parent(found(ESSAY, 0, 10), drafts) == expected


def test_of_several_documents_with_the_task_id_the_latest_is_the_target_then_csv_order() -> None:
    evaluation = found(EVALUATION, 0, 1, essay="d")
    some = [known(ESSAY, 0, 5), known(ESSAY, 1, 7), known(ESSAY, 2, 7)]
    ((_, made),) = lineage.with_targets([evaluation], some, "r", lambda one: one.essay)
    assert made and made.parent_id == "doc 2-1"


def test_the_first_of_equal_bytes_is_the_document_and_the_others_are_known_as_it() -> None:
    drafts = [found(LINK, 0, 1, "same"), found(DRAFT, 4, 9, "same"), found(DRAFT, 7, 3, "same"), found(DRAFT, 1, 1)]
    told = {one.ref: (decision.reason, as_.doc_id, as_.ticks, as_.task_id)
            for one, decision, as_ in lineage.without_duplicates(drafts, "r")}  # fmt: skip
    doc = told[DRAFT, 4][1]
    assert told[DRAFT, 4] == ("", doc, 9, "0-4")
    assert told[DRAFT, 7] == ("duplicate_same_content", doc, 3, "0-7")
    assert told[LINK, 0] == ("duplicate_same_content", doc, 1, "1-0")
    assert told[DRAFT, 1][0] == "" and told[DRAFT, 1][1] != doc


def test_an_id_of_two_logical_keys_or_two_rows_is_refused_in_the_later_row() -> None:
    marks = [Id((DRAFT, 5), "x", "b"), Id((DRAFT, 2), "x", "a"), Id((LINK, 0), "x", "a"), Id((LINK, 3), "y", "b")]
    ((decision),) = lineage.collisions(marks)
    assert decision.ref == (DRAFT, 5) and decision.reason == "id_collision"
    assert "x is an id of row 2 of draft_generation_results.csv" in decision.detail


def test_collisions_of_later_stages_wait_for_those_of_the_first() -> None:
    later, first = Decision((ESSAY, 0), "id_collision"), Decision((LINK, 3), "id_collision")
    assert lineage.of_the_first_stage([later, first, first]) == [first]
    assert lineage.of_the_first_stage([]) == []


KEY = ("draft", "c", "t", "m")
LINE = {"stage": "draft", "parent_doc_id": None, "template_id": "t", "model_id": "m", "meta_small": '{"combo_id": "c"}'}


@pytest.mark.parametrize(
    ("changed", "parts", "another"),
    [
        ({}, KEY, False),
        ({"template_id": None, "model_id": None, "meta_small": None}, KEY, False),  # it does not tell
        ({"parent_doc_id": "p"}, KEY, False),  # a draft is about its combo
        ({"template_id": "x"}, KEY, True),
        ({"meta_small": '{"combo_id": "x"}'}, KEY, True),
        ({"stage": "essay", "parent_doc_id": "c"}, KEY, True),
        ({"stage": "essay", "parent_doc_id": "p"}, ("essay", "p", "t", "m"), False),
        ({"stage": "essay", "parent_doc_id": "x"}, ("essay", "p", "t", "m"), True),
        ({"stage": "essay", "parent_doc_id": None}, ("essay", "p", "t", "m"), False),
    ],
)
def test_a_row_of_the_index_has_another_logical_key_only_if_it_tells_one(
    changed: dict[str, Any], parts: tuple[str, ...], another: bool
) -> None:
    assert is_another(LINE | changed, parts) is another


@pytest.mark.parametrize("text", [None, "", "x", "[]", "[1]", '"a"', "null", '{"a": NaN}', 5, "[" * 100_000])
def test_what_another_writer_left_as_small_metadata_tells_nothing(text: Any) -> None:
    assert small_of({"meta_small": text}) == {}


def test_logical_keys_of_the_stages() -> None:
    draft = lineage.document(found(LINK, 0, 1), "r")
    assert draft.logical_id == identify("draft", "c", "t", "m")
    assert draft.doc_id == identify(draft.logical_id, "r", "1-0")
    for source in (ESSAY, EVALUATION):
        made = lineage.document(found(source, 0, 1), "r", "above")
        assert made.logical_id == identify(SOURCES[source].stage, "above", "t", "m")


times = st.integers(0, 6)
drafts = st.lists(
    st.builds(
        lambda source, ticks, sha, combo, model: (source, ticks, sha, combo, model),
        st.sampled_from((DRAFT, LINK)), times, st.sampled_from("abcdefgh"), st.sampled_from("xy"),
        st.sampled_from("mn"),
    ),
    max_size=14,
)  # fmt: skip
essays = st.lists(st.tuples(times, st.sampled_from("xy"), st.sampled_from("mn")), max_size=8)


@given(drafts, essays, st.integers(0, 99))
def test_the_joins_are_those_of_a_loop_over_the_rows_in_any_order(
    given_drafts: list[tuple[int, int, str, str, str]], given_essays: list[tuple[int, str, str]], seed: int
) -> None:
    rows = [found(source, number, ticks, sha, combo_id=combo, model=model)
            for number, (source, ticks, sha, combo, model) in enumerate(given_drafts)]  # fmt: skip
    later = [
        found(ESSAY, n, ticks, combo_id=combo, model=model) for n, (ticks, combo, model) in enumerate(given_essays)
    ]
    wanted = looped(rows, later)
    lot = random.Random(seed)
    lot.shuffle(rows)
    lot.shuffle(later)
    told = list(lineage.without_duplicates(rows, "r"))
    candidates = [as_ for _, _, as_ in told]
    lot.shuffle(candidates)
    made = list(lineage.with_parents(later, candidates, "r"))
    assert {one.ref: decision.parent_id or decision.reason for one, decision in made} == wanted
    assert len(told) == len(rows)


def looped(rows: list[Found], later: list[Found]) -> dict[lineage.Ref, str]:
    """Return the parent of each essay as a plain loop over the rows in reading order finds it."""
    documents_: dict[str, str] = {}
    candidates = []
    for one in sorted(rows):
        documents_.setdefault(one.sha256, lineage.document(one, "r").doc_id)
        candidates.append((one, documents_[one.sha256]))
    parents = {}
    for essay in later:
        best = None
        for draft, doc_id in candidates:
            fits = (draft.combo_id, draft.model) == (essay.combo_id, essay.model) and draft.ticks <= essay.ticks
            if fits and (best is None or draft.ticks > best[0]):
                best = draft.ticks, doc_id
        parents[essay.ref] = best[1] if best else str(Reason.UNRESOLVED_PARENT)
    return parents
