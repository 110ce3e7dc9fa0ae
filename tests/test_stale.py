import json
from pathlib import Path
from typing import Any

import pytest

from resplice.pipelines.__main__ import main

LIBRARY = ("--library", "meta.json")


@pytest.fixture(autouse=True)
def music(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library in the current folder: of two files that are there, one of them outside of music, and of three not."""
    monkeypatch.chdir(tmp_path)
    for name in ("music/a.wav", "elsewhere/b.wav"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    there, gone = [f"{tmp_path}/music/a.wav", f"{tmp_path}/elsewhere/b.wav"], ["C:\\Old\\c.mp3", "/x/d.wav", "/y/e.wav"]
    (tmp_path / "meta.json").write_text(json.dumps({"tracks": {key: {"title": key} for key in [*there, *gone]}}))
    return tmp_path


def library() -> dict[str, Any]:
    return json.loads(Path("meta.json").read_bytes())  # type: ignore[no-any-return]


def stale(*flags: str) -> int:
    return main(["stale", "--music-root", "music", *LIBRARY, *flags])


@pytest.mark.parametrize("flags", [(), ("--apply",), ("--policy", "archive"), ("--policy", "prune", "--dry-run")])
def test_nothing_is_written_by_keep_or_without_apply(
    music: Path, flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("meta.json").read_bytes(), sorted(music.rglob("*"))
    assert stale(*flags) == 0
    said = capsys.readouterr().out
    assert "3 of 5 entries" in said and "C:/Old/c.mp3" in said and "nothing was written" in said
    assert (Path("meta.json").read_bytes(), sorted(music.rglob("*"))) == before


@pytest.mark.parametrize("policy", ["archive", "prune"])
def test_entries_of_files_that_are_gone_are_taken_out_and_can_be_put_back(music: Path, policy: str) -> None:
    before = library()
    gone = ["C:\\Old\\c.mp3", "/x/d.wav", "/y/e.wav"]
    assert stale("--policy", policy, "--outside", "--apply") == 0
    after = library()
    assert list(after["tracks"]) == [f"{music}/elsewhere/b.wav", f"{music}/music/a.wav"]
    assert sorted(after.get("archived_tracks", {})) == (sorted(gone) if policy == "archive" else [])
    (undo,) = music.glob("meta.json.undo-*Z.json")
    assert json.loads(undo.read_bytes())["tracks"] == {key: before["tracks"][key] for key in gone}
    again = {**after["tracks"], "/x/d.wav": {"title": "new"}}
    Path("meta.json").write_text(json.dumps({**after, "tracks": again}))
    assert main(["stale", *LIBRARY, "--undo", str(undo)]) == 0
    assert library()["tracks"] == again
    assert main(["stale", *LIBRARY, "--undo", str(undo), "--apply"]) == 0
    assert library() == {"tracks": {**before["tracks"], "/x/d.wav": {"title": "new"}}}


def test_what_is_excluded_is_left_alone(music: Path) -> None:
    (music / "exclude.txt").write_text("/x\nC:/Old/\n")
    assert stale("--policy", "prune", "--outside", "--apply", "--exclude-file", "exclude.txt") == 0
    assert library()["tracks"].keys() == {
        f"{music}/elsewhere/b.wav", f"{music}/music/a.wav", "C:\\Old\\c.mp3", "/x/d.wav"
    }  # fmt: skip


def test_what_is_outside_of_the_folders_is_told_and_left(music: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = library()["tracks"]
    inside = [f"{music}/music/gone.wav", f"{music}//music/sub/gone.wav/", "music/relative.wav"]
    beside = [f"{music}/music.wav", f"{music}/music 2/gone.wav", f"{music}/music/../gone.wav", "/mnt/usb/b.flac"]
    Path("meta.json").write_text(json.dumps({"tracks": {**before, **{key: {} for key in (*inside, *beside)}}}))
    assert stale("--policy", "prune", "--apply") == 0
    said = capsys.readouterr().out
    assert "10 of 12 entries" in said and "7 of them are outside of the folders: left" in said
    assert "3 entries taken out" in said and "/mnt/usb/b.flac" in said
    assert library()["tracks"].keys() == {*before, *beside}
    (undo,) = music.glob("meta.json.undo-*Z.json")
    assert json.loads(undo.read_bytes())["tracks"].keys() == set(inside)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--music-root", "empty", "--policy", "prune", "--apply"), "--music-root empty holds no audio file"),
        (("--music-root", "other", "--policy", "archive", "--apply"), "is of a file of --music-root"),
        (("--music-root", "none"), "there is no such folder"),
        ((), "--music-root is missing"),
        (("--undo", "none.json"), "none.json cannot be read"),
        (("--undo", "music/a.wav"), "is no undo file"),
        (("--music-root", "music", "--apply", "--dry-run"), "contradict each other"),
        (("--music-root", "music", "--policy", "burn"), "burn"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_written(
    music: Path, flags: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (music / "empty").mkdir()
    (music / "other").mkdir()
    (music / "other/new.wav").touch()
    before = Path("meta.json").read_bytes()
    root = next((flag for flag in flags if flag in ("empty", "other")), "")
    if root:
        flags = tuple(str(music / root) if flag == root else flag for flag in flags)
        said = said.replace(root, f"{music}/{root}")
    assert main(["stale", *LIBRARY, *flags]) == 2
    assert said in capsys.readouterr().err
    assert Path("meta.json").read_bytes() == before and not list(music.glob("*undo*"))
