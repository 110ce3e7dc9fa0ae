import json
import math
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from blocks import ROOT, Shell

from resplice.io import walk
from resplice.io.embedders import choose
from resplice.io.library import LibraryFile
from resplice.pipelines.__main__ import main
from resplice.transforms import gaps, library
from resplice.transforms.gaps import State, Wanted
from resplice.transforms.library import CONTENT, EMBEDDER, REF, WINDOWS, Identity, Library
from resplice.transforms.provenance import sha256
from resplice.transforms.settings import Embed, StoreOptions

WANTED = Wanted("e", "full")


@pytest.mark.parametrize(
    ("entries", "state"),
    [
        ([], State.MISSING_META),
        ([{}], State.MISSING_REF),
        ([{REF: None}, {"title": "a"}], State.MISSING_REF),
        ([{REF: "gone"}], State.FILE_MISSING),
        ([{REF: "v"}], State.OK),  # an entry without digests counts as ok
        ([{REF: "gone"}, {REF: "v"}], State.OK),  # the best of several spellings
        ([{REF: "v", EMBEDDER: "e", WINDOWS: "full"}], State.OK),
        ([{REF: "v", EMBEDDER: "other"}], State.STALE),
        ([{REF: "v", EMBEDDER: "e", WINDOWS: "canonical"}], State.STALE),
        ([{REF: "v", CONTENT: "c"}], frozenset({"c"})),
        ([{REF: "v", CONTENT: "c", EMBEDDER: "other"}], State.STALE),  # need not be hashed
        ([{REF: "v", CONTENT: "c"}, {REF: "v", CONTENT: "d"}], frozenset({"c", "d"})),
        ([{REF: "v", CONTENT: "c"}, {REF: "v"}], State.OK),
    ],
)
def test_the_state_of_a_path(entries: list[dict[str, Any]], state: State) -> None:
    assert gaps.state_of(entries, lambda entry: entry[REF] == "v", WANTED) == state


def test_content_tells_in_the_end() -> None:
    assert gaps.compared(State.MISSING_META, None) is State.MISSING_META
    assert gaps.compared(frozenset({"c", "d"}), "d") is State.OK
    assert gaps.compared(frozenset({"c", "d"}), "e") is State.STALE
    assert gaps.compared(frozenset({"c"}), None) is State.STALE


def test_a_path_is_excluded_by_itself_or_by_a_folder_that_it_is_in() -> None:
    excluded = {"/music/a", "/music/b.wav"}
    assert [gaps.is_below(path, excluded) for path in ("/music/a/x/1.wav", "/music/b.wav", "/music/ab.wav")] == [
        True, True, False
    ]  # fmt: skip


