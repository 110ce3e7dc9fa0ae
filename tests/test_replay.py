"""`manifest replay`: the command of a sidecar, and the artifact made once more."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from backfilling import Folder, draft, essay, evaluation
from clips import konvid, pair
from recovering import tree
from speaking import Shelf
from test_corpus_rows import log

from resplice.io import replaying, runs, sidecars
from resplice.io.context import Context
from resplice.pipelines.__main__ import main
from resplice.transforms import replay
from resplice.transforms.records import UserError

Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command as from a shell: sidecars take its words from there."""
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["resplice", *words])
        return main(list(words))

    return command


def logs(folder: Path) -> Path:
    folder.mkdir()
    (folder / "Foo_480x270_25fps_x.json").write_text(json.dumps(log()))
    return folder


BVI = ("corpus", "bvi-dvc", "--cache-dir", "logs", "--output", "out.jsonl", "--quiet")
SIDECAR = "out.jsonl.manifest.json"


def test_it_prints_the_command_for_a_shell(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs(tmp_path / "logs")
    assert run(*BVI, "--preset", "very slow") == 0
    before = tree(tmp_path)
    capsys.readouterr()
    assert run("manifest", "replay", SIDECAR) == 0
    line = f"cd {tmp_path} && resplice {' '.join(BVI)} --preset 'very slow'\n"
    assert capsys.readouterr().out == line and tree(tmp_path) == before


def test_rows_come_out_with_the_run_id_and_the_time_of_then(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs(tmp_path / "logs")
    assert run(*BVI) == 0
    before = tree(tmp_path)
    assert run("manifest", "replay", SIDECAR, "--run") == 0
    assert "makes the same bytes again" in capsys.readouterr().out
    assert tree(tmp_path) == before


def test_a_changed_input_is_4_and_the_artifact_stays(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = logs(tmp_path / "logs").iterdir()
    assert run(*BVI) == 0
    data = Path("out.jsonl").read_bytes()
    file.write_text(json.dumps(log(7)))
    assert run("manifest", "replay", SIDECAR, "--run") == 4
    said = capsys.readouterr().out
    assert "inputs.cache_dir" in said and "was not run again" in said
    assert Path("out.jsonl").read_bytes() == data


def test_what_comes_out_otherwise_is_named(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs(tmp_path / "logs")
    assert run(*BVI) == 0
    told = json.loads(Path(SIDECAR).read_text())
    told["run_provenance"]["argv"] += ["--crf", "20"]
    Path(SIDECAR).write_text(json.dumps(told))
    assert run("manifest", "replay", SIDECAR, "--run") == 4
    assert "outputs.jsonl: differs in key crf\n" in capsys.readouterr().out


def test_a_command_that_fails_or_hid_a_secret_is_told(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs(tmp_path / "logs")
    assert run(*BVI) == 0
    told = json.loads(Path(SIDECAR).read_text())
    words = told["run_provenance"]["argv"]
    for more, code, line in ((["--nonsense"], 1, "--nonsense"), (["--set", "store.secret=***"], 2, "had a secret")):
        told["run_provenance"]["argv"] = [*words, *more]
        Path(SIDECAR).write_text(json.dumps(told))
        assert run("manifest", "replay", SIDECAR, "--run") == code
        assert line in capsys.readouterr().err


def test_it_imports_nothing_of_the_folder_that_it_runs_in(run: Run, tmp_path: Path) -> None:
    logs(tmp_path / "logs")
    assert run(*BVI) == 0
    (tmp_path / "statistics.py").write_text("open('executed', 'w')\n")
    assert run("manifest", "replay", SIDECAR, "--run") == 0
    assert not (tmp_path / "executed").exists()


def test_a_folder_that_is_gone_is_2_and_names_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    logs(tmp_path / "logs")
    monkeypatch.chdir(home)
    words = ("--cache-dir", str(tmp_path / "logs"), "--output", str(tmp_path / "out.jsonl"))
    assert run("corpus", "bvi-dvc", *words, "--quiet", "--workspace", str(tmp_path / "w")) == 0
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(home)
    assert run("manifest", "replay", SIDECAR, "--run") == 2
    assert f"ran in {home}, and there is no such folder" in capsys.readouterr().err


def test_other_inputs_than_then_are_told_and_4(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs(tmp_path / "logs")
    shutil.copytree(tmp_path / "logs", tmp_path / "other")
    (tmp_path / "other" / "notes.txt").write_text("of no clip")
    assert run(*BVI) == 0
    told = json.loads(Path(SIDECAR).read_text())
    words = told["run_provenance"]["argv"]
    words[words.index("logs")] = "other"
    Path(SIDECAR).write_text(json.dumps(told))
    assert run("manifest", "replay", SIDECAR, "--run") == 4
    assert "inputs.cache_dir: differs in 1 files, the first notes.txt\n" in capsys.readouterr().out


def test_the_code_is_asked_for_when_the_process_begins_and_every_package_is_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs(tmp_path / "logs")
    began = runs.begin
    asked: list[int] = []

    def begin(context: Context) -> Context:
        asked.append(sidecars.code.cache_info().currsize)
        return began(context)

    sidecars.code.cache_clear()
    monkeypatch.setattr(runs, "begin", begin)
    assert run(*BVI) == 0
    packages = json.loads(Path(SIDECAR).read_text())["environment"]["packages"]
    assert asked == [1]
    assert {"apache-beam", "numpy", "cyclopts", "imageio-ffmpeg"} <= packages.keys() and "pytest" not in packages
    assert packages["numpy"] == np.__version__


def test_settings_of_the_environment_and_of_a_file_are_in_the_command(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logs(tmp_path / "logs")
    Path("resplice.toml").write_text('[plan]\nfailed_statuses = ["a b"]\n[run]\nretry = "failed"\n')
    monkeypatch.setenv("RESPLICE_MERGE_ON_MISSING", "keep")
    monkeypatch.setenv("RESPLICE_DATABASE_URL", "postgresql://me:SEKRIT@host/db")
    assert run(*BVI, "--set", "run.timeout_s=5") == 0
    text = Path(SIDECAR).read_text()
    settings = json.loads(text)["settings"]
    assert settings["merge.on_missing"] == {"value": "keep", "from": "environment"}
    assert settings["run.timeout_s"] == {"value": 5.0, "from": "flag"}
    assert "SEKRIT" not in text and "run.retry" not in settings
    capsys.readouterr()
    assert run("manifest", "replay", SIDECAR) == 0
    wanted = """--set 'merge.on_missing="keep"' --set 'plan.failed_statuses=["a b"]'"""
    assert capsys.readouterr().out.endswith(f"--set run.timeout_s=5 {wanted}\n")
    assert run("manifest", "replay", SIDECAR, "--run") == 0


def test_a_second_process_of_a_run_tells_its_own_beginning(run: Run, tmp_path: Path) -> None:
    logs(tmp_path / "logs")
    assert run(*BVI) == 0
    first = json.loads(Path(SIDECAR).read_text())
    Path("out.jsonl").unlink()
    assert run(*BVI) == 0
    second = json.loads(Path(SIDECAR).read_text())
    assert first["started_at"] == second["started_at"] == first["process_started_at"] < second["process_started_at"]


@pytest.mark.slow
def test_corpora_of_frames_come_out_the_same_without_the_cache(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    konvid(tmp_path / "k", "a", "b")
    pair(tmp_path / "n", size="320x240")
    assert run("corpus", "konvid-pairs", "--konvid-root", "k", "--out", "k.parquet", "--cache-dir", "c") == 0
    assert run("corpus", "full-features", "--data-root=n", "--out=n.parquet", "--run-id", "mine") == 0
    for entry in Path("c").iterdir():
        entry.write_text("{}")
    for out in ("k.parquet", "n.parquet"):
        assert run("manifest", "replay", f"{out}.manifest.json", "--run") == 0
    words = ("corpus", "full-features", "--data-root", "n", "--out", "n/dis/A.parquet", "--run-id", "first")
    for more, code in (((), 0), (("--max-pairs", "1"), 2)):
        assert run(*words, *more) == 0
        assert run("manifest", "replay", "n/dis/A.parquet.manifest.json", "--run") == code
    assert "where --max-pairs counts it" in capsys.readouterr().err


@pytest.mark.slow
def test_every_kind_of_artifact_of_the_demo_comes_out_byte_for_byte(
    run: Run, demo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(demo_folder, tmp_path / "runs/demo")
    common = ("--config", "runs/demo/resplice.toml", "--quiet")
    for stage in ("baseline", "plan", "repair", "validate", "merge", "verify"):
        assert run(stage, *common, "--run-id", "r") == 0
    assert run("export", *common, "--to", "out") == 0
    made = tmp_path / "runs/demo/workspace"
    shard = next(iter(sorted((made / "runs/r/validate/shards").glob("*.manifest.json"))))
    tar = next(iter(sorted((made / "runs/r/repair/transcribed").glob("*.manifest.json"))))
    plan, cover = (made / f"runs/r/{name}.parquet.manifest.json" for name in ("plan/affected", "verify/coverage"))
    published = made / "snapshots/00000001.json.manifest.json"
    changed = {path: path.stat().st_ctime_ns for path in made.rglob("*") if path.is_file()}
    for file in (plan, tar, shard, published, cover, tmp_path / "out.manifest.json"):
        capsys.readouterr()
        assert run("manifest", "replay", str(file), "--run") == 0, file
        assert "makes the same bytes again" in capsys.readouterr().out
    assert {path: path.stat().st_ctime_ns for path in made.rglob("*") if path.is_file()} == changed
    assert run("rollback", *common, "--to", "0") == 0
    assert run("manifest", "replay", str(made / "snapshots/00000002.json.manifest.json"), "--run") == 0
    assert run("recover", *common, "--run-id", "whole", "--yes") == 0
    assert run("manifest", "replay", str(made / "runs/whole/verify/coverage.parquet.manifest.json"), "--run") == 0


@pytest.mark.slow
def test_an_index_of_documents_comes_out_the_same(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Folder(tmp_path).write(draft=[draft("d")], essay=[essay("e")], evaluation=[evaluation("v", essay="e")])
    words = ("--cross-root", "cross", "--gen-root", "gen", "--docs-root", "docs", "--db", "sqlite:///index.sqlite")
    assert run("documents", *words, "--run-id", "R", "--quiet") == 0
    assert run("manifest", "verify", "docs.manifest.json") == 0
    assert run("manifest", "replay", "docs.manifest.json", "--run") == 0
    assert "same" in capsys.readouterr().out
    (changed,) = (path for path in Path("docs").rglob("raw.txt") if "essay" in str(path))
    changed.write_bytes(changed.read_bytes()[:-1] + b"~")
    assert run("manifest", "verify", "docs.manifest.json") == 4


@pytest.mark.slow
def test_the_audio_of_a_book_comes_out_the_same(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf.make(tmp_path / "shelf", {"book": 3})
    monkeypatch.chdir(shelf.folder)
    words = ("--pipeline-json", "pipeline.json", "--file-id", "book", "--engine", "kokoro", "--voice", "af_sarah")
    assert run("synthesize", *words, "--run-id", "b", "--quiet") == 0
    told = json.loads(Path("audio/book.manifest.json").read_text())
    outputs, inputs = told["run_provenance"]["outputs"], told["run_provenance"]["inputs"]
    assert len(outputs["chunks"]) == len(inputs["texts"]) == 3
    for file in ("audio/book.manifest.json", "audio/book/chunk_0002.wav.manifest.json"):
        assert run("manifest", "verify", file) == 0
        assert run("manifest", "replay", file, "--run") == 0
    assert run("synthesize", *words, "--run-id", "b2", "--quiet") == 0
    assert json.loads(Path("audio/book.manifest.json").read_text()) == told


@pytest.mark.parametrize("above", ["/d", "/runs", "/snapshots", "/runs/r", "/runs/r/snapshots", "/snapshots/runs/x"])
@pytest.mark.parametrize(
    "file", ["snapshots/00000001.json", "runs/{}/plan/affected.parquet", "runs/{}/repair/transcribed/a.tar"]
)
@pytest.mark.parametrize("run_id", ["r", "snapshots", "runs"])
def test_a_workspace_is_found_below_folders_of_any_name(above: str, file: str, run_id: str) -> None:
    assert replay.workspace(Path(above, "w", file.format(run_id)), run_id) == Path(above, "w")


def test_what_is_in_no_workspace_is_told() -> None:
    with pytest.raises(UserError, match="in no local workspace"):
        replay.workspace(Path("/runs/other/plan/affected.parquet"), "r")


def test_flags_are_sent_elsewhere_however_they_were_given() -> None:
    words = ["recover", "--run-id", "r", "--set", "corpus.workspace=w", "--set=a.b=c", "--out_dir=x", "--out-dir", "y"]
    found = replay.redirected([*words, "--", "--out-dir"], {"--out-dir": "new", "--run-id": None}, "scratch")
    assert found == [
        "recover",
        "--set",
        "a.b=c",
        "--out-dir=new",
        "--set",
        "corpus.workspace=scratch",
        "--",
        "--out-dir",
    ]


def test_a_sidecar_without_a_command_cannot_be_run() -> None:
    with pytest.raises(UserError, match="names no command"):
        replay.command({"run_provenance": {"argv": []}})


def test_in_what_two_artifacts_differ_is_told_by_their_kind(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name, score in (("a", 1.0), ("b", 2.0)):
        table = pa.table({"key": ["x"], "vmaf": [score]}).replace_schema_metadata({"run_id": name})
        pq.write_table(table, tmp_path / f"{name}.parquet")
        (tmp_path / f"{name}.json").write_text(json.dumps({"at": name, "score": score}))
        (tmp_path / f"{name}.bin").write_bytes(b"\xff" + name.encode())
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
    how = {
        kind: replaying.how(tmp_path / f"a{kind}", tmp_path / f"b{kind}") for kind in (".parquet", ".json", ".bin", "")
    }
    assert how[".parquet"] == ["column vmaf", "file metadata run_id"]
    assert how[".json"] == ["key score"]
    assert how[".bin"] == ["bytes (2 before, 2 now)"] and how[""] == ["1 files, the first f"]
    (tmp_path / "c.json").write_text(json.dumps({"at": "other", "score": 1.0}))
    assert replaying.how(tmp_path / "a.json", tmp_path / "c.json") == []


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('{"a": 35}', '{"a": 35.0}', ["key a"]),
        ('{"a": [false]}', '{"a": [0]}', ["key a"]),
        ('{"a": null}', "{}", ["key a"]),
        ("[1, 2]", "[1, 3]", ["bytes"]),
        ('{"a": 1}\n7\n', '{"a": 1}\n8\n', ["bytes"]),
        ('{"a": 1, "at": 2}', '{"at": 3,"a":1}', []),
    ],
)
def test_values_of_other_kinds_are_other_values(tmp_path: Path, before: str, after: str, told: list[str]) -> None:
    for name, text in (("a", before), ("b", after)):
        (tmp_path / name).write_text(text)
    assert replaying.how(tmp_path / "a", tmp_path / "b") == told


def test_embeddings_come_out_again_beside_those_of_before_and_a_flipped_byte_is_found(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        sound = np.random.default_rng(ord(name)).normal(0, 0.1, 8000)
        soundfile.write(tmp_path / name / f"{name}.wav", sound, 16000)
    (tmp_path / "list.txt").write_text("a\nnone.wav\n")
    assert run("embed", "--paths-file", "list.txt", "--out", "made", "--run-id", "R", "--quiet") == 0
    assert run("embed", "b", "--out", "made", "--run-id", "S", "--quiet") == 0
    written = ["000001-R", "000001-R.manifest.json", "000002-S", "000002-S.manifest.json"]
    assert sorted(path.name for path in (tmp_path / "made").iterdir() if path.suffix != ".claim") == written
    told = json.loads((tmp_path / "made/000001-R.manifest.json").read_text())
    assert told["refused_by_reason"] == {"missing": 1} and told["stats"] == {"paths": 1, "contents": 1}
    for sidecar in ("made/000001-R.manifest.json", "made/000002-S.manifest.json"):
        assert run("manifest", "verify", sidecar) == 0
        assert run("manifest", "replay", "--run", sidecar) == 0
        assert "makes the same bytes again" in capsys.readouterr().out
    assert run("export", "--embeddings", "made", "--to", "current") == 0
    assert run("manifest", "replay", "--run", "current.manifest.json") == 0
    assert "makes the same bytes again" in capsys.readouterr().out
    for path in (tmp_path / "a/a.wav", tmp_path / "list.txt", *(tmp_path / "made/000001-R").iterdir()):
        flip(path)
        assert run("manifest", "verify", "made/000001-R.manifest.json") == 4, path
        flip(path)
    before = (tmp_path / "made/000001-R.manifest.json").read_bytes()
    assert run("embed", "--paths-file", "list.txt", "--out", "made", "--run-id", "R", "--resume", "--quiet") == 3
    assert (tmp_path / "made/000001-R.manifest.json").read_bytes() == before


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_seeding_a_scratch_workspace_leaves_the_real_one_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "real" / "objects").mkdir(parents=True)
    real = tmp_path / "real" / "objects" / "o"
    real.write_text("x")
    before = real.stat()
    replaying.seed_runs(tmp_path / "real", tmp_path / "scratch", "R/embed")
    assert (tmp_path / "scratch" / "objects" / "o").read_text() == "x"
    assert (real.stat().st_ctime_ns, real.stat().st_nlink) == (before.st_ctime_ns, 1)
