import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import Server

from resplice.io.library import LibraryFile
from resplice.transforms import library
from resplice.transforms.library import BYTES, CONTENT, EMBEDDER, OWN, REF, WINDOWS, Identity, Library
from resplice.transforms.paths import normal
from resplice.transforms.records import Damage, UserError
from resplice.transforms.settings import StoreOptions

ONE = Identity("1" * 64, "e" * 64, "full")
VECTOR = np.arange(4, dtype=np.float32)


def at(folder: Path) -> LibraryFile:
    return LibraryFile.at(f"{folder}/meta.json")


def put(file: LibraryFile, *keys: str, identity: Identity = ONE) -> None:
    fields = identity.fields(file.put(identity, VECTOR), "logmel", 4)
    file.enter(dict.fromkeys(keys, fields))


def tracks(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "meta.json").read_bytes())["tracks"]  # type: ignore[no-any-return]


def test_a_new_library_is_made_with_the_vector_beside_it(tmp_path: Path) -> None:
    file = at(tmp_path)
    put(file, "/music/a.wav")
    entry = tracks(tmp_path)["/music/a.wav"]
    assert {name: entry[name] for name in (CONTENT, EMBEDDER, WINDOWS)} == {
        CONTENT: "1" * 64, EMBEDDER: "e" * 64, WINDOWS: "full"
    }  # fmt: skip
    assert tuple(entry) == tuple(sorted(OWN)) and ONE.of(entry) and file.has(entry)
    np.testing.assert_array_equal(np.load(tmp_path / entry[REF]), VECTOR)
    np.testing.assert_array_equal(file.vector(entry), VECTOR)


def test_the_keys_of_others_stay_and_an_existing_spelling_is_updated(tmp_path: Path) -> None:
    theirs = {
        "artist": "Bj\u00f6rk",
        "embedding_mert": "m.npy",
        "bpm": float("nan"),
        "cues": [1.10],
        "\udcff": "\ud800",
    }
    old = {"tracks": {"c:\\Music\\a.mp3": theirs, "C:/Music/a.mp3/": {}, "d:/b.mp3": {"title": "b"}}, "version": 7}
    (tmp_path / "meta.json").write_text(json.dumps(old))
    put(at(tmp_path), "C:/Music/a.mp3", "C:/Music/new.mp3")
    new = json.loads((tmp_path / "meta.json").read_bytes())
    assert new["version"] == 7
    assert set(new["tracks"]) == {*old["tracks"], "C:/Music/new.mp3"}
    assert new["tracks"]["d:/b.mp3"] == {"title": "b"}
    entry = new["tracks"]["c:\\Music\\a.mp3"]
    assert {name: value for name, value in entry.items() if name not in OWN} == {**theirs, "bpm": None}
    assert ONE.of(entry) and ONE.of(new["tracks"]["C:/Music/a.mp3/"])


@pytest.mark.parametrize(
    "key", ["music/a.wav", "./music//a.wav", "music\\a.wav", "../x/music/a.wav", "music/b/../a.wav"]
)
def test_a_relative_key_is_below_the_folder_of_its_file(tmp_path: Path, key: str) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x/meta.json").write_text(json.dumps({"tracks": {key: {"bpm": 120}}}))
    file = at(tmp_path / "x")
    put(file, f"{tmp_path}/x/music/a.wav")
    assert list(tracks(tmp_path / "x")) == [key] and ONE.of(tracks(tmp_path / "x")[key])
    assert file.read().entries(f"{tmp_path}/x/music/a.wav") == file.read().entries(key) != []
    put(file, "video/segment")  # keys of segments are no paths
    put(file, "video/segment")
    assert set(tracks(tmp_path / "x")) == {key, "video/segment"} and len(file.read().entries("video/segment")) == 1


def test_a_relative_key_of_a_library_in_a_bucket_is_below_its_prefix() -> None:
    library = Library({"tracks": {"a/b.wav": {}, "s3://other/c.wav": {}, "C:/d.wav": {}}}, "s3://bucket/music")
    assert set(library.spellings) == {"s3://bucket/music/a/b.wav", "s3://other/c.wav", "C:/d.wav"}


def test_two_files_of_one_stem_never_share_a_vector(tmp_path: Path) -> None:
    others = [Identity("2" * 64, "e" * 64, "full"), Identity("1" * 64, "f" * 64, "full"),
              Identity("1" * 64, "e" * 64, "canonical")]  # fmt: skip
    assert len({identity.ref for identity in (ONE, *others)}) == 4


def test_entering_the_same_again_changes_no_byte(tmp_path: Path) -> None:
    put(at(tmp_path), "/b.wav", "/a.wav")
    before = (tmp_path / "meta.json").stat().st_ino, (tmp_path / ONE.ref).stat().st_ino
    put(at(tmp_path), "/a.wav", "/b.wav")
    assert before == ((tmp_path / "meta.json").stat().st_ino, (tmp_path / ONE.ref).stat().st_ino)


def test_a_vector_that_was_cut_is_not_there_and_is_written_again(tmp_path: Path) -> None:
    file = at(tmp_path)
    put(file, "/a.wav")
    (tmp_path / ONE.ref).write_bytes((tmp_path / ONE.ref).read_bytes()[:-1])
    assert not file.has(tracks(tmp_path)["/a.wav"])
    put(file, "/a.wav")
    assert file.has(tracks(tmp_path)["/a.wav"])


@pytest.mark.parametrize(
    "entry",
    [{}, {REF: None}, {REF: ""}, {REF: 7}, {REF: "none.npy"}, {REF: "vectors"}, {REF: "nul\0"}, {REF: "empty.npy"}],
)
def test_a_reference_without_a_file_is_none(tmp_path: Path, entry: dict[str, Any]) -> None:
    (tmp_path / "vectors").mkdir()
    (tmp_path / "empty.npy").touch()
    assert not at(tmp_path).has(entry)


