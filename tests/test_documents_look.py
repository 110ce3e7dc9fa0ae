"""Looking at an index of documents, its reports, and the report of the run."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from backfilling import Folder, draft, essay, evaluation, link
from recovering import tree

from resplice.pipelines.__main__ import main

REPORTS = ("documents_latest_report", "documents_consistency_report")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A draft with an essay and its evaluations, a link with a prompt, a bad row; tests only read it."""
    folder = Folder(tmp_path_factory.mktemp("look"))
    folder.write(
        draft=[draft("d"), draft("bad", generation_status="failed")],
        link=[link("l", combo="other")],
        essay=[essay("e")],
        evaluation=[evaluation("v1", essay="e"), evaluation("v2", essay="e"), evaluation("v3", generation="d")],
    )
    folder.response("links_prompts/l.txt", b"prompt")
    assert folder.run() == 0
    return folder


def said(capsys: pytest.CaptureFixture[str], folder: Folder, *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main([*words, f"--db={folder.db}"]) == code
    out, err = capsys.readouterr()
    return out + err


def test_show_tells_the_row_and_its_small_metadata(done: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    row = done.rows()["d"]
    text = said(capsys, done, "documents", "show", row["doc_id"])
    assert row["content_hash"] in text and "draft_generation_results.csv:d:2025-01-01T00:00:00Z" in text
    told = json.loads(said(capsys, done, "documents", "show", row["doc_id"], "--json"))
    assert told["meta_small"]["combo_id"] == "c" and told["doc_dir"] == row["doc_dir"]


def test_lineage_is_a_tree_of_parents_and_children(done: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    rows = done.rows()
    lines = said(capsys, done, "documents", "lineage", rows["e"]["doc_id"]).splitlines()
    assert lines[0].startswith(f"draft  {rows['d']['doc_id']}")
    assert lines[1].startswith(f"└─ essay  {rows['e']['doc_id']}") and lines[1].endswith("◀")
    children = [line.strip("│├└─ ").split("  ")[:2] for line in lines[2:]]
    assert sorted(children) == sorted(["evaluation", rows[task]["doc_id"]] for task in ("v1", "v2"))
    tree_ = json.loads(said(capsys, done, "documents", "lineage", rows["d"]["doc_id"], "--json"))
    assert {child["task_id"] for child in tree_["children"]} == {"e", "v3"}
    assert [len(child["children"]) for child in tree_["children"] if child["task_id"] == "e"] == [2]


@pytest.mark.parametrize(
    ("flags", "tasks"),
    [
        ((), {"d", "l", "e", "v1", "v2", "v3"}),
        (("--stage", "draft"), {"d", "l"}),
        (("--model", "judge"), {"v1", "v2", "v3"}),
        (("--task", "v2"), {"v2"}),
        (("--stage", "essay", "--template", "t"), {"e"}),
        (("--template", "no such"), set()),
    ],
)
def test_find_lists_what_has_the_values(
    done: Folder, flags: tuple[str, ...], tasks: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(said(capsys, done, "documents", "find", *flags, "--json"))
    assert {line["task_id"] for line in found} == tasks
    assert said(capsys, done, "documents", "find", *flags).splitlines()[-1] == f"{len(tasks)} documents"
    assert "the latest 1 of them shown" in said(capsys, done, "documents", "find", "--limit", "1")


def test_an_unknown_document_or_index_is_one_line(done: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no document 'x'" in said(capsys, done, "documents", "show", "x", code=2)
    for words in (["documents", "find"], ["documents-report", "--out=x", f"--docs-root={done.docs}"]):
        assert main([*words, "--db=sqlite:///nowhere.sqlite"]) == 2
        assert "there is no index of documents" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("show",), ("lineage",)])
def test_a_logical_key_is_told_from_the_id_of_a_document(
    done: Folder, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = done.rows()
    text = said(capsys, done, "documents", *words, rows["d"]["logical_key_id"], code=2)
    assert f"{rows['d']['logical_key_id']} is a logical key of 1 document: {rows['d']['doc_id']}\n" in text
    text = said(capsys, done, "documents", *words, rows["v1"]["logical_key_id"], code=2)
    assert "is a logical key of 2 documents: " in text and rows["v1"]["doc_id"] in text and rows["v2"]["doc_id"] in text


def report(folder: Folder, out: Path, *more: str) -> int:
    return main(
        ["documents-report", f"--db={folder.db}", f"--docs-root={folder.docs}", f"--out={out}", "--quiet", *more]
    )


def test_the_reports_agree_as_csv_and_as_parquet(done: Folder, tmp_path: Path) -> None:
    assert report(done, tmp_path / "dry", "--dry-run") == 0 and not (tmp_path / "dry").exists()
    assert report(done, tmp_path) == 0
    assert report(done, tmp_path) == 0
    for name in REPORTS:
        table = pq.read_table(tmp_path / f"{name}.parquet").to_pylist()
        with (tmp_path / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        told = [{n: "" if v is None else str(v).lower() if isinstance(v, bool) else str(v) for n, v in row.items()}
                for row in table]  # fmt: skip
        assert lines == told and len(lines) == (5 if name == REPORTS[0] else 6)  # two evaluations share their key
    assert list(lines[0]) == ["doc_id", "stage", "task_id", "doc_dir", "dir_exists", "missing_raw", "missing_parsed",
                              "missing_prompt", "hash_mismatch"]  # fmt: skip


def test_the_latest_report_has_one_row_a_stage_and_key(done: Folder, tmp_path: Path) -> None:
    copy = Folder(tmp_path / "copy")
    shutil.copytree(done.root, copy.root)
    assert copy.run(run="later") == 0
    copy.write(draft=[draft("d", time="2025-01-01T09:00:00Z")])
    assert copy.run(run="latest") == 0
    assert report(copy, tmp_path / "out") == 0
    rows = pq.read_table(tmp_path / "out" / f"{REPORTS[0]}.parquet").to_pylist()
    assert len({(row["stage"], row["logical_key_id"]) for row in rows}) == len(rows)
    key = done.rows()["d"]["logical_key_id"]
    assert [row["run_id"] for row in rows if row["logical_key_id"] == key] == ["latest"]


DAMAGES = [
    ("dir_exists", lambda folder: shutil.rmtree(folder)),
    ("missing_raw", lambda folder: (folder / "raw.txt").unlink()),
    ("missing_parsed", lambda folder: (folder / "parsed.txt").unlink()),
    ("missing_prompt", lambda folder: (folder / "prompt.txt").unlink()),
    ("hash_mismatch", lambda folder: (folder / "raw.txt").write_text("other")),
]


@pytest.mark.parametrize(("column", "damage"), DAMAGES)
def test_an_inconsistency_is_told_and_exit_3(done: Folder, tmp_path: Path, column: str, damage: object) -> None:
    copy = Folder(tmp_path / "copy")
    shutil.copytree(done.root, copy.root)
    damage(copy.docs / copy.rows()["l"]["doc_dir"])  # type: ignore[operator]
    assert report(copy, tmp_path / "out") == 3
    rows = {row["task_id"]: row for row in pq.read_table(tmp_path / "out" / f"{REPORTS[1]}.parquet").to_pylist()}
    assert rows["l"][column] == (column != "dir_exists")
    assert rows["d"]["dir_exists"] and not any(rows["d"][name] for name in list(rows["d"])[5:])


def test_the_run_is_known_to_status_failed_and_report(done: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--run-id=r", f"--workspace={done.root / 'work'}"]
    assert main(["status", *place, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stages"]["documents"]["done"] == 6
    assert main(["failed", *place, "--stage=documents"]) == 0
    assert "draft_generation_results.csv:bad" in capsys.readouterr().out.replace("\n", "")
    before = tree(done.root)
    assert main(["report", *place, "--dry-run"]) == 0 and tree(done.root) == before
    page = (done.root / "work/runs/r/report.html").read_text()
    facts = json.loads((done.root / "work/runs/r/report.json").read_text())
    assert facts["sources"]["draft"] == {"rows": 2, "documents": 1, "reasons": {"not_successful": 1}}
    assert "not_successful" in page and "every row is a document, or in the bad list" in page
