import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from servers import Server

from resplice.io import walk
from resplice.io.store import Place
from resplice.io.walk import Listed
from resplice.transforms import paths
from resplice.transforms.records import UserError
from resplice.transforms.settings import StoreOptions

HARD = st.sampled_from(
    [*"#\"' \t\n\r\\xé/a5c.:~", "e\u0301", "\udcff", "\udc80", "\\xff", "\\x0a", "\u2028", "\x0b", "\ufeff"]
)
NAMES = st.lists(HARD | st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12).map("".join)
BYTES = st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name)
NATIVE = (NAMES | BYTES.map(os.fsdecode)).map(lambda name: "/" + name)


@given(st.lists(NATIVE))
def test_what_is_written_is_read_back_as_itself(native: list[str]) -> None:
    texts = [paths.escaped(path) for path in native]
    assert paths.read(paths.written(texts), "p.txt") == texts
    assert [paths.unescaped(text) for text in texts] == native


@given(NATIVE)
def test_text_is_utf_8_on_one_line(native: str) -> None:
    assert not {"\n", "\r"} & set(paths.escaped(native).encode().decode())


@given(st.text(st.characters()) | NAMES)
@example("\u212a:\\a\\xff")  # the Kelvin sign is a K: a drive
@example("\\xee\u0301")  # an accent must not change the digit of an escape
@example("./C:/\\xff")
@example("//\\xff")
@example("\\\udcff")
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert paths.normal(paths.normal(text)) == paths.normal(text)


@given(NATIVE)
def test_a_file_and_the_key_that_it_gets_are_one_path(native: str) -> None:
    text = paths.escaped(native)
    key = paths.normal(text)
    assert paths.normal(key) == key
    assert paths.normal(paths.escaped(native + "/")) == key


@pytest.mark.parametrize(
    ("spelling", "normal"),
    [
        ("c:\\Users\\hunte\\Music\\a.mp3", "C:/Users/hunte/Music/a.mp3"),
        ("C:/Users//hunte/./Music/a.mp3/", "C:/Users/hunte/Music/a.mp3"),
        ("C:\\Music\\xfade\\a.mp3", "C:/Music/xfade/a.mp3"),  # no escape on Windows
        ("\\\\server\\share\\a.mp3", "//server/share/a.mp3"),
        ("/music/a.mp3/", "/music/a.mp3"),
        ("/", "/"),
        ("/music/Cafe\u0301.mp3", "/music/Caf\u00e9.mp3"),
        ("/music/\\xe9.mp3", "/music/\\xe9.mp3"),
        ("/music/\udce9.mp3", "/music/\\xe9.mp3"),
        ("/music/A.MP3", "/music/A.MP3"),
        ("bare.mp3", "bare.mp3"),
        ("s3://bucket/a//b\\c.mp3", "s3://bucket/a//b\\c.mp3"),
    ],
)
def test_spellings_of_one_path_have_one_normal_form(spelling: str, normal: str) -> None:
    assert paths.normal(spelling) == normal


def test_a_literal_backslash_is_not_taken_for_an_escape() -> None:
    names = ["/m/\\xff.wav", "/m/\udcff.wav", "/m/\\x5cxff.wav"]
    assert [paths.escaped(name) for name in names] == ["/m/\\x5cxff.wav", "/m/\\xff.wav", "/m/\\x5cx5cxff.wav"]
    assert len({paths.normal(paths.escaped(name)) for name in names}) == 3


def test_a_windows_path_that_only_an_escape_could_write_is_refused() -> None:
    with pytest.raises(UserError, match="no escapes"):
        paths.escaped("C:\\a\nb")


@pytest.mark.parametrize(
    ("name", "taken"),
    [("a.wav", True), ("a.FLAC", True), ("a.b.Opus", True), ("a.txt", False), (".wav", False), ("wav", False),
     ("._a.wav", False), ("__MACOSX/a.wav", False), ("x/__MACOSX/y/a.wav", False), ("folder.wav/a", False)],
)  # fmt: skip
def test_folders_are_walked_for_audio_without_junk(name: str, taken: bool) -> None:
    assert paths.is_audio(name) is taken


