"""`manifest verify`: every byte that a sidecar names is hashed again, and every difference is told."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resplice.io import sidecars
from resplice.io.store import Place
from resplice.pipelines.__main__ import main


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two inputs, one that is not there, an output and a folder, and the sidecar of the output."""
    monkeypatch.chdir(tmp_path)
    for name in ("in one.bin", "in2.bin", "out.bin", "code.py", "folder/a.txt", "folder/deep/b.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode() * 100)
    place = Place(str(tmp_path))
    provenance = {
        "entrypoint": {**sidecars.described(place, "code.py")},
        "inputs": {
            "raw": sidecars.described(place, "in one.bin"),
            "listed": [sidecars.described(place, "in2.bin"), {"deep": sidecars.described(place, "never.bin")}],
            "value": 7,
        },
        "outputs": {"tar": sidecars.described(place, "out.bin"), "all": sidecars.described_folder(tmp_path / "folder")},
    }
    write(tmp_path, {"schema": "x", "run_provenance": provenance})
    return tmp_path


def write(root: Path, value: Any) -> None:
    (root / "out.bin.manifest.json").write_text(json.dumps(value))


def verify() -> int:
    return main(["manifest", "verify", "out.bin.manifest.json"])


def test_all_as_it_says_is_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify() == 0
    said = capsys.readouterr()
    assert said.out == "out.bin.manifest.json: all 5 files and folders that it names are as it says\n"
    assert said.err == ""


def flip(root: Path) -> None:
    """Change a byte and restore what stat tells of it: only the bytes can show it."""
    file = root / "out.bin"
    stat = file.stat()
    file.write_bytes(b"X" + file.read_bytes()[1:])
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def append(root: Path) -> None:
    with (root / "in one.bin").open("ab") as file:
        file.write(b"!")


def remove(root: Path) -> None:
    (root / "in2.bin").unlink()


def appear(root: Path) -> None:
    (root / "never.bin").write_bytes(b"now")


def become_folder(root: Path) -> None:
    (root / "out.bin").unlink()
    (root / "out.bin").mkdir()


def add_to_folder(root: Path) -> None:
    (root / "folder" / "c.txt").write_bytes(b"")


def rename_in_folder(root: Path) -> None:
    (root / "folder" / "a.txt").rename(root / "folder" / "z.txt")


def change_in_folder(root: Path) -> None:
    (root / "folder" / "deep" / "b.txt").write_bytes(b"y" * (root / "folder" / "deep" / "b.txt").stat().st_size)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (flip, [("outputs.tar", "sha256")]),
        (append, [("inputs.raw", "bytes"), ("inputs.raw", "sha256")]),
        (remove, [("inputs.listed[0]", "exists")]),
        (appear, [("inputs.listed[1].deep", "exists")]),
        (become_folder, [("outputs.tar", "kind")]),
        (add_to_folder, [("outputs.all", "files"), ("outputs.all", "tree_sha256")]),
        (rename_in_folder, [("outputs.all", "tree_sha256")]),
        (change_in_folder, [("outputs.all", "tree_sha256")]),
    ],
)
def test_a_difference_is_told_by_place_field_and_both_values(
    root: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], told: list[tuple[str, str]]
) -> None:
    damage(root)
    assert verify() == 4
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(told)
    for line, (name, field) in zip(lines, told, strict=True):
        assert line.startswith(f"{name} {root}/")
        assert f": {field}: the sidecar says " in line and ", found " in line