def test_references_of_windows_and_absolute_ones_are_followed(tmp_path: Path) -> None:
    (tmp_path / "embeddings").mkdir()
    (tmp_path / "embeddings/a.npy").write_bytes(b"x")
    assert at(tmp_path).has({REF: "embeddings\\a.npy"})
    assert at(tmp_path).has({REF: f"{tmp_path}/embeddings/a.npy"})


def test_a_link_to_a_library_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "meta.json").symlink_to("real/meta.json")
    put(at(tmp_path), "/a.wav")
    assert (tmp_path / "meta.json").is_symlink() and at(tmp_path).has(tracks(tmp_path / "real")["/a.wav"])


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{"tracks": []}', b'{"tracks": {"a": 1}}', b'{"name": "some-package"}', b"\xff\xfe{\0}\0",
     b'{"tracks": {"a": {}, "a": {}}}'],
)  # fmt: skip
def test_what_is_no_library_is_never_replaced(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "meta.json").write_bytes(data)
    with pytest.raises(UserError, match=r"meta\.json is no library of tracks") as raised:
        at(tmp_path).read()
    assert raised.value.exit_code == 2
    with pytest.raises(UserError, match="is no library"):
        at(tmp_path).enter({"/a.wav": {}})
    assert [path.name for path in tmp_path.iterdir()] == ["meta.json"]
    assert (tmp_path / "meta.json").read_bytes() == data


def test_a_dry_run_sees_its_own_writes_and_leaves_the_library(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    file = LibraryFile.at(f"{tmp_path}/there/meta.json", scratch=f"{tmp_path}/scratch")
    put(file, "/a.wav")
    assert list(file.read().tracks) == ["/a.wav"]
    assert list((tmp_path / "there").iterdir()) == []


def enter_some(folder: Path, number: int) -> None:
    file = at(folder)
    for track in range(20):
        put(file, f"/{number}/{track}.wav", identity=Identity(f"{number}-{track}", "e", "full"))


def test_two_processes_lose_no_entry(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=enter_some, args=(tmp_path, number)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert set(tracks(tmp_path)) == {f"/{number}/{track}.wav" for number in range(2) for track in range(20)}
    assert all(at(tmp_path).has(entry) for entry in tracks(tmp_path).values())


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_no_entry_without_its_vector(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    for number in range(10):
        process = context.Process(target=enter_some, args=(tmp_path, number))
        process.start()
        before = len(list(tmp_path.glob("vectors/*.npy")))
        while process.is_alive() and len(list(tmp_path.glob("vectors/*.npy"))) < before + number + 1:
            time.sleep(0.001)
        process.kill()
        process.join()
        assert all(at(tmp_path).has(entry) for entry in at(tmp_path).read().tracks.values())
    enter_some(tmp_path, 0)
    assert {f"/0/{track}.wav" for track in range(20)} <= tracks(tmp_path).keys()


def test_a_library_may_be_in_a_bucket(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    moto.credentials(monkeypatch)
    options = StoreOptions(endpoint_url=moto.endpoint, region="us-east-1")
    file = LibraryFile.at(f"s3://{moto.bucket()}/music/meta.json", options)
    assert not file.exists()
    put(file, "s3://music/a.wav")
    (entry,) = file.read().tracks.values()
    assert file.has(entry) and file.place.store.head(f"{entry[REF]}") is not None
    np.testing.assert_array_equal(file.vector(entry), VECTOR)


KEYS = st.lists(st.sampled_from("/\\.aAé\u0301C:"), min_size=1, max_size=8).map("".join)


@given(st.lists(KEYS, unique=True), st.lists(KEYS, min_size=1))
def test_embedding_makes_no_duplicate_keys(there: list[str], embedded: list[str]) -> None:
    before = Library({"tracks": {key: {"title": key} for key in there}})
    after = before.entered({normal(key): {REF: key} for key in embedded})
    assert after.spellings == Library(after.document).spellings
    for path, keys in after.spellings.items():
        assert keys == before.spellings.get(path, (path,))
    assert {normal(key) for key in embedded} <= set(after.spellings)


@given(
    st.dictionaries(
        KEYS, st.dictionaries(KEYS, st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.text())
    )
)
def test_what_is_written_is_the_library(content: dict[str, Any]) -> None:
    assert json.loads(library.written(Library({"tracks": content, "x": [1]}))) == {"tracks": content, "x": [1]}


def test_what_is_taken_out_can_be_put_back() -> None:
    before = Library({"tracks": {"/a": {"n": 1}, "/b": {"n": 2}}, "v": 1})
    archived = before.without(["/a", "/none"], archive=True)
    assert archived.document == {"tracks": {"/b": {"n": 2}}, "archived_tracks": {"/a": {"n": 1}}, "v": 1}
    assert archived.restored({"/a": {"n": 1}}).document == before.document
    assert before.without(["/a"]).restored({"/a": {"n": 1}, "/b": {"n": 9}}).document == before.document


def test_a_library_is_an_object_with_tracks() -> None:
    assert Library.of({}).tracks == {}
    with pytest.raises(Damage, match=r"tracks\['a'\] holds a list"):
        Library.of({"tracks": {"a": []}})


@pytest.mark.parametrize(
    ("size", "there"), [(6, True), (7, False), (None, True), ("6", True), (6.0, True), (True, True), ([], True)]
)
def test_a_size_that_is_no_number_of_bytes_does_not_speak_against_a_vector(
    tmp_path: Path, size: object, there: bool
) -> None:
    (tmp_path / "v.npy").write_bytes(b"vector")
    assert at(tmp_path).has({REF: "v.npy", BYTES: size}) is there
