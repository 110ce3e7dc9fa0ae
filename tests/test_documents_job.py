"""The backfill of documents as a command: the joins, the files, the index, the bad list, and what it leaves alone."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import historical
import pytest
from backfilling import Folder, draft, essay, evaluation, link
from historical import DRAFT, EVALUATION, LINK, World
from postgres import WRITER, Base
from recovering import tree

from resplice.io import remembered, trees
from resplice.io.index import Index
from resplice.pipelines.__main__ import main
from resplice.transforms.documents import identify

OWN = ("run.json", "report.html", "report.json")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A thousand rows with every kind of dirt; tests only read it."""
    return historical.write(tmp_path_factory.mktemp("world") / "w", 1000, seed=7, dirty=0.3)


@pytest.fixture(scope="module")
def done(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a backfill of that world wrote; tests only read it."""
    out = tmp_path_factory.mktemp("done")
    assert main(world.arguments(out)) == 0
    return out


def bad_rows(path: Path) -> dict[tuple[str, int], str]:
    with (path / "bad.csv").open(newline="", encoding="utf-8") as file:
        return {(line["source_csv"], int(line["row_index"])): line["reason"] for line in csv.DictReader(file)}


def test_every_row_ends_as_it_was_composed_to_end(world: World, done: Path) -> None:
    wanted = {(name, number): reason for name, reasons in world.expected.items()
              for number, reason in enumerate(reasons) if reason}  # fmt: skip
    assert bad_rows(done) == wanted
    assert set(world.reasons()) >= {"invalid_row", "not_successful", "unsafe_path", "missing_response_file",
                                    "undecodable_response", "duplicate_same_content", "unresolved_parent",
                                    "unresolved_target", ""}  # fmt: skip


def test_rows_and_refusals_add_up_and_so_do_the_counters(world: World, done: Path) -> None:
    summary = json.loads((done / "work/runs/R/documents/summary.json").read_text())
    reasons = world.reasons()
    assert summary["in"] == world.rows == summary["done"] + summary["refused"] and summary["skipped"] == 0
    assert summary["by_reason"] == {reason: count for reason, count in sorted(reasons.items()) if reason}
    assert summary["bad_rows"] == summary["refused"] == world.rows - reasons[""]
    assert summary["draft_ok"] == world.reasons(DRAFT)[""]
    assert summary["essay_unresolved_parent"] == reasons["unresolved_parent"]
    assert summary["eval_unresolved_target"] == reasons["unresolved_target"]
    lines = (done / "work/runs/R/documents/refused.jsonl").read_text().splitlines()
    assert len(lines) == summary["refused"]


def test_no_folder_of_what_was_needed_only_meanwhile_stays(done: Path) -> None:
    assert list((done / "work/runs/R/documents/live").iterdir()) == []


def test_the_same_run_again_adds_no_row_and_changes_no_byte(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(world.arguments(out)) == 0
    before = artifacts(out)
    assert "docs.manifest.json" in before
    assert main(world.arguments(out)) == 0
    assert artifacts(out) == before


def artifacts(out: Path) -> dict[str, Any]:
    """Return the state of every file but those that tell of processes, and what is remembered of the others."""
    return {name: state for name, state in tree(out).items()
            if Path(name).name not in OWN and "/live" not in name and "/digests" not in name}  # fmt: skip


def test_what_a_backfill_writes_below_what_it_reads_is_no_part_of_its_evidence(tmp_path: Path) -> None:
    data, linked = tmp_path / "data", tmp_path / "linked"
    data.mkdir()
    linked.symlink_to(data)
    Folder(data).write(draft=[draft("d"), draft("bad", generation_status="failed")])
    given = ["documents", f"--cross-root={data / 'cross'}", f"--gen-root={data / 'gen'}", f"--gen-root={data}",
             f"--docs-root={linked / 'docs'}", f"--db=sqlite:///{data / 'db/index.sqlite'}", "--run-id=r",
             f"--workspace={data / 'docs/work'}", "--quiet"]  # fmt: skip
    assert main(given) == 0
    before = artifacts(data)
    assert main(["manifest", "verify", str(data / "docs.manifest.json")]) == 0
    assert main(given) == 0
    assert artifacts(data) == before
    told = json.loads((data / "docs.manifest.json").read_text())["run_provenance"]
    assert told["outputs"]["documents"]["without"] == ["work"]
    assert told["inputs"]["gen_roots"][1]["files"] == 3  # the CSV and two responses


@pytest.mark.parametrize("more", [("--workers", "2"), ("--direct_runner_bundle_repeat=3",)])
def test_workers_and_bundles_that_run_again_make_no_difference(
    world: World, done: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    assert main(world.arguments(tmp_path, *more)) == 0
    assert outcome(tmp_path) == outcome(done)


def outcome(out: Path) -> dict[str, Any]:
    """Return the tree, the index and the bad list, without anything of time and place."""
    files = {
        path.relative_to(out).as_posix(): path.read_bytes() for path in (out / "docs").rglob("*") if path.is_file()
    }
    return {**files, "index": dump(out), "bad": (out / "bad.csv").read_bytes(),
            "summary": (out / "work/runs/R/documents/summary.json").read_text()}  # fmt: skip


def dump(out: Path) -> list[tuple[Any, ...]]:
    import sqlite3

    with sqlite3.connect(out / "db/index.sqlite") as connection:
        rows = connection.execute("SELECT * FROM documents ORDER BY doc_id").fetchall()
    connection.close()
    return rows


def test_a_document_is_its_row_and_its_folder(folder: Folder) -> None:
    folder.write(draft=[draft("d1")], link=[link("l1")], essay=[essay("e1")], evaluation=[evaluation("v1", essay="e1")])
    folder.response("links_prompts/l1.txt", b"the prompt\r\n")
    assert folder.run() == 0
    rows = folder.rows()
    logical = identify("draft", "c", "t", "m")
    key = "draft_generation_results.csv:d1:2025-01-01T00:00:00Z"
    row = rows["d1"]
    assert (row["logical_key_id"], row["doc_id"]) == (logical, identify(logical, "r", key))
    assert row["doc_dir"] == f"draft/{logical}/{row['doc_id']}"
    assert (row["stage"], row["status"], row["parser"], row["parent_doc_id"]) == ("draft", "ok", None, None)
    assert row["created_at"] == "2025-01-01T00:00:00.000000Z"
    raw = b"response d1.txt"
    assert row["content_hash"] == hashlib.sha256(raw).hexdigest()
    assert row["raw_chars"] == row["parsed_chars"] == len(raw)
    assert json.loads(row["meta_small"])["row_key"] == key
    files = {path.name: path.read_bytes() for path in (folder.docs / row["doc_dir"]).iterdir()}
    assert set(files) == {"raw.txt", "parsed.txt", "metadata.json"}
    assert files["raw.txt"] == files["parsed.txt"] == raw
    assert json.loads(files["metadata.json"])["doc_id"] == row["doc_id"]
    assert rows["l1"]["stage"] == "draft" and rows["l1"]["prompt_path"].endswith("/prompt.txt")
    assert (folder.docs / rows["l1"]["prompt_path"]).read_bytes() == b"the prompt\r\n"
    assert rows["e1"]["parent_doc_id"] == row["doc_id"]  # on a tie a draft before a link
    assert rows["v1"]["parent_doc_id"] == rows["e1"]["doc_id"]
    assert rows["v1"]["logical_key_id"] == identify("evaluation", rows["e1"]["doc_id"], "t", "judge")


TEXTS = [b"", b"a\r\nb\rc\n", b"\xef\xbb\xbfmark", "é\u2028\U0001f600".encode(), b"\0nul", b"x" * 300_000]


def test_texts_arrive_byte_for_byte_and_chars_are_code_points(folder: Folder) -> None:
    folder.write(draft=[draft(f"d{number}") for number in range(len(TEXTS))])
    for number, text in enumerate(TEXTS):
        folder.response(f"d{number}.txt", text)
    assert folder.run() == 0
    for number, text in enumerate(TEXTS):
        assert folder.raw(f"d{number}") == text
        assert folder.rows()[f"d{number}"]["raw_chars"] == len(text.decode())


def test_what_is_not_utf_8_is_refused_by_its_own_reason(folder: Folder) -> None:
    folder.write(draft=[draft("d1"), draft("d2")])
    folder.response("d1.txt", "é".encode("latin-1"))
    assert folder.run() == 0
    assert folder.reasons() == {"d1": "undecodable_response"}
    assert "at byte 0" in folder.bad()[0]["detail"]


def test_paths_that_leave_the_root_are_unsafe_and_no_file_is_missing(folder: Folder) -> None:
    names = {"up": "../secret.txt", "absolute": str(folder.root / "secret.txt"), "linked": "out.txt",
             "below": "way/secret.txt", "gone up": "../nothing.txt", "empty": "", "folder": "sub", "dot": ".",
             "gone": "nothing.txt", "long": "x" * 300, "circle": "circle", "below a file": "d.txt/x.txt",
             "fine": "sub/../d.txt", "inner": "inner.txt"}  # fmt: skip
    (folder.root / "gen" / "sub").mkdir(parents=True)
    (folder.root / "secret.txt").write_text("secret")
    (folder.root / "gen" / "out.txt").symlink_to(folder.root / "secret.txt")
    (folder.root / "gen" / "way").symlink_to(folder.root)
    (folder.root / "gen" / "circle").symlink_to("circle")
    (folder.root / "gen" / "inner.txt").symlink_to("e.txt")
    folder.response("d.txt", b"d")
    folder.response("e.txt", b"e")
    folder.write(draft=[draft(task, response_file=name) for task, name in names.items()])
    (folder.root / "gen" / "nothing.txt").unlink(missing_ok=True)
    assert folder.run() == 0
    unsafe = ("up", "absolute", "linked", "below", "gone up")
    fine = ("fine", "inner")
    wanted = {task: "unsafe_path" if task in unsafe else "missing_response_file" for task in names if task not in fine}
    assert folder.reasons() == wanted
    assert not [path for path in folder.docs.rglob("raw.txt") if b"secret" in path.read_bytes()]


def test_what_is_no_regular_file_is_missing_and_a_long_name_is_not_repeated_whole(folder: Folder) -> None:
    names = {"pipe": "pipe", "slash": "d.txt/", "long": "n/" * 2000 + "x", "up": "../" + "u" * 4000}
    folder.write(draft=[draft(task, response_file=name) for task, name in names.items()])
    folder.response("d.txt", b"d")
    os.mkfifo(folder.root / "gen" / "pipe")
    assert folder.run() == 0
    assert folder.reasons() == {**dict.fromkeys(names, "missing_response_file"), "up": "unsafe_path"}
    details = {line["task_id"]: line["detail"] for line in folder.bad()}
    assert details["pipe"] == "pipe is no regular file" and details["slash"] == "d.txt/ is not there"
    assert max(map(len, details.values())) < 1200 and "(4001 characters) is not there" in details["long"]


def test_the_first_root_that_has_the_file_wins(folder: Folder) -> None:
    folder.write(draft=[draft("d1"), draft("d2", response_file="two.txt"), draft("d3", response_file="three.txt")])
    (folder.root / "gen" / "two.txt").unlink()
    (folder.root / "gen" / "three.txt").unlink()
    other = folder.root / "evaluations"
    other.mkdir()
    (other / "d1.txt").write_text("not taken")
    (other / "two.txt").write_text("taken")
    assert folder.run(f"--gen-root={other}") == 0
    assert folder.raw("d1") == b"response d1.txt" and folder.raw("d2") == b"taken"
    assert folder.reasons() == {"d3": "missing_response_file"}


def test_a_prompt_that_would_leave_the_root_is_ignored(folder: Folder) -> None:
    folder.write(link=[link("../../secret", response_file="l.txt")])
    (folder.root / "secret.txt").write_text("secret")
    (folder.root / "gen" / "links_prompts").mkdir()
    assert folder.run() == 0
    assert folder.rows()["../../secret"]["prompt_path"] is None


def test_what_points_to_a_duplicate_is_not_orphaned(folder: Folder) -> None:
    folder.write(
        draft=[draft("first", combo="a"), draft("second", combo="b", time="2025-01-01T10:00:00")],
        essay=[essay("e", combo="b")],
        evaluation=[evaluation("v", generation="second")],
    )
    folder.response("first.txt", b"the same")
    folder.response("second.txt", b"the same")
    assert folder.run() == 0
    rows = folder.rows()
    assert folder.reasons() == {"second": "duplicate_same_content"}
    assert rows["first"]["doc_id"] in folder.bad()[0]["detail"]
    assert rows["e"]["parent_doc_id"] == rows["v"]["parent_doc_id"] == rows["first"]["doc_id"]


def test_essays_and_evaluations_are_never_duplicates(folder: Folder) -> None:
    rows = [evaluation("v1", generation="d"), evaluation("v2", generation="d")]
    folder.write(draft=[draft("d")], essay=[essay("e1"), essay("e2")], evaluation=rows)
    for name in ("d", "e1", "e2", "v1", "v2"):
        folder.response(f"{name}.txt", b"all the same")
    assert folder.run() == 0
    assert set(folder.rows()) == {"d", "e1", "e2", "v1", "v2"}


def test_an_essay_that_is_not_resolved_falls_to_the_draft(folder: Folder) -> None:
    folder.write(
        draft=[draft("d")],
        essay=[essay("lost", combo="of nobody")],
        evaluation=[evaluation("v1", essay="lost", generation="d"), evaluation("v2", essay="lost"),
                    evaluation("v3", essay="d"), evaluation("v4", generation="lost"), evaluation("v5")],
    )  # fmt: skip
    assert folder.run() == 0
    assert folder.rows()["v1"]["parent_doc_id"] == folder.rows()["d"]["doc_id"]
    assert folder.reasons() == {
        "lost": "unresolved_parent",
        **dict.fromkeys(("v2", "v3", "v4", "v5"), "unresolved_target"),
    }


def test_mixed_naive_and_aware_times_are_compared(folder: Folder) -> None:
    drafts = [draft("a", "2025-01-01T00:00:00"), draft("b", "2025-01-01T00:30:00+00:00"),
              draft("c", "2025-01-01T03:00:00+02:00")]  # fmt: skip
    folder.write(draft=drafts, essay=[essay("e", "2025-01-01T00:45:00Z"), essay("f", "2025-01-01T01:00:00")])
    assert folder.run() == 0
    rows = folder.rows()
    assert rows["e"]["parent_doc_id"] == rows["b"]["doc_id"]
    assert rows["f"]["parent_doc_id"] == rows["c"]["doc_id"]


def test_another_run_takes_all_again_and_points_to_its_own(folder: Folder) -> None:
    folder.write(draft=[draft("d")], essay=[essay("e")], evaluation=[evaluation("v", essay="e")])
    assert folder.run(run="one") == folder.run(run="two") == 0
    for run in ("one", "two"):
        rows = folder.rows(run)
        assert rows["v"]["parent_doc_id"] == rows["e"]["doc_id"] and rows["e"]["parent_doc_id"] == rows["d"]["doc_id"]
    assert folder.rows("one")["d"]["logical_key_id"] == folder.rows("two")["d"]["logical_key_id"]
    assert folder.rows("one")["d"]["doc_id"] != folder.rows("two")["d"]["doc_id"]


def test_a_row_inserted_above_changes_no_other_id(folder: Folder) -> None:
    rows = [draft("d1"), draft("d1"), draft("d2")]
    folder.write(draft=rows, essay=[essay("e")], evaluation=[evaluation("v", essay="e")])
    folder.response("d1.txt", b"once")
    assert folder.run() == 0
    before = {task: row["doc_id"] for task, row in folder.rows().items()}
    folder.write(draft=[draft("new", "2024-12-01T00:00:00Z"), *rows])
    assert folder.run() == 0
    after = {task: row["doc_id"] for task, row in folder.rows().items()}
    assert {task: after[task] for task in before} == before and len(after) == len(before) + 1


def test_the_second_row_of_a_key_has_an_id_of_its_own(folder: Folder) -> None:
    folder.write(draft=[draft("d", response_file="1.txt"), draft("d", response_file="2.txt"),
                        draft("d", generation_status="failed"), draft("d", response_file="4.txt")])  # fmt: skip
    assert folder.run() == 0
    main(["documents", "find", f"--db={folder.db}", "--task", "d", "--json"])
    keys = sorted(json.loads(path.read_text())["row_key"] for path in folder.docs.rglob("metadata.json"))
    stem = "draft_generation_results.csv:d:2025-01-01T00:00:00Z"
    assert keys == [stem, f"{stem}:2", f"{stem}:4"]  # the failed row counts


def test_a_collision_is_an_error_and_the_earlier_row_stays(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [draft("d1", combo="a|b", draft_template_id="c"), draft("d2", combo="a", draft_template_id="b|c")]
    folder.write(draft=rows, essay=[essay("e1", combo="a|b"), essay("e2", combo="a")])
    assert folder.run() == 1
    assert set(folder.rows()) == {"d1", "e1"}
    assert folder.reasons() == {"d2": "id_collision", "e2": "unresolved_parent"}
    assert "row 0 of draft_generation_results.csv" in folder.bad()[0]["detail"]
    assert folder.run() == 1 and set(folder.rows()) == {"d1", "e1"}


def test_a_collision_with_another_run_is_one_too(folder: Folder) -> None:
    folder.write(draft=[draft("d1", combo="a|b", draft_template_id="c")])
    assert folder.run(run="one") == 0
    folder.write(draft=[draft("d2", combo="a", draft_template_id="b|c")], essay=[essay("e", combo="a")])
    assert folder.run(run="two") == 1
    assert folder.rows("two") == {}
    assert folder.reasons() == {"d2": "id_collision", "e": "unresolved_parent"}


@pytest.mark.parametrize("small", ["x", "[1]", None])
def test_rows_of_another_writer_are_no_error_and_no_collision(
    folder: Folder, small: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write(draft=[draft("d")])
    assert folder.run(run="one") == 0
    folder.sql(
        "UPDATE documents SET doc_id = 'theirs', run_id = 'two', parent_doc_id = 'p', template_id = NULL, "
        "meta_small = ?", small,
    )  # fmt: skip
    assert folder.run(run="two") == folder.run(run="one") == 0
    assert folder.reasons() == {} and folder.rows("one")["d"]["template_id"] == "t"
    for more in ([], ["--json"]):
        assert main(["documents", "show", "theirs", f"--db={folder.db}", *more]) == 0
        assert (small or "meta_small") in capsys.readouterr().out


def test_indexes_of_the_table_that_a_kill_left_out_are_made_and_else_nothing_is_written(folder: Folder) -> None:
    index = Index(folder.db)
    index.create()
    names = folder.sql("SELECT name FROM sqlite_master WHERE name LIKE 'documents_%'")
    assert len(names) == 3
    for (name,) in names:
        folder.sql(f"DROP INDEX {name}")
        index.create()
        assert folder.sql("SELECT name FROM sqlite_master WHERE name = ?", name) == [(name,)]
    before = tree(folder.root)
    index.create()
    assert tree(folder.root) == before


def test_a_response_that_changed_is_content_changed_and_a_new_run_takes_it(folder: Folder) -> None:
    folder.write(draft=[draft("d")], essay=[essay("e")])
    assert folder.run() == 0
    before = folder.rows()
    folder.response("d.txt", b"another text")
    assert folder.run() == 0
    assert folder.reasons() == {"d": "content_changed"} and folder.rows() == before
    assert folder.raw("d") == b"response d.txt"
    assert folder.summary()["essay_ok"] == 1 and folder.summary()["done"] == 1
    assert folder.run(run="two") == 0
    assert folder.raw("d", "two") == b"another text"


@pytest.mark.parametrize("vanishes", [False, True])
def test_a_row_is_one_document_of_a_run_whatever_its_parent_becomes(folder: Folder, vanishes: bool) -> None:
    folder.write(
        draft=[draft("a", response_file="same.txt"), draft("b", combo="x")], evaluation=[evaluation("v", "", "b")]
    )
    folder.response("same.txt", b"the same")
    folder.response("b.txt", b"the same")
    assert folder.run() == 0
    before = folder.rows()
    assert before["v"]["parent_doc_id"] == before["a"]["doc_id"]
    folder.response("same.txt", b"another text")
    drafts = [draft("a", response_file="same.txt"), draft("b", combo="x")]
    folder.write(draft=drafts, evaluation=[evaluation("v", "", "b"), evaluation("new", "", "b")])
    if vanishes:
        (folder.root / "gen/same.txt").unlink()
    assert folder.run() == 0
    assert folder.reasons() == {"a": "missing_response_file" if vanishes else "content_changed", "v": "content_changed"}
    detail = folder.bad()[1]["detail"]
    assert f"document {before['v']['doc_id']} of this run came from this row" in detail and "a new --run-id" in detail
    after = folder.rows()
    assert {task: after[task] for task in before} == before
    assert all(line["parent_doc_id"] in {row["doc_id"] for row in after.values()} for line in after.values()
               if line["stage"] == "evaluation")  # fmt: skip
    assert folder.run() == 0 and folder.rows() == after


def test_nothing_points_to_a_document_that_was_refused_for_its_row(folder: Folder) -> None:
    folder.write(draft=[draft("a"), draft("b", "2025-01-01T01:00:00Z")], essay=[essay("e")],
                 evaluation=[evaluation("v", essay="e")])  # fmt: skip
    assert folder.run() == 0
    before = folder.rows()
    (folder.root / "gen/b.txt").unlink()
    folder.write(draft=[draft("a"), draft("b", "2025-01-01T01:00:00Z", response_file="gone")], essay=[essay("e")],
                 evaluation=[evaluation("v", essay="e"), evaluation("w", essay="e")])  # fmt: skip
    assert folder.run() == 0
    assert folder.rows() == before
    assert folder.reasons() == {"b": "missing_response_file", "e": "content_changed", "v": "unresolved_target",
                                "w": "unresolved_target"}  # fmt: skip


def test_a_folder_that_is_gone_is_made_again_and_the_row_is_left(folder: Folder) -> None:
    folder.write(draft=[draft("d")])
    assert folder.run() == 0
    before = tree(folder.docs), folder.rows()
    at = folder.docs / folder.rows()["d"]["doc_dir"]
    (at / "raw.txt").unlink()
    assert folder.run() == 0
    assert ({name: state[2] for name, state in tree(folder.docs).items()}, folder.rows()) == (
        {name: state[2] for name, state in before[0].items()}, before[1],
    )  # fmt: skip


def flipped(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


DAMAGES = {
    "a": lambda at: flipped(at / "raw.txt"), "b": lambda at: flipped(at / "parsed.txt"),
    "c": lambda at: (at / "parsed.txt").unlink(), "d": lambda at: (at / "metadata.json").unlink(),
    "e": lambda at: (at / "prompt.txt").unlink(), "f": lambda at: (at / "raw.txt").write_bytes(b""),
    "g": shutil.rmtree,
}  # fmt: skip


def test_a_document_that_is_damaged_is_made_again_as_it_was(folder: Folder) -> None:
    folder.write(link=[link(name) for name in (*DAMAGES, "whole")])
    for name in DAMAGES:
        folder.response(f"links_prompts/{name}.txt", b"the prompt")
    assert folder.run() == 0
    rows, before = folder.rows(), {name: state[2] for name, state in tree(folder.docs).items()}
    for name, damage in DAMAGES.items():
        damage(folder.docs / rows[name]["doc_dir"])
    flipped(folder.docs / rows["whole"]["doc_dir"] / "raw.txt")  # its row tells of no prompt, whatever is there now
    folder.response("links_prompts/whole.txt", b"a new prompt")
    (folder.root / "gen/links_prompts/a.txt").unlink()  # what the folder still has is kept
    assert folder.run() == 0
    assert {name: state[2] for name, state in tree(folder.docs).items()} == before and folder.rows() == rows
    assert main(["manifest", "verify", f"{folder.docs}.manifest.json"]) == 0


def test_documents_that_are_as_they_were_are_not_read_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_SETTLED_S", -1.0)
    folder.write(draft=[draft("d")])
    assert folder.run() == 0
    read, digest = [], trees.file_digest
    monkeypatch.setattr(trees, "file_digest", lambda path: read.append(path) or digest(path))
    assert folder.run() == 0
    assert [path for path in read if "/docs/" in path] == []
    flipped(folder.docs / folder.rows()["d"]["doc_dir"] / "raw.txt")
    assert folder.run() == 0 and folder.raw("d") == b"response d.txt"


def test_strict_writes_the_bad_list_and_the_record_of_the_run_alone(folder: Folder) -> None:
    folder.write(draft=[draft("d1"), draft("d2", generation_status="failed")], essay=[essay("e")])
    assert folder.run("--strict") == 3
    files = {path.relative_to(folder.root).as_posix() for path in folder.root.rglob("*") if path.is_file()}
    inputs = {name for name in files if name.startswith(("cross/", "gen/"))}
    assert files - inputs == {"bad.csv", "work/runs/r/run.json"}
    assert folder.reasons() == {"d2": "not_successful"}
    assert not folder.docs.exists()


def test_strict_lets_duplicates_pass(folder: Folder) -> None:
    folder.write(draft=[draft("d1", response_file="same.txt"), draft("d2", response_file="same.txt")])
    assert folder.run("--strict") == 0
    assert folder.reasons() == {"d2": "duplicate_same_content"} and set(folder.rows()) == {"d1"}


@pytest.mark.parametrize("before", [False, True])
def test_a_dry_run_writes_nothing_and_tells_the_same(
    folder: Folder, before: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write(draft=[draft("d")], essay=[essay("e"), essay("x", combo="of nobody")],
                 evaluation=[evaluation("v", essay="e")])  # fmt: skip
    if before:
        assert folder.run() == 0
        folder.write(draft=[draft("d"), draft("later")])
    there = tree(folder.root)
    capsys.readouterr()
    assert folder.run("--dry-run") == 0
    dry = capsys.readouterr().out.splitlines()
    assert tree(folder.root) == there
    assert dry.pop() == "dry run: nothing was written"
    assert folder.run() == 0
    assert [line for line in capsys.readouterr().out.splitlines() if not line.startswith("report:")] == dry
    assert "eval_unresolved_target            0" in "\n".join(dry)


def test_bad_rows_alone_give_0_and_3_only_above_their_share(folder: Folder) -> None:
    folder.write(draft=[draft("d1"), draft("d2", generation_status="failed")])
    assert folder.run() == 0
    assert folder.run("--max-refused", "0.4") == 3
    assert folder.run("--max-refused", "0.5") == 0


def test_a_missing_csv_counts_as_empty_and_an_unknown_folder_is_told(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write(draft=[draft("d")])
    (folder.root / "cross" / "essay_generation_results.csv").write_bytes(b"\xef\xbb\xbf")
    assert folder.run() == 0
    assert folder.summary()["in"] == 1
    for flag in ("--cross-root", "--gen-root"):
        roots = {"--cross-root": folder.root / "cross", "--gen-root": folder.root / "gen", flag: "nowhere"}
        assert main(["documents", "--run-id=r", *(f"{name}={root}" for name, root in roots.items())]) == 2
        assert "nowhere: there is no such folder" in capsys.readouterr().err


def test_a_mark_at_the_start_line_ends_and_quoted_lines_are_read(folder: Folder) -> None:
    folder.write(draft=[draft("d")])
    header = (
        "draft_task_id,combo_id,draft_template_id,generation_model,generation_status,generation_timestamp,response_file"
    )
    rows = '"a,b|c","c\r\nc",t,m,success,2025-01-01,d.txt\r\n\r\n"x ""y""",c,t,m,success,2025-01-02,e.txt'
    (folder.root / "cross" / DRAFT).write_bytes(f"\ufeff{header}\r\n{rows}".encode())
    folder.response("e.txt", b"e")
    assert folder.run() == 0
    assert set(folder.rows()) == {"a,b|c", 'x "y"'}
    assert json.loads(folder.rows()["a,b|c"]["meta_small"])["combo_id"] == "c\r\nc"


@pytest.mark.parametrize(
    ("encoding", "start"), [("utf-16", "ff fe: UTF-16?"), ("utf-16-be", "00 64: UTF-16?"), ("latin-1", "e9 64")]
)
def test_a_csv_that_is_not_utf_8_is_told(
    folder: Folder, encoding: str, start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write(draft=[draft("d")])
    path = folder.root / "cross" / DRAFT
    text = ("é" if encoding == "latin-1" else "") + path.read_text()
    path.write_bytes(text.encode(encoding))
    assert folder.run() == 2
    assert f"{DRAFT} is not UTF-8 (it begins with {start}): save it as UTF-8\n" in capsys.readouterr().err


def test_a_cell_that_is_not_utf_8_is_an_invalid_row_in_a_list_that_is(folder: Folder) -> None:
    folder.write(draft=[draft("d1"), draft("d2")])
    path = folder.root / "cross" / DRAFT
    path.write_bytes(path.read_bytes().replace(b"d1,", b"d\xff1,", 1))
    assert folder.run() == 0
    assert folder.reasons() == {"d\\udcff1": "invalid_row"} and set(folder.rows()) == {"d2"}


def test_the_bad_list_is_rewritten_in_reading_order(folder: Folder) -> None:
    folder.write(
        draft=[draft("b", generation_status="x"), draft("ok"), draft("a", response_file="")],
        link=[link("c", generation_timestamp="")], evaluation=[evaluation("v")],
    )  # fmt: skip
    assert folder.run() == 0
    first = (folder.root / "bad.csv").read_bytes()
    assert folder.run() == 0
    assert (folder.root / "bad.csv").read_bytes() == first
    assert [(line["source_csv"], line["row_index"], line["task_id"]) for line in folder.bad()] == [
        (DRAFT, "0", "b"), (DRAFT, "2", "a"), (LINK, "0", "c"), (EVALUATION, "0", "v")
    ]  # fmt: skip
    assert list(folder.bad()[0]) == ["source_csv", "reason", "row_index", "task_id", "combo_id", "template_id",
                                     "model_id", "response_file", "timestamp", "detail"]  # fmt: skip


WRONG = [
    (("--db=postgresql://u:secret@h/x",), "--db holds a password: leave it out, and give PGPASSWORD or ~/.pgpass"),
    (("--db=nonsense",), "--db is no SQLAlchemy URL"),
    (("--db=sqlite:///{root}/gen",), "is a folder; name the SQLite file"),
    (("--docs-root=s3://b/x",), "--docs-root s3://b/x: documents are read and written in local folders"),
    (("--docs-root={root}/bad.csv",), "is a file; name a folder"),
    (("--bad-list={root}/cross/essay_generation_results.csv",), "is one of the CSVs; name another file"),
    (("--db=sqlite:///:memory:",), "--db names no file: what SQLite holds in memory is gone at the end; name a file"),
    (("--db=sqlite://",), "--db names no file"),
    (("--db=mysql://u@h/x",), "--db: no driver for mysql: pip install mysqlclient"),
    (("--bad-list={root}/db/index.sqlite", "--db=sqlite:///{root}/db/index.sqlite"), "is the index of --db; name"),
    (("--bad-list={root}/gen/d.txt",), "/gen/d.txt is below --gen-root {root}/gen; name another file"),
    (("--bad-list={root}/gen/new.csv",), "/gen/new.csv is below --gen-root {root}/gen; name another file"),
    (("--bad-list={root}/docs/bad.csv", "--docs-root={root}/docs"), "is below --docs-root {root}/docs; name another"),
    (("--bad-list={root}/notes.txt",), "notes.txt is there, and is no bad list; name another file"),
    (("--bad-list=/dev/null",), "/dev/null is there, and is no bad list; name another file"),
    (("--strct",), "unknown option --strct; the nearest is --strict"),
]


@pytest.mark.parametrize(("more", "message"), WRONG)
def test_a_mistake_is_one_line_and_nothing_is_written(
    folder: Folder, more: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write(draft=[draft("d")])
    (folder.root / "bad.csv").write_text("")
    (folder.root / "notes.txt").write_text("mine")
    before = tree(folder.root)
    at = folder.root
    given = ["documents", "--run-id=r", f"--cross-root={at / 'cross'}", f"--gen-root={at / 'gen'}", "--quiet"]
    assert main([*given, *(word.format(root=at) for word in more)]) == 2
    said = capsys.readouterr().err
    assert message.format(root=at) in said and "secret" not in said and said.count("\n") == 1
    assert tree(folder.root) == before


def test_a_table_that_is_another_is_told(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    import sqlite3

    folder.write(draft=[draft("d")])
    with sqlite3.connect(folder.root / "x.sqlite") as connection:
        connection.execute("CREATE TABLE documents(doc_id TEXT, title TEXT)")
    connection.close()
    assert folder.run(db=f"sqlite:///{folder.root / 'x.sqlite'}") == 2
    assert "has no column logical_key_id (it has: doc_id, title)" in capsys.readouterr().err


def test_the_workspace_without_one_is_in_the_current_folder(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write(draft=[draft("d")])
    monkeypatch.chdir(folder.root)
    given = ["documents", "--cross-root=cross", "--gen-root=gen", "--docs-root=docs", "--db=sqlite:///x.sqlite",
             "--run-id=r", "--quiet"]  # fmt: skip
    assert main(given) == 0
    assert Path("resplice-work/runs/r/run.json").exists() and Path("cross/bad_generations.csv").exists()
    monkeypatch.setenv("RESPLICE_CORPUS_WORKSPACE", "elsewhere")
    assert main(given) == 0
    assert Path("elsewhere/runs/r/run.json").exists()


def test_postgresql_gets_the_rows_that_sqlite_gets(
    world: World, done: Path, tmp_path: Path, database: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    from postgres import ADMIN, PASSWORDS

    monkeypatch.setenv("PGPASSWORD", PASSWORDS[ADMIN])
    url = f"postgresql://{ADMIN}@127.0.0.1:{database.server.port}/{database.name}"
    given = [word for word in world.arguments(tmp_path) if not word.startswith("--db=")]
    for _ in range(2):
        assert main([*given, f"--db={url}"]) == 0
        rows = database.sql('SELECT * FROM documents ORDER BY doc_id COLLATE "C"')
        assert rows == dump(done)
    assert main(["documents-report", f"--db={url}", f"--docs-root={tmp_path / 'docs'}", f"--out={tmp_path / 'x'}"]) == 0
    assert WRITER and os.environ["PGPASSWORD"] not in (tmp_path / "work/runs/R/run.json").read_text()


JUDGE = [Path(__file__).parents[1] / "shared/data/judge", Path(__file__).parents[2] / "shared/data/judge",
         Path(__file__).parents[3] / "shared/data/judge"]  # fmt: skip


def test_judge_responses_arrive_byte_for_byte(folder: Folder) -> None:
    """Real evaluation responses where they stand beside the checkout, else a few that are made here."""
    there = next((path for path in JUDGE if path.is_dir()), None)
    texts = {path.stem: path.read_bytes() for path in sorted(there.glob("*.txt"))} if there else {"001": TEXTS[3]}
    tasks = {name: f"combo_001_{number % 5:02d}" for number, name in enumerate(texts)}
    folder.write(
        draft=[draft(task) for task in sorted(set(tasks.values()))],
        evaluation=[evaluation(name, generation=tasks[name]) for name in texts],
    )
    for name, text in texts.items():
        folder.response(f"{name}.txt", text)
    assert folder.run() == 0
    assert folder.bad() == []
    for name, text in texts.items():
        assert folder.raw(name) == text
        assert folder.rows()[name]["parent_doc_id"] == folder.rows()[tasks[name]]["doc_id"]