def test_all_differences_are_told_at_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(root)
    remove(root)
    change_in_folder(root)
    assert verify() == 4
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_another_code_is_a_note_and_no_difference(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "code.py").write_text("upgraded")
    assert verify() == 0
    said = capsys.readouterr()
    assert "all 5 files" in said.out
    assert "entrypoint" in said.err and "other code" in said.err
    assert main(["manifest", "verify", "out.bin.manifest.json", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "[" * 100_000,
        '{"schema": "x"}',
        '{"run_provenance": 3}',
        '{"run_provenance": {"inputs": {}}}',
        '{"run_provenance": {"inputs": {}, "outputs": []}}',
        '{"run_provenance": {"inputs": {"a": {"path": "a", "exists": true, "without": 5}}, "outputs": {}}}',
        '{"run_provenance": {"inputs": {"a": {"path": "a", "exists": true, "sha256": 5}}, "outputs": {}}}',
        '{"run_provenance": {"inputs": {}, "outputs": {}, "argv": 5}}',
        '{"run_provenance": {"inputs": {}, "outputs": {}}, "environment": 5}',
        '{"run_provenance": {"inputs": {}, "outputs": {}}, "started_at": "noon"}',
        '{"run_provenance": {"inputs": {}, "outputs": {}}, "elapsed_s": NaN}',
        '{"run_provenance": {"inputs": {}, "outputs": {}}, "started_at": "2026-01-01T00:00:00Z", "elapsed_s": 1e300}',
        '{"run_provenance": {"inputs": {"a": {"path": "\\ud800", "exists": true}}, "outputs": {}}}',
        '{"run_provenance": {"inputs": {}, "outputs": {}}, "refused": [7]}',
        '{"run_provenance": {"inputs": {}, "outputs": {}}, "refused": [{"unit": []}]}',
        '{"run_provenance": {"inputs": {}, "outputs": {}}, "failed_extractors": null}',
        '{"run_provenance": {"inputs": {}, "outputs": {}}, "features_unavailable": [{}]}',
    ],
)
def test_what_is_no_sidecar_is_usage(root: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (root / "out.bin.manifest.json").write_text(text)
    assert verify() == 2
    said = capsys.readouterr()
    assert said.out == "" and "no sidecar" in said.err and "Traceback" not in said.err


def test_bytes_that_are_no_text_and_a_missing_file_are_usage(root: Path) -> None:
    (root / "out.bin.manifest.json").write_bytes(b"\xff\xfe\x00")
    assert verify() == 2
    assert main(["manifest", "verify", "nowhere.manifest.json"]) == 2
    assert main(["manifest", "verify", "."]) == 2


def test_a_workspace_may_be_named(root: Path) -> None:
    assert main(["manifest", "verify", "out.bin.manifest.json", "--workspace", "w"]) == 0
    assert not (root / "w").exists()


def test_it_writes_nothing(root: Path) -> None:
    before = sidecars.described_folder(root)
    assert verify() == 0
    assert sidecars.described_folder(root) == before


def test_a_tree_holds_what_is_behind_links_to_folders_and_goes_round_no_circle(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "real" / "deep" / "f").write_bytes(b"1")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "real" / "self").symlink_to("self")
    before = sidecars.described_folder(tmp_path / "in")
    assert (before["files"], before["bytes"]) == (1, 1)
    (tmp_path / "real" / "deep" / "f").write_bytes(b"2")
    assert sidecars.described_folder(tmp_path / "in")["tree_sha256"] != before["tree_sha256"]


def test_files_named_like_temporary_ones_belong_to_what_resplice_does_not_write(tmp_path: Path) -> None:
    (tmp_path / ".resplice-tmp-x").write_bytes(b"1")
    assert sidecars.described_folder(tmp_path)["files"] == 1
    assert sidecars.described_folder(tmp_path, ours=True)["files"] == 0


@pytest.mark.parametrize(
    ("outputs", "more"),
    [
        ({"a": "b"}, {"schema": "x"}),
        ({"a": {"path": "a", "exists": True, "kind": "file"}}, {"schema": "x"}),
        ({"a": {"path": "a", "exists": True, "kind": "file", "sha256": "0"}}, {}),
    ],
)
@pytest.mark.parametrize("words", [("export",), ("replay", "--run")])
def test_a_sidecar_that_tells_too_little_is_usage(
    root: Path, capsys: pytest.CaptureFixture[str], outputs: Any, more: Any, words: tuple[str, ...]
) -> None:
    run = {"inputs": {}, "outputs": outputs, "argv": ["corpus", "bvi-dvc"]}
    write(root, {**more, "run_provenance": run})
    # what is named is not there as it says, so that replay does not come to run it
    wanted = 4 if words[0] == "replay" and outputs["a"] != "b" else 2
    assert main(["manifest", words[0], "out.bin.manifest.json", *words[1:]]) == wanted
    assert "Traceback" not in capsys.readouterr().err


def test_what_is_no_sidecar_of_files_is_none_to_a_job(root: Path) -> None:
    assert sidecars.read(root / "out.bin.manifest.json")
    for outputs in ({"a": "b"}, {"a": {"path": "a", "exists": 1}}):
        write(root, {"run_provenance": {"inputs": {}, "outputs": outputs}})
        assert sidecars.read(root / "out.bin.manifest.json") is None
