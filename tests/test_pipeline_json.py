"""pipeline.json as a file: read leniently, written strictly, locked, backed up, with a journal beside it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from resplice.io import pipeline_json
from resplice.io.pipeline_json import BACKUPS, PipelineJson, Record
from resplice.transforms.records import UserError

ODD = '{"z": NaN, "a": [Infinity, -Infinity, 1e999, 12345678901234567890, 0.1, 1.0], "half": "\\ud83d", "ü": "\\u00fc"}'


@pytest.fixture
def path(tmp_path: Path) -> PipelineJson:
    (tmp_path / "pipeline.json").write_text(ODD)
    made = PipelineJson.at(str(tmp_path / "pipeline.json"))
    pipeline_json.begin(made)
    return made


def added(key: str, value: Any) -> Any:
    return lambda state: {**state, key: value}


def test_old_files_are_read_leniently_and_written_as_strict_json_with_everything_in_it(path: PipelineJson) -> None:
    path.update(added("new", None))
    text = path.path.read_text("utf-8")
    assert json.loads(text, parse_constant=pytest.fail) == {
        "z": None, "a": [None, None, None, 12345678901234567890, 0.1, 1.0], "half": "\ud83d", "ü": "ü", "new": None,
    }  # fmt: skip
    assert text.endswith("}\n") and '"ü": "ü"' in text and list(json.loads(text)) == sorted(json.loads(text))


def test_a_change_that_changes_nothing_writes_nothing(path: PipelineJson) -> None:
    path.update(lambda state: dict(state))
    assert path.path.read_text() == ODD and not (path.path.parent / ".pipeline").exists()


def test_the_former_state_is_backed_up_once_a_process_and_the_last_50_are_kept(path: PipelineJson) -> None:
    folder = path.path.parent / ".pipeline/backups"
    folder.mkdir(parents=True)
    (folder / "pipeline-other.json").write_text("mine")
    for number in range(BACKUPS + 5):
        pipeline_json.begin(path)
        path.update(added("n", number))
        path.update(added("again", number))
    kept = sorted(folder.glob("pipeline-2*.json"))
    assert len(kept) == BACKUPS and (folder / "pipeline-other.json").exists()
    assert [json.loads(file.read_bytes())["n"] for file in kept] == list(range(4, BACKUPS + 4))
    assert json.loads(kept[-1].read_bytes())["again"] == BACKUPS + 3


def test_another_writers_change_in_between_is_kept(path: PipelineJson) -> None:
    turns = iter([True])

    def change(state: dict[str, Any]) -> dict[str, Any]:
        if next(turns, False):
            path.path.write_text('{"theirs": 1}')
        return {**state, "ours": 2}

    path.update(change)
    assert path.read() == {"theirs": 1, "ours": 2}


def test_a_reader_at_any_moment_sees_a_whole_state(path: PipelineJson) -> None:
    ended, seen = threading.Event(), set()

    def read() -> None:
        while not ended.is_set():
            state = json.loads(path.path.read_bytes())
            seen.add(state.get("n"))
            assert len(state.get("rows", [0] * 2000)) == 2000

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(30):
        path.update(lambda state, n=number: {**state, "n": n, "rows": [n] * 2000})  # type: ignore[misc]
    ended.set()
    reader.join()
    assert len(seen) > 2


def test_a_locked_file_is_waited_for_and_then_exit_75(path: PipelineJson) -> None:
    with (
        FileLock(f"{path.path}.lock", is_singleton=False),
        pytest.raises(UserError, match="is locked by another process") as error,
        path.locked(0.1),
    ):
        pass
    assert error.value.exit_code == 75
    with path.locked(0.1):
        pass


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b'{"a": \xff}', b"null"])
def test_what_is_no_state_is_told(path: PipelineJson, data: bytes) -> None:
    path.path.write_bytes(data)
    with pytest.raises(UserError, match=r"pipeline.json (is not valid JSON|must hold a JSON object)"):
        path.read()


def test_the_journal_holds_one_row_a_chunk_until_it_is_forgotten(path: PipelineJson) -> None:
    other = PipelineJson(path.path.with_name("other.json"))
    for book, number, status in (("a/b", 1, "failed"), ("a", 11, "success"), ("a/b", 1, "success"), ("ü", 1, "failed")):
        path.record(Record(book, number, {"status": status}))
    other.record(Record("a", 1, {}))
    found = path.journal()
    assert {(r.file_id, r.number, r.row["status"]) for r in found.values()} == {
        ("a/b", 1, "success"), ("a", 11, "success"), ("ü", 1, "failed"),
    }  # fmt: skip
    path.forget(found)
    assert path.journal() == {} and len(other.journal()) == 1