class Music:
    """A folder of audio files (any bytes will do), a library of them, and the command."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder)
        self.folder, self.root = folder, folder / "music"
        self.root.mkdir()
        self.file = LibraryFile.at("meta.json")
        self.file.enter({})

    def files(self, *names: str) -> list[str]:
        for name in names:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_bytes(name.encode())
        return [f"{self.root}/{name}" for name in names]

    def embed(self, *paths: str, embedder: str = "e", windows: str = "full") -> None:
        for path in paths:
            identity = Identity(sha256(Path(path).read_bytes()), embedder, windows)
            size = self.file.put(identity, np.zeros(4, np.float32))
            self.file.enter({path: identity.fields(size, "model", 4)})

    def __call__(self, *flags: str, code: int = 0) -> dict[str, Any]:
        assert main(["gaps", "--quiet", "--music-root", "music", "--out-prefix", "data/p", *flags]) == code
        there = self.folder / "data/p.json"
        return json.loads(there.read_bytes()) if there.exists() else {}

    def listed(self, name: str = "p.txt") -> list[str]:
        return walk.listed(self.folder / "data" / name)


@pytest.fixture
def music(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Music:
    return Music(tmp_path, monkeypatch)


def totals(found: dict[str, Any]) -> dict[str, int]:
    names = {name.removesuffix("_total"): value for name, value in found.items() if name.endswith("_total") and value}
    return {"scanned": found["audio_files_scanned"], "ok": found["ok"], **names}


def test_every_counter_counts_what_it_says(music: Music) -> None:
    paths = music.files(
        "ok.wav", "no-entry.wav", "no-ref.wav", "no-file.wav", "changed.wav", "out/1.wav", "out/2.wav", "old.wav"
    )
    music.embed(paths[0], *paths[3:5])
    entries = music.file.read().tracks
    (music.folder / entries[paths[3]][REF]).unlink()
    (music.root / "changed.wav").write_bytes(b"another content")
    (music.folder / "old.npy").write_bytes(b"old")
    old = {f"{music.root}//old.wav": {REF: "old.npy"}, paths[2]: {"title": "t"}, f"{music.root}/gone.wav": {},
           f"{paths[0]}/": {"title": "twice"}, f"{music.root}/./gone.wav": {}}  # fmt: skip
    music.file.update(lambda now: Library({**now.document, "tracks": {**now.tracks, **old}}))
    (music.folder / "exclude.txt").write_text("music/out\nmusic/none.wav\n")
    found = music("--library", "meta.json", "--exclude-file", "exclude.txt")
    assert totals(found) == {
        "scanned": 8, "ok": 2, "missing_meta": 1, "missing_embedding_ref": 1, "embedding_file_missing": 1,
        "stale_embedding": 1, "stale_meta_paths": 2, "duplicate_paths": 2, "excluded": 2, "pending_embedding": 4,
    }  # fmt: skip
    assert found["samples"]["stale_embedding_total"] == [paths[4]]
    assert found["samples"]["excluded_total"] == paths[5:7]
    assert music.listed() == sorted(paths[1:5])


def test_relative_keys_are_below_the_folder_of_the_library(music: Music) -> None:
    music.embed(*music.files("a.wav", "b.wav"))
    document = json.loads((music.folder / "meta.json").read_bytes())
    document["tracks"] = {key.removeprefix(f"{music.folder}/"): entry for key, entry in document["tracks"].items()}
    (music.folder / "other").mkdir()
    (music.folder / "vectors").rename(music.folder / "other/vectors")
    tracks = {f"../{key}": entry for key, entry in document["tracks"].items()}
    (music.folder / "other/meta.json").write_text(json.dumps({"tracks": tracks}))
    counts = music("--library", "other/meta.json")
    assert (counts["ok"], counts["stale_meta_paths_total"], counts["duplicate_paths_total"]) == (2, 0, 0)


def test_without_a_library_all_is_pending(music: Music) -> None:
    paths = music.files("a.wav", "b.wav")
    assert totals(music()) == {"scanned": 2, "ok": 0, "missing_meta": 2, "pending_embedding": 2}
    assert music.listed() == paths


def test_parts_of_an_earlier_scan_are_removed_and_others_left(music: Music) -> None:
    paths = music.files(*(f"{number}.wav" for number in range(5)))
    (music.folder / "data").mkdir()
    others = ("p.part1.txt", "pp.part001.txt", "p.part001.txt.bak")
    for name in (*others, "p.part004.txt"):
        (music.folder / "data" / name).touch()
    found = music("--chunk-size", "2")
    parts = ["p.part001.txt", "p.part002.txt", "p.part003.txt"]
    assert found["chunk_files"] == [f"{music.folder}/data/{name}" for name in parts]
    assert [music.listed(name) for name in parts] == [paths[:2], paths[2:4], paths[4:]]
    assert {path.name for path in (music.folder / "data").iterdir()} == {*others, *parts, "p.txt", "p.json"}
    music.embed(*paths)
    found = music("--library", "meta.json")
    assert (found["chunk_files"], music.listed()) == ([], [])
    assert found["output_json_file"] == f"{music.folder}/data/p.json"
    assert {path.name for path in (music.folder / "data").iterdir()} == {*others, "p.txt", "p.json"}


def test_a_second_scan_writes_the_same_bytes_and_hashes_nothing(music: Music, monkeypatch: pytest.MonkeyPatch) -> None:
    music.embed(*music.files("a.wav", "b.wav"))
    music.files("c.wav")
    music("--library", "meta.json")
    before = {path.name: (path.read_bytes(), path.stat().st_ino) for path in (music.folder / "data").iterdir()}
    monkeypatch.setattr("resplice.io.sidecars.hashed", lambda *args: pytest.fail("hashed again"))
    music("--library", "meta.json")
    assert before == {path.name: (path.read_bytes(), path.stat().st_ino) for path in (music.folder / "data").iterdir()}


def test_a_file_that_was_touched_is_hashed_and_still_ok(music: Music) -> None:
    (path,) = music.files("a.wav")
    music.embed(path)
    assert music("--library", "meta.json")["ok"] == 1
    Path(path).write_bytes(Path(path).read_bytes())
    assert music("--library", "meta.json")["ok"] == 1


def test_a_dry_run_writes_nothing(music: Music, capsys: pytest.CaptureFixture[str]) -> None:
    music.embed(*music.files("a.wav"))
    before = sorted(path for path in music.folder.rglob("*"))
    music("--library", "meta.json", "--dry-run")
    assert sorted(path for path in music.folder.rglob("*")) == before
    assert "dry run: nothing was written" in capsys.readouterr().out


HARD = [
    "a b.wav",
    "#1.wav",
    "'q'.wav",
    '"q".wav',
    " lead.wav",
    "new\nline.wav",
    "caf\udce9.wav",
    "\\xe9.wav",
    "e\u0301.wav",
]


def test_hard_names_are_read_back_from_the_lists(music: Music) -> None:
    paths = sorted(f"{music.root}/{name}" for name in HARD)
    for path in paths:
        Path(path).touch()
    music("--chunk-size", "1")
    assert sorted(music.listed()) == paths
    assert sorted(path for number in range(1, 10) for path in music.listed(f"p.part00{number}.txt")) == paths
    assert all(Path(path).is_file() for path in music.listed())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--library", "none.json"), "--library none.json: there is no such file"),
        (("--library", "meta.json", "--index", "shards"), "compare with one of them"),
        (("--music-root", "none"), "--music-root none: there is no such folder"),
        (("--exclude-file", "none.txt"), "none.txt cannot be read"),
        (("--library", "music"), "--library music is a folder"),
        (("--out-prefix", "data/"), "give the beginning of the names of local files"),
        (("--out-prefix", "music"), "give the beginning of the names of local files"),
        (("--library", "bad.json"), "bad.json is no library of tracks"),
        (("--windows", "some"), "is no window setting"),
        (("--duration-s", "10"), "add --allow-noncanonical"),
        (("--model-sha256", "0" * 64), "logmel has no model that it would be of"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    music: Music, flags: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (music.folder / "bad.json").write_text("[]")
    prefix = () if "--out-prefix" in flags else ("--out-prefix", "data/p")
    assert main(["gaps", "--quiet", "--music-root", "music", *prefix, *flags]) == 2
    assert said in capsys.readouterr().err
    assert not (music.folder / "data").exists()


ONNX = ("--embedder", "onnx:m.onnx", "--sample-rate", "24000", "--pooling", "cls", "--output", "hidden")
FIRST = ("--duration-s", "10", "--allow-noncanonical")


@pytest.mark.parametrize(
    ("flags", "ok"),
    [
        ((*ONNX, *FIRST), 1),
        (ONNX, 0),
        ((*ONNX[:2], *ONNX[4:], *FIRST), 0),
        ((*ONNX[:4], *ONNX[6:], *FIRST), 0),
        ((*ONNX[:6], *FIRST), 0),
        ((), 1),
        (("--windows", "canonical"), 0),
        (FIRST, 0),
    ],
)
def test_each_part_of_an_identity_can_be_asked_for(music: Music, flags: tuple[str, ...], ok: int) -> None:
    pytest.importorskip("onnxruntime")
    (path,) = music.files("a.wav")
    (music.folder / "m.onnx").write_bytes(b"weights")  # its digest is all that is asked
    settings = Embed("onnx:m.onnx", sample_rate=24000, pooling="cls", output="hidden")
    music.embed(path, embedder=choose(settings, StoreOptions()).digest, windows="full of the first 10 s")
    assert music("--library", "meta.json", *flags)["ok"] == ok


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ("meta", "is what --library names"),
        ("link", "is what --library names"),
        ("ex", "is what --exclude-file names"),
        ("mine", "is not of a gap"),
        ("list", "is not of a gap"),
        ("folder", "is not of a gap"),
    ],
)
def test_a_list_never_replaces_what_is_no_list(
    music: Music, prefix: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    music.embed(*music.files("a.wav", "b.wav"))
    (music.folder / "ex.part001.txt").write_text("music/b.wav\n")
    (music.folder / "mine.json").write_text('{"tracks": {}}')
    (music.folder / "list.json").write_text("[7]")
    (music.folder / "folder.txt").mkdir()
    (music.folder / "link.txt").symlink_to("meta.json")
    before = {path: path.is_file() and path.read_bytes() for path in music.folder.rglob("*")}
    flags = ("--library", "meta.json", "--exclude-file", "ex.part001.txt", "--out-prefix", prefix)
    assert main(["gaps", "--quiet", "--music-root", "music", *flags]) == 2
    assert said in capsys.readouterr().err
    assert {path: path.is_file() and path.read_bytes() for path in music.folder.rglob("*")} == before


def test_the_commands_of_the_manual_run(music: Music, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = music.files("a.wav", "b.wav")
    soundfile.write(paths[1], np.random.default_rng(1).normal(0, 0.1, 8000), 16000)
    music.embed(paths[0], embedder="embedder of another program")
    music.file.enter({f"{music.root}/gone.wav": {}, f"{music.root}/gone too.wav": {}})
    Path("exclude.txt").write_text("music/none\n")
    shell = Shell(music.folder, monkeypatch)
    shell.play(ROOT / "docs/embedding-library.md")
    assert [(done.command.text, done.code) for done in shell.done] == [
        (done.command.text, done.command.code) for done in shell.done
    ]
    assert walk.listed(Path("data/pending.part001.txt")) == paths[1:]
    assert list(music.file.read().tracks) == paths


SCANNED, TRACKS, NO_META, NO_REF, DEAD, OK = 12_116, 13_464, 6_494, 4_210, 3_817, 1_412
SPELT = [
    str,
    lambda p: p.replace("/", "\\"),
    lambda p: p[0].lower() + p[1:],
    lambda p: p + "/",
    lambda p: p.replace("é", "e\u0301"),
]


def the_story() -> tuple[list[str], Library]:
    """The seed's library: 12,116 files; 13,464 keys, of which 3,817 name no file and the others 5,622 files."""
    files = [f"C:/Users/h/Music/é {n % 97}/{n}.mp3" for n in range(SCANNED)]
    known = files[NO_META:]
    spellings = [spell(path) for spell in SPELT for path in known]
    live = list(dict.fromkeys(spellings))[: TRACKS - DEAD]
    gone = [f"C:/Users/h/Old/{n}.mp3" for n in range(DEAD)]
    embedded = set(known[NO_REF:])
    entries = {key: {REF: "v.npy"} if library.normal(key) in embedded else {"title": key} for key in [*live, *gone]}
    return files, Library({"tracks": entries})