LINES = b"""# a comment
a.wav

   b c.wav\t\r
\\#1 hit.wav
"#2 hit.wav"
'it''s "quoted".wav'
"unpaired.wav
" blanks .wav"
caf\xe9.wav
/absolute.wav
C:\\Music\\x.mp3
s3://bucket/y.mp3
""
"""
READ = ["a.wav", "b c.wav", "#1 hit.wav", "#2 hit.wav", "it''s \"quoted\".wav", '"unpaired.wav', " blanks .wav",
        "caf\\xe9.wav", "/absolute.wav", "C:\\Music\\x.mp3", "s3://bucket/y.mp3"]  # fmt: skip


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_paths_file_is_read_as_documented(mark: bytes) -> None:
    assert paths.read(mark + LINES, "p.txt") == READ


@pytest.mark.parametrize("data", ["a.wav\n".encode("utf-16"), b"RIFF\0\0\0\0WAVE", "a.wav".encode("utf-16-le")])
def test_what_is_no_utf_8_text_is_refused(data: bytes) -> None:
    with pytest.raises(UserError, match=r"p\.txt is no list of paths"):
        paths.read(data, "p.txt")


def test_a_listed_path_is_relative_to_the_folder_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/p.txt").write_bytes(LINES)
    found = walk.listed(tmp_path / "lists/p.txt")
    assert found[0] == f"{tmp_path}/lists/a.wav"
    assert found[7] == f"{tmp_path}/lists/caf\udce9.wav"
    assert found[8:] == READ[8:]


def test_a_paths_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.txt cannot be read: No such file"):
        walk.listed(tmp_path / "none.txt")


def touched(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def below(folder: Path, found: walk.Walked) -> list[str]:
    return [file.path.removeprefix(f"{folder}/") for file in found.files]


def test_a_folder_is_walked_in_sorted_order(tmp_path: Path) -> None:
    names = ["b.wav", "a/2.MP3", "a/1.flac", "é.ogg", "notes.txt", "._b.wav", "__MACOSX/b.wav", "folder.wav/c.aif"]
    touched(tmp_path, *names, os.fsdecode(b"\xff.opus"))
    found = walk.walk([str(tmp_path)])
    assert below(tmp_path, found) == ["a/1.flac", "a/2.MP3", "b.wav", "folder.wav/c.aif", "é.ogg", "\\xff.opus"]


def test_a_path_comes_once_and_what_is_listed_stays_listed(tmp_path: Path) -> None:
    touched(tmp_path, "music/a.wav", "music/b.wav", "notes.txt")
    given = [f"{tmp_path}/{name}" for name in ("music/b.wav", "notes.txt", "none.wav", "music", "x/../music//./a.wav")]
    found = walk.walk(given)
    assert below(tmp_path, found) == ["music/b.wav", "notes.txt", "none.wav", "music/a.wav"]
    assert found.repeated == 2


def test_a_name_in_another_unicode_form_keeps_its_spelling_beside_its_key(tmp_path: Path) -> None:
    touched(tmp_path, "Cafe\u0301.wav")
    assert walk.walk([str(tmp_path)]).files == (Listed(f"{tmp_path}/Caf\u00e9.wav", f"{tmp_path}/Cafe\u0301.wav"),)


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touched(tmp_path, "music/a.wav")
    (tmp_path / "music/round").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "music")
    (tmp_path / "music/itself.wav").symlink_to("itself.wav")
    assert below(tmp_path, walk.walk([f"{tmp_path}/link"])) == ["link/a.wav", "link/itself.wav"]
    assert below(tmp_path, walk.walk([str(tmp_path)])) == [
        "link/a.wav", "link/itself.wav", "music/a.wav", "music/itself.wav"
    ]  # fmt: skip


def test_names_that_no_file_can_have_are_listed_files(tmp_path: Path) -> None:
    given = [f"{tmp_path}/nul\0.wav", f"{tmp_path}/{'long' * 100}.wav"]
    assert [file.path for file in walk.walk(given).files] == given


def test_objects_of_a_bucket_are_walked_too(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    moto.credentials(monkeypatch)
    url, options = f"s3://{moto.bucket()}", StoreOptions(endpoint_url=moto.endpoint, region="us-east-1")
    for name in ("music/b.wav", "music/a/1.mp3", "music/._b.wav", "music/notes.txt", "musical.wav"):
        assert Place(url, options=options).store.create(name, b"")
    found = walk.walk([f"{url}/music", f"{url}/music/notes.txt", f"{url}/none.wav", f"{url}/music/b.wav"], options)
    names = ["music/a/1.mp3", "music/b.wav", "music/notes.txt", "none.wav"]
    assert [file.path for file in found.files] == [f"{url}/{name}" for name in names]
