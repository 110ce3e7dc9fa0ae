"""`corpus bvi-dvc`, from the outside."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from clips import sidecar
from recovering import tree
from test_corpus_rows import log

from resplice.io import remembered, trees
from resplice.io.store import Place
from resplice.pipelines.__main__ import main


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "logs"
    folder.mkdir()
    for number, name in enumerate(("Foo_Bar_1920x1080_59.94fps_10bit", "Baz_480x270_25fps_x")):
        (folder / f"{name}.json").write_text(json.dumps(log(3 + number)))
    return folder


def run(*more: str) -> int:
    return main(["corpus", "bvi-dvc", "--cache-dir", "logs", "--output", "out.jsonl", "--quiet", *more])


def rows(path: str = "out.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in Path(path).read_text("utf-8").splitlines()]


def bytes_of(*names: str) -> list[bytes]:
    return [Path(name).read_bytes() for name in names or ("out.jsonl", "out.jsonl.manifest.json")]


def test_every_log_is_a_row_by_name_and_the_sidecar_says_what_made_them(logs: Path) -> None:
    assert run("--run-id", "mine") == 0
    made = rows()
    assert [row["src"] for row in made] == ["bvi-dvc:Baz_480x270_25fps_x", "bvi-dvc:Foo_Bar_1920x1080_59.94fps_10bit"]
    assert {row["run_id"] for row in made} == {"mine"} and len({row["timestamp"] for row in made}) == 1
    told = sidecar(Path("out.jsonl"))
    assert told["schema"] == "bvi-dvc-corpus-jsonl-manifest-v1"
    assert {name: told["stats"][name] for name in ("cache_files", "rows")} == {"cache_files": 2, "rows": 2}
    assert told["started_at"] == made[0]["timestamp"] and told["run_id"] == "mine"
    assert (told["row_schema_version"], told["crf"], told["encoder"]) == (3, 35, "libx264")
    assert told["run_provenance"]["inputs"]["cache_dir"]["files"] == 2
    assert set(told["run_provenance"]["outputs"]) == {"jsonl"}
    assert Path("resplice-work/runs/mine/report.html").is_file()
    assert main(["manifest", "verify", "out.jsonl.manifest.json"]) == 0


def test_a_broken_log_is_refused_with_its_reason_and_the_others_go_on(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (logs / "Torn_10x10_25fps_x.json").write_text('{"frames": [')
    (logs / "None_10x10_25fps_x.json").write_text('{"frames": [], "pooled_metrics": {"vmaf": {"mean": 1}}}')
    (logs / "Foo_max_x.json").write_text(json.dumps(log()))
    (logs / "left.json.manifest.json").write_text("{}")
    (logs / "Gone_10x10_25fps_x.json").symlink_to("nowhere")
    assert run() == 0
    assert len(rows()) == 2
    refused = {line["unit"].partition("_")[0]: line["reason"] for line in sidecar(Path("out.jsonl"))["refused"]}
    assert refused == {"Torn": "unreadable", "None": "no_frames", "Foo": "bad_name", "Gone": "unreadable"}
    assert "Torn_10x10_25fps_x.json unreadable" in capsys.readouterr().out


def test_nothing_that_succeeds_is_3_and_nothing_that_is_there_is_an_empty_file(logs: Path) -> None:
    for path in logs.iterdir():
        path.write_text("{")
    assert run() == 3 and rows() == []
    for path in logs.iterdir():
        path.unlink()
    assert run() == 0 and rows() == [] and sidecar(Path("out.jsonl"))["refused"] == []


def test_an_unchanged_rerun_changes_no_byte_and_a_changed_log_makes_the_rows_anew(logs: Path) -> None:
    assert run() == 0
    before, at = bytes_of(), rows()[0]["timestamp"]
    assert run() == 0 and bytes_of() == before
    (logs / "Baz_480x270_25fps_x.json").write_text(json.dumps(log(9)))
    assert run() == 0
    assert rows()[0]["duration_s"] == 9 / 25 and rows()[0]["timestamp"] == at  # the run's
    assert main(["manifest", "verify", "out.jsonl.manifest.json"]) == 0


@pytest.mark.parametrize("lost", ["out.jsonl", "out.jsonl.manifest.json"])
def test_what_a_kill_left_unfinished_is_finished_with_the_same_bytes(logs: Path, lost: str) -> None:
    assert run() == 0
    artifact = bytes_of("out.jsonl")
    Path(lost).unlink()
    assert run() == 0 and bytes_of("out.jsonl") == artifact
    assert main(["manifest", "verify", "out.jsonl.manifest.json"]) == 0


def test_a_log_that_may_not_be_read_is_one_refusal(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = trees.file_digest

    def denied(path: str) -> str:
        if "Baz" in path:
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(trees, "file_digest", denied)
    assert run() == 0 and len(rows()) == 1
    told = sidecar(Path("out.jsonl"))
    assert [line["reason"] for line in told["refused"]] == ["unreadable"]
    assert told["run_provenance"]["inputs"]["cache_dir"]["without"] == ["Baz_480x270_25fps_x.json"]
    assert main(["manifest", "verify", "out.jsonl.manifest.json"]) == 0


def test_too_many_refused_is_3(logs: Path) -> None:
    (logs / "bad.json").write_text("{}")
    assert run("--max-refused", "0.5") == 0
    assert run("--max-refused", "0.2") == 3 and len(rows()) == 2


@pytest.mark.parametrize("content", [json.dumps(log()), '{"frames": [', '{"frames": []}'])
@pytest.mark.parametrize("alone", [True, False])
def test_a_dry_run_decides_as_the_run_and_writes_nothing(
    logs: Path, capsys: pytest.CaptureFixture[str], content: str, alone: bool
) -> None:
    if alone:
        for path in logs.iterdir():
            path.unlink()
    name = "bad.json" if "metrics" in content else "Torn_10x10_25fps_x.json"
    (logs / name).write_text(content)
    assert run("--dry-run") == (3 if alone else 0)
    assert sorted(path.name for path in logs.parent.iterdir()) == ["logs"]
    said = capsys.readouterr().out
    assert f"{0 if alone else 2} logs, 1 cannot be made" in said
    assert run() == (3 if alone else 0)
    (line,) = sidecar(Path("out.jsonl"))["refused"]
    assert f"  {name} {line['reason']}: {line['detail']}" in said


def test_a_dry_run_exits_as_the_run_where_too_much_is_refused(logs: Path) -> None:
    (logs / "bad.json").write_text("{}")
    assert run("--max-refused", "0.2", "--dry-run") == run("--max-refused", "0.2") == 3


def test_an_output_among_the_logs_is_none_of_them(logs: Path) -> None:
    made = ["corpus", "bvi-dvc", "--cache-dir", "logs", "--output", "logs/corpus.json", "--quiet"]
    for _ in range(2):
        assert main([*made, "--manifest-out", "logs/evidence.json"]) == 0
        told = json.loads(Path("logs/evidence.json").read_text())
        assert told["refused"] == [] and told["run_provenance"]["inputs"]["cache_dir"]["files"] == 2


def test_a_log_that_a_link_leads_to_is_not_overwritten(logs: Path) -> None:
    (logs / "Baz_480x270_25fps_x.json").rename("out.jsonl")
    (logs / "Baz_480x270_25fps_x.json").symlink_to("../out.jsonl")
    before = Path("out.jsonl").read_bytes()
    assert run() == 2 and Path("out.jsonl").read_bytes() == before


def test_a_link_as_output_stays_one_and_leads_to_the_rows(logs: Path) -> None:
    Path("out.jsonl").symlink_to("real.jsonl")
    assert run() == 0 and Path("out.jsonl").is_symlink() and len(rows("real.jsonl")) == 2
    before = bytes_of()
    assert run() == 0 and bytes_of() == before
    assert main(["manifest", "verify", "out.jsonl.manifest.json"]) == 0


def test_a_pipe_named_like_a_log_is_refused(logs: Path) -> None:
    os.mkfifo(logs / "Pipe_10x10_25fps_x.json")
    assert run() == 0
    (line,) = sidecar(Path("out.jsonl"))["refused"]
    assert (line["reason"], line["detail"]) == ("unreadable", "Pipe_10x10_25fps_x.json is no regular file")


def test_a_name_that_is_not_utf_8_costs_its_log_and_is_remembered(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_SETTLED_S", -1.0)
    Path(os.fsdecode(os.fsencode(logs) + b"/nu\xff_64x64_25fps_a.json")).write_text("{}")
    for _ in range(2):
        assert run() == 0 and len(rows()) == 2
        (line,) = sidecar(Path("out.jsonl"))["refused"]
        assert (line["unit"], line["reason"]) == ("nu\\xff_64x64_25fps_a.json", "bad_name")


def test_a_run_without_a_name_is_that_of_its_settings(logs: Path) -> None:
    names = []
    for crf in ("35", "20", "35"):
        assert run("--crf", crf) == 0
        names.append((rows()[0]["run_id"], rows()[0]["timestamp"]))
    assert names[0] == names[2] and names[0][0] != names[1][0] and names[0][1] < names[1][1]


def test_a_sidecar_tells_what_is_among_the_inputs_now_and_the_rows_keep_their_bytes(logs: Path) -> None:
    assert run() == 0
    before = bytes_of("out.jsonl")
    (logs / "README.txt").write_text("of no clip")
    assert main(["manifest", "verify", "out.jsonl.manifest.json"]) == 4
    first = sidecar(Path("out.jsonl"))
    assert run("--dry-run") == 0 and sidecar(Path("out.jsonl")) == first
    assert run() == 0 and bytes_of("out.jsonl") == before
    assert main(["manifest", "verify", "out.jsonl.manifest.json"]) == 0
    told = sidecar(Path("out.jsonl"))
    assert told["stats"] == first["stats"] and told.keys() == first.keys()
    files = bytes_of()
    assert run() == 0 and bytes_of() == files


def test_a_folder_that_was_moved_or_copied_is_gone_on_with(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--run-id", "mine") == 0
    for place in (copied := logs.parent / "copied", logs.parent / "moved"):
        shutil.copytree("logs", place / "logs")
        shutil.copytree("resplice-work", place / "resplice-work")
        for name in ("out.jsonl", "out.jsonl.manifest.json"):
            shutil.copy(name, place / name)
    before = bytes_of("out.jsonl")
    monkeypatch.chdir(copied)
    assert run("--run-id", "mine") == 0
    monkeypatch.chdir(logs.parent / "moved")
    for name in ("out.jsonl", "out.jsonl.manifest.json"):
        (logs.parent / name).unlink()
    Path("out.jsonl.manifest.json").rename("evidence.json")
    assert run("--run-id", "mine", "--manifest-out", "evidence.json") == 0
    for file in ("evidence.json", "../copied/out.jsonl.manifest.json"):
        assert main(["manifest", "verify", file]) == 0
    assert bytes_of("out.jsonl", "../copied/out.jsonl") == before * 2


@pytest.mark.parametrize("text", ["", "\0" * 20, '{\n  "code": {'])
def test_a_torn_sidecar_is_written_again(logs: Path, text: str) -> None:
    assert run() == 0
    Path("out.jsonl.manifest.json").write_text(text)
    assert run() == 0 and main(["manifest", "verify", "out.jsonl.manifest.json"]) == 0


def test_what_is_not_the_sidecar_of_this_output_stays(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    evidence = Path("out.jsonl.manifest.json").read_bytes()
    for name in ("2.jsonl.manifest.json", "book.json"):
        Path(name).write_bytes(evidence)
    Path("3.jsonl.manifest.json").write_text('{"mine": NaN}')
    Path("4.jsonl.manifest.json").write_text("a note")
    told = json.loads(evidence)
    told["run_provenance"]["outputs"] = {"chunks": list(told["run_provenance"]["outputs"].values())}
    Path("5.jsonl.manifest.json").write_text(json.dumps(told))  # such as that of a book has
    before = tree(logs.parent)
    of_another, no_sidecar = f"is the sidecar of {logs.parent}/out.jsonl", "is there and is no sidecar"
    for words, why in (
        (["2.jsonl"], of_another),
        (["3.jsonl"], no_sidecar),
        (["4.jsonl"], no_sidecar),
        (["5.jsonl"], of_another),
        (["6.jsonl", "--manifest-out", "book.json"], of_another),
        (["6.jsonl", "--manifest-out", "out.jsonl.manifest.json"], of_another),
    ):
        assert main(["corpus", "bvi-dvc", "--cache-dir", "logs", "--quiet", "--output", *words]) == 2
        said = capsys.readouterr().err
        assert why in said and words[-1] in said
    assert tree(logs.parent) == before


def test_a_sidecar_with_a_list_of_outputs_tells_of_its_artifact(logs: Path) -> None:
    assert run() == 0
    told = sidecar(Path("out.jsonl"))
    told["run_provenance"]["outputs"] = {"all": list(told["run_provenance"]["outputs"].values())}
    del told["refused"]
    Path("out.jsonl.manifest.json").write_text(json.dumps(told))
    assert run() == 0 and sidecar(Path("out.jsonl"))["refused"] == []
    assert run("--manifest-out", "evidence.json") == 0 and not Path("out.jsonl.manifest.json").exists()


def test_a_sidecar_that_moves_leaves_none_behind(logs: Path) -> None:
    assert run() == 0
    (logs / "Baz_480x270_25fps_x.json").write_text(json.dumps(log(9)))
    assert run("--manifest-out", "evidence.json") == 0
    assert not Path("out.jsonl.manifest.json").exists()
    assert main(["manifest", "verify", "evidence.json"]) == 0


def test_the_sidecar_can_be_elsewhere_and_the_output_among_the_logs(logs: Path) -> None:
    made = ["corpus", "bvi-dvc", "--cache-dir", "logs", "--output", "logs/out.jsonl", "--quiet"]
    assert main([*made, "--manifest-out", "evidence/x.json"]) == 0
    assert main(["manifest", "verify", "evidence/x.json"]) == 0
    assert main(made) == 0 and main(["manifest", "verify", "logs/out.jsonl.manifest.json"]) == 0
    (logs / "new.txt").write_text("")
    assert main(["manifest", "verify", "logs/out.jsonl.manifest.json"]) == 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--cache-dir", "nowhere", "--output", "o"], "nowhere: there is no such folder"),
        (["--cache-dir", "logs/Baz_480x270_25fps_x.json", "--output", "o"], "there is no such folder"),
        (["--cache-dir", "logs", "--output", "logs"], "logs is a folder; name a file"),
        (["--cache-dir", "logs", "--output", "s3://b/o"], "written to local files"),
        (["--cache-dir", "logs", "--output", "o", "--manifest-out", "o"], "is the output itself"),
        (["--cache-dir", "logs", "--output", "o", "--workspace", "logs"], "name another --workspace"),
        (["--cache-dir", "logs", "--output", "pipe"], "pipe is no regular file"),
        (["--cache-dir", "logs", "--output", "o", "--manifest-out", "pipe"], "is no regular file"),
        (["--cache-dir", "logs", "--output", "logs/Baz_480x270_25fps_x.json"], "is called like a file that is read"),
        (["--cache-dir", "logs", "--output", "logs/New_480x270_25fps_x.json"], "is called like a file that is read"),
        (["--cache-dir", "logs", "--output", "o", "--manifest-out", "logs/Baz_480x270_25fps_x.json"], "no sidecar"),
        (["--cache-dir", "logs", "--output", "\udcff"], "--output "),
        (["--cache-dir", "logs", "--output", "\udcff"], "\\xff: the name is not UTF-8"),
        (["--cache-dir", "\udcff", "--output", "o"], "the name is not UTF-8"),
        (["--cache-dir", "logs", "--output", "o", "--encoder", "api_key=SEKRIT3"], "--encoder holds what looks like"),
        (["--cache-dir", "logs", "--output", "o", "--vmaf-model", "https://u:SEKRIT3@h/m.json"], "--vmaf-model holds"),
        (["--cache-dir", "logs", "--output", "o", "--vmaf-model", "https://h/m?token=SEKRIT3"], "--vmaf-model holds"),
        (["--cache-dir", "logs"], "--output is missing"),
        (["--cache-dir", "logs", "--output", "o", "--crf", "x"], "crf"),
        (["--cache-dir", "logs", "--output", "o", "--preste", "fast"], "--preset"),
    ],
)
def test_what_cannot_be_meant_is_2_and_writes_nothing(
    logs: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    os.mkfifo("pipe")
    before = {path: path.read_bytes() for path in logs.glob("*.json")}
    assert main(["corpus", "bvi-dvc", *words]) == 2
    said = capsys.readouterr().err
    assert told in said and "SEKRIT3" not in said and not Path("o").exists()
    assert before == {path: path.read_bytes() for path in logs.glob("*.json")} and Path("pipe").is_fifo()


def test_a_folder_is_hashed_once_and_what_changed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_SETTLED_S", -1.0)
    folder, place = tmp_path / "folder", Place(str(tmp_path / "work"))
    for number in range(20):
        (folder / "deep").mkdir(parents=True, exist_ok=True)
        (folder / "deep" / f"{number}.txt").write_text(str(number))
    told = []
    for _ in range(2):
        memory = remembered.Memory(place, "x")
        told.append((memory, trees.described_folder(folder, memory)))
        memory.keep()
    assert told[0][1] == told[1][1] == trees.described_folder(folder)
    assert (told[0][0].hashed, told[1][0].hashed) == (20, 0)
    stat = (folder / "deep/3.txt").stat()
    (folder / "deep/3.txt").write_text("x")
    os.utime(folder / "deep/3.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same size and time, another ctime
    memory = remembered.Memory(place, "x")
    assert trees.described_folder(folder, memory)["tree_sha256"] != told[0][1]["tree_sha256"]
    assert memory.hashed == 1


def test_a_tree_is_that_of_its_files_sorted_by_bytes_whatever_their_names_are(tmp_path: Path) -> None:
    names = [b"a/b", b"a.b", b"a0", b"a/b.c/d", b"a/b-", b"\xff/x", b"\xc3\xa9", b"Z", b"a /z", b"b/a/a", b"b/a.a"]
    for name in names:
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/f/" + name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name)
    lines = [b"%s\t%d\t%s\n" % (n, len(n), hashlib.sha256(n).hexdigest().encode()) for n in sorted(names)]
    for memory in (None, remembered.Memory(Place(str(tmp_path / "work")), "x")):
        told = trees.described_folder(tmp_path / "f", memory)
        assert told["tree_sha256"] == hashlib.sha256(b"".join(lines)).hexdigest() and told["files"] == len(names)


def test_a_memory_knows_what_is_in_it_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_SETTLED_S", -1.0)
    place, files = Place(str(tmp_path / "work")), [tmp_path / os.fsdecode(b"%d\xff" % number) for number in range(300)]
    for file in files:
        file.write_text(file.name, errors="surrogateescape")
    memory = remembered.Memory(place, "x")
    first = [memory.file(str(file))[0] for file in files[::2]]
    memory.keep()
    again = remembered.Memory(place, "x")
    assert [again.file(str(file))[0] for file in files[::2]] == first and again.hashed == 0
    for file in files[1::2]:
        assert again.file(str(file))[0] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert again.hashed == len(files[1::2])
    again.keep()
    third = remembered.Memory(place, "x")
    assert all(third.file(str(file)) for file in files) and third.hashed == 0


def test_threads_that_ask_at_once_share_what_is_remembered(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "work"))
    one, another = remembered.known(place, "x"), remembered.known(place, "y")
    assert one is remembered.known(place, "x") and one is not another
    del one
    gc.collect()
    assert len(remembered._ASKED) == 1


def test_what_changed_a_moment_ago_is_not_remembered_and_a_torn_memory_is_none(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f/a").write_text("a")
    place = Place(str(tmp_path / "work"))
    memory = remembered.Memory(place, "x")
    trees.described_folder(tmp_path / "f", memory)
    memory.keep()
    again = remembered.Memory(place, "x")
    trees.described_folder(tmp_path / "f", again)
    assert again.hashed == 1
    (tmp_path / "work/digests").mkdir(parents=True, exist_ok=True)
    (tmp_path / "work" / again.key).write_bytes(b"x" * 100)
    torn = remembered.Memory(place, "x")
    assert trees.described_folder(tmp_path / "f", torn) == trees.described_folder(tmp_path / "f")


def test_a_tree_is_as_the_format_says(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "ä.txt").write_bytes(b"1")
    (tmp_path / "a.txt").write_bytes(b"22")
    (tmp_path / "b.txt").write_bytes(b"")
    (tmp_path / "circle").symlink_to("circle")
    lines = [("a.txt", b"22"), ("b.txt", b""), ("b/ä.txt", b"1")]
    text = "".join(f"{name}\t{len(data)}\t{hashlib.sha256(data).hexdigest()}\n" for name, data in lines)
    told = trees.described_folder(tmp_path)
    assert told["tree_sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert (told["files"], told["bytes"], told["kind"]) == (3, 3, "directory")