def states_of(files: list[str], tracks: Library) -> dict[str, State]:
    found = {path: gaps.state_of(tracks.entries(path), lambda entry: True) for path in files}
    return {path: gaps.compared(state, None) for path, state in found.items()}


def test_the_arithmetic_of_the_story_holds() -> None:
    began = time.monotonic()
    files, tracks = the_story()
    assert (len(tracks.tracks), len(files)) == (TRACKS, SCANNED)
    counts = gaps.counts(states_of(files, tracks), tracks)
    assert totals(counts) == {
        "scanned": SCANNED, "ok": OK, "missing_meta": NO_META, "missing_embedding_ref": NO_REF,
        "stale_meta_paths": DEAD, "pending_embedding": NO_META + NO_REF,
        "duplicate_paths": sum(n > 1 for n in Counter(map(library.normal, tracks.tracks)).values()),
    }  # fmt: skip
    assert (counts["pending_embedding_total"], math.ceil(counts["pending_embedding_total"] / 2000)) == (10_704, 6)
    waves = gaps.pending(states_of(files, tracks))
    for wave in (waves[:9], waves[9:48], waves[48:]):  # the smoke run, wave 1, all others
        before = gaps.counts(states_of(files, tracks), tracks)
        new = sum(path not in tracks.spellings for path in wave)
        tracks = tracks.entered({path: {REF: "v.npy"} for path in wave})
        after = gaps.counts(states_of(files, tracks), tracks)
        assert before["pending_embedding_total"] - after["pending_embedding_total"] == len(wave)
        assert after["ok"] - before["ok"] == len(wave)
        assert before["missing_meta_total"] - after["missing_meta_total"] == new
        assert after["duplicate_paths_total"] == before["duplicate_paths_total"]
    assert len(tracks.tracks) == TRACKS + NO_META and not gaps.pending(states_of(files, tracks))
    assert time.monotonic() - began < 30


def test_a_folder_whose_name_is_not_utf_8_is_told_as_text(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"m\xff")
    folder.mkdir()
    words = ["gaps", f"--music-root={folder}", f"--out-prefix={tmp_path / 'p'}", f"--workspace={tmp_path / 'w'}"]
    assert main([*words, "--quiet"]) == 0
    assert json.loads((tmp_path / "p.json").read_text())["music_roots"] == [f"{tmp_path}/m\\xff"]
