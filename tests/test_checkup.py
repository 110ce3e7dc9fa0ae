"""What doctor makes of what it found: the bounds, and a remedy wherever something is wrong."""

from __future__ import annotations

import pytest

from resplice.transforms import checkup
from resplice.transforms.checkup import Finding, State, exit_code

GB = 10**9
MIB = 1 << 20


@pytest.mark.parametrize(
    ("finding", "state"),
    [
        (checkup.python((3, 10, 14)), State.FAILED),
        (checkup.python((3, 11, 0)), State.OK),
        (checkup.python((3, 13, 9)), State.OK),
        (checkup.python((3, 14, 0)), State.FAILED),
        (checkup.packages({}, "x"), State.OK),
        (checkup.packages({"apache-beam>=2.77": "2.60 is installed"}, "x"), State.FAILED),
        (checkup.runner("FnApiRunner", 1), State.OK),
        (checkup.runner("apache_beam.runners.portability.fn_api_runner.FnApiRunner", 1), State.OK),
        (checkup.runner("FlinkRunner", 1), State.OK),
        (checkup.runner("prism", 1), State.OK),
        (checkup.runner("SparkRunner", 1), State.WARNING),
        (checkup.memory(2, 1024, 2548 * MIB), State.OK),
        (checkup.memory(2, 1024, 2548 * MIB - 1), State.WARNING),
        (checkup.open_files(-1, 64), State.OK),
        (checkup.open_files(288, 1), State.OK),
        (checkup.open_files(287, 1), State.WARNING),
        (checkup.room("w", GB, GB, "why", True), State.OK),
        (checkup.room("w", GB - 1, GB, "why", True), State.FAILED),
        (checkup.room("w", GB - 1, GB, "why", False), State.WARNING),
        (checkup.temporary("t", 4 * GB, 2 * GB, 2), State.OK),
        (checkup.temporary("t", 4 * GB - 1, 2 * GB, 2), State.WARNING),
        (checkup.indexes([]), State.OK),
        (checkup.indexes([("rows", "video")]), State.WARNING),
        (checkup.statuses({"failed", None}, True, ["failed"]), State.OK),
        (checkup.statuses({"FAILED", None}, True, ["failed"]), State.WARNING),
        (checkup.statuses({"pending"}, False, ["failed"]), State.OK),
        (checkup.statuses(set(), True, ["failed"]), State.OK),
        (checkup.missing_engine("asr", []), State.ABSENT),
        (checkup.missing_engine("mine", []), State.ABSENT),
    ],
)
def test_a_finding_has_its_state(finding: Finding, state: State) -> None:
    assert finding.state == state
    assert finding.remedy or state in (State.OK, State.ABSENT)


def test_an_absent_option_names_an_extra_only_where_there_is_one() -> None:
    absent = [
        f"{finding.found} | {finding.remedy}"
        for finding in checkup.optional({"vad", "snr"}, ["postgres", "asr", "loudness"])
    ]
    assert absent == [
        "vad, snr: installed | ",
        "loudness,asr: not installed | if you want them: pip install 'resplice[loudness,asr]'",
        "postgres: not installed | if you want them: pip install 'resplice[postgres]'",
    ]
    assert checkup.missing_engine("asr", ["asr"]).remedy == "pip install 'resplice[asr]'"
    assert checkup.missing_engine("mine", ["asr"]).remedy.startswith("install the package that registers it")


def test_an_index_that_is_missing_is_told_as_sql() -> None:
    [line] = checkup.indexes([("public.rows", "video")]).remedy.splitlines()
    assert line == "CREATE INDEX public_rows_by_video ON public.rows (video)"


def test_only_what_failed_is_exit_2() -> None:
    states = (State.OK, State.WARNING, State.ABSENT, State.SKIPPED)
    works = [Finding("x", state, "found", "remedy") for state in states]
    assert exit_code(works) == 0
    assert exit_code([*works, Finding("y", State.FAILED, "found", "remedy")]) == 2


@pytest.mark.parametrize("state", [State.FAILED, State.WARNING])
def test_nothing_is_wrong_without_a_remedy(state: State) -> None:
    with pytest.raises(ValueError, match="no remedy"):
        Finding("x", state, "found")


@pytest.mark.parametrize(("size", "text"), [(0, "0.0 MB"), (88_400_000, "88.4 MB"), (70_700_000_000, "70.7 GB")])
def test_bytes_for_people(size: int, text: str) -> None:
    assert checkup.shown(size) == text
