import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hostile_tars import DAMAGES, END, TWO, header, padded, pax, record, sealed
from hypothesis import given, settings
from hypothesis import strategies as st

from resplice.io import tars
from resplice.io.tars import Member, TarWriter, read_member, read_members
from resplice.transforms.records import Damage

LONG = "ordner/" * 30 + "ä" * 120 + ".flac"
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
gnu_tar = pytest.mark.skipif(shutil.which("tar") is None, reason="no tar command")


@dataclass
class BytesSource:
    data: bytes
    requests: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.data)

    def read_at(self, offset: int, length: int) -> bytes:
        self.requests.append(length)
        return self.data[offset : offset + length]


def write(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    writer = TarWriter(file)
    for name, data in members.items():
        writer.add(name, data)
    writer.close()
    return file.getvalue()


def read(data: bytes) -> dict[str, bytes]:
    source = BytesSource(data)
    return {member.name: read_member(source, member) for member in read_members(source)}


def code_of(data: bytes) -> str:
    with pytest.raises(Damage) as caught:
        read_members(BytesSource(data))
    return caught.value.code


@pytest.mark.parametrize(("code", "data"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_named_by_its_code(code: str, data: bytes | Callable[[], bytes]) -> None:
    assert code_of(data() if callable(data) else data) == code


def test_the_table_of_damages_is_made_of_a_readable_tar() -> None:
    assert read(TWO + END) == {"a": b"abc", "b": b"x" * 600}


def test_more_members_than_the_cap_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "MAX_MEMBERS", 2)
    folders = header("d/", kind=b"5") * 3
    assert len(read(folders + TWO + END)) == 2
    assert code_of(folders + TWO + header("c") + END) == "too_many_members"


@pytest.mark.parametrize("padding", [0, 1, 511, 512, 8192, (1 << 20) + 7])
def test_a_tar_may_end_in_any_number_of_zeros(padding: int) -> None:
    assert list(read(TWO + END + bytes(padding))) == ["a", "b"]
    assert read(END + bytes(padding)) == {}


def test_a_member_tells_where_its_data_is_and_how_it_begins() -> None:
    assert read_members(BytesSource(TWO + END)) == [Member("a", 512, 3, b"abc"), Member("b", 1536, 600, b"x" * 64)]


READABLE: dict[str, tuple[bytes, list[str]]] = {
    "v7 header": (header("a", magic=bytes(8)), ["a"]),
    "v7 folder": (header("d", kind=b"\0", name=b"d/\0"), []),
    "contiguous file": (header("a", kind=b"7"), ["a"]),
    "leading ./": (header("./d/a"), ["d/a"]),
    "folder itself": (header("./", kind=b"5"), []),
    "ustar prefix": (header("a", magic=b"ustar\00000", prefix=b"d/e"), ["d/e/a"]),
    "GNU has times where ustar has a prefix": (header("a", prefix=b"12345670123"), ["a"]),
    "size with spaces": (header(size=b"         0 \0"), ["a"]),
    "base-256 size": (header(size=b"\x80" + bytes(11)), ["a"]),
    "signed checksum": (sealed(header("ä"), signed=True), ["ä"]),
    "name that is not UTF-8": (header("x", name=b"\xff.flac"), ["\\xff.flac"]),
    "pax path": (pax(record("path", "n/m")) + header("b"), ["n/m"]),
    "pax path is for one member": (pax(record("path", "n")) + header("b") + header("c"), ["n", "c"]),
    "pax size": (pax(record("size", "513")) + header("b") + bytes(1024) + header("c"), ["b", "c"]),
    "other pax records": (pax(record("mtime", "1.5") + record("comment", "c=d\n")) + header("b"), ["b"]),
    "global header alone": (pax(record("comment", "c"), b"g"), []),
    "GNU name": (header("L", 5, b"L") + padded(b"n/mm\0") + header("b") + header("c"), ["n/mm", "c"]),
    "GNU link name of a file": (header("K", 5, b"K") + padded(b"n/mm\0") + header("b"), ["b"]),
    "pax header of 64 KiB": (pax(record("comment", "c" * (65536 - 15))) + header("b"), ["b"]),
    "name of 4096 bytes": (pax(record("path", "n" * 4096)) + header("b"), ["n" * 4096]),
}


@pytest.mark.parametrize(("data", "names"), READABLE.values(), ids=READABLE.keys())
def test_variants_are_read(data: bytes, names: list[str]) -> None:
    assert [member.name for member in read_members(BytesSource(data + END))] == names


@pytest.mark.parametrize("form", FORMATS)
def test_tars_of_python_are_read_alike(form: str) -> None:
    names = ["a", "d/b", *([] if form == "ustar" else [LONG])]
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=FORMATS[form]) as tar:
        folder = tarfile.TarInfo("d")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name in names:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname = len(name), 1.5, "jürgen"
            tar.addfile(info, io.BytesIO(b"x" * len(name)))
    assert read(file.getvalue()) == {name: b"x" * len(name) for name in names}


@gnu_tar
@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_tars_of_the_tar_command_are_read_alike(tmp_path: Path, form: str) -> None:
    names = ["a.flac", "d/ü.flac", *([] if form in ("v7", "ustar") else ["d/" + "n" * 180])]
    folder = tmp_path / "in"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 100)
    made = subprocess.run(
        ["tar", "-c", "-f", "-", f"--format={form}", "-C", str(folder), "."], check=True, capture_output=True
    )
    assert read(made.stdout) == {name: name.encode() * 100 for name in names}


@gnu_tar
@pytest.mark.parametrize("options", [["--format=gnu"], ["--format=posix"], ["--format=posix", "--sparse-version=0.0"]])
def test_sparse_files_of_the_tar_command_are_refused(tmp_path: Path, options: list[str]) -> None:
    with (tmp_path / "holes").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
    command = ["tar", "-c", "-S", "-f", "-", *options, "-C", str(tmp_path), "holes"]
    assert code_of(subprocess.run(command, check=True, capture_output=True).stdout) == "special_member"


@gnu_tar
def test_the_tar_command_reads_our_tars(tmp_path: Path) -> None:
    members = {"a": b"1", "d/ü": b"2" * 600, LONG: b"", "p/" * 90 + "q": b"3"}
    (tmp_path / "t.tar").write_bytes(write(members))
    names = ["tar", "tf", str(tmp_path / "t.tar"), "--quoting-style=literal"]
    assert subprocess.run(names, check=True, capture_output=True).stdout.decode().splitlines() == list(members)
    texts = ["tar", "xOf", str(tmp_path / "t.tar")]
    done = subprocess.run(texts, check=True, capture_output=True)
    assert (done.stdout, done.stderr) == (b"".join(members.values()), b"")


part = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60)
names = st.lists(part.filter(lambda p: p not in (".", "..")), min_size=1, max_size=6).map("/".join)
contents = st.dictionaries(names, st.binary(max_size=1100), max_size=4)


@settings(deadline=None)
@given(contents)
def test_what_is_written_is_read_back_by_us_and_by_python(members: dict[str, bytes]) -> None:
    data = write(members)
    assert list(read(data).items()) == list(members.items())
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        theirs = [(info.name, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]
    assert theirs == list(members.items())


def test_no_prefix_of_a_tar_is_readable() -> None:
    data = write({"a": b"x" * 700, LONG: b"", "empty": b"", "b": b"\0" * 1024})
    for length in range(len(data)):
        assert code_of(data[:length]) in ("short_header", "no_end")


@settings(deadline=None)
@given(contents, st.data())
def test_no_prefix_of_any_written_tar_is_readable(members: dict[str, bytes], data: st.DataObject) -> None:
    tar = write(members)
    assert code_of(tar[: data.draw(st.integers(0, len(tar) - 1))]) in ("short_header", "no_end")


@settings(deadline=None)
@given(st.data())
def test_a_flipped_byte_is_damage_or_changes_no_more_than_the_data(data: st.DataObject) -> None:
    """Names here fit ustar: a pax header's text has no checksum, so a flip there may give another name."""
    tar = write({"a.flac": b"\xff" * 700, "d/b.json": b"{}", "c": b""})
    expected = [(m.name, m.offset, m.size) for m in read_members(BytesSource(tar))]
    position = data.draw(st.integers(0, len(tar) - 1))
    flipped = tar[position] ^ data.draw(st.integers(1, 255))
    try:
        found = read_members(BytesSource(tar[:position] + bytes([flipped]) + tar[position + 1 :]))
    except Damage:
        return
    assert [(m.name, m.offset, m.size) for m in found] == expected


@settings(deadline=None)
@given(st.data())
def test_arbitrary_changes_end_in_damage_or_in_members_inside_the_tar(data: st.DataObject) -> None:
    tar = bytearray(data.draw(st.sampled_from([write({LONG: b"abc", "b": b"x" * 600}), TWO + END])))
    for _ in range(data.draw(st.integers(1, 8))):
        tar[data.draw(st.integers(0, len(tar) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        tar[:512] = sealed(bytes(tar[:512]))
    try:
        found = read_members(BytesSource(bytes(tar)))
    except Damage:
        return
    ends = [0, *(m.offset + m.size for m in found)]
    assert all(m.offset >= end + 512 for m, end in zip(found, ends, strict=False))
    assert ends[-1] <= len(tar) - 1024


@settings(deadline=None)
@given(st.binary(max_size=2000))
def test_arbitrary_bytes_are_damage(data: bytes) -> None:
    if data.strip(b"\0") or len(data) < 1024:
        assert code_of(data)
    else:
        assert read(data) == {}


def test_our_tars_tell_nothing_about_the_machine_and_are_no_longer_than_needed() -> None:
    data = write({"v/a.flac": b"x"})
    assert len(data) == 512 + 512 + 1024
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        info = tar.getmembers()[0]
    assert (info.mtime, info.uid, info.gid, info.uname, info.gname, info.mode) == (0, 0, 0, "", "", 0o644)
    assert data == write({"v/a.flac": b"x"})


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("n" * 100, [b"0"]), ("d" * 150 + "/" + "n" * 90, [b"0"]), ("n" * 101, [b"x", b"0"]), ("ü", [b"x", b"0"])],
    ids=["fits", "fits with a prefix", "too long", "not ASCII"],
)
def test_a_pax_header_is_written_only_where_ustar_does_not_fit(name: str, kinds: list[bytes]) -> None:
    data = write({name: b""})
    starts = [0] if len(kinds) == 1 else [0, 1024]
    assert [data[start + 156 : start + 157] for start in starts] == kinds
    assert list(read(data)) == [name]


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/..", "a\0b", "./a", "a//b", "a/", ".", "n" * 4097, "\ud800"])
def test_the_writer_refuses_names_that_the_reader_would_not_give_back(name: str) -> None:
    with pytest.raises(ValueError):
        TarWriter(io.BytesIO()).add(name, b"")


def test_the_writer_refuses_a_name_twice() -> None:
    writer = TarWriter(io.BytesIO())
    writer.add("a", b"")
    with pytest.raises(ValueError, match="there already"):
        writer.add("a", b"")


@pytest.mark.parametrize("chunks", [[b"abc"], [b"ab", b"c", b"de"], []])
def test_the_writer_refuses_a_stream_of_another_size(chunks: list[bytes]) -> None:
    with pytest.raises(ValueError, match="4 bytes announced"):
        TarWriter(io.BytesIO()).add_stream("a", 4, chunks)


def test_a_stream_is_written_like_its_bytes() -> None:
    file = io.BytesIO()
    writer = TarWriter(file)
    writer.add_stream("a", 5, iter([b"ab", b"", b"cde"]))
    writer.close()
    assert file.getvalue() == write({"a": b"abcde"})


def test_a_member_that_has_been_cut_since_is_damage() -> None:
    member = read_members(BytesSource(TWO + END))[1]
    with pytest.raises(Damage, match="short_header"):
        read_member(BytesSource(TWO[:1600]), member)


class ShrinkingSource(BytesSource):
    @property
    def size(self) -> int:
        return len(TWO + END)


def test_a_tar_that_is_shorter_than_its_source_says_is_damage() -> None:
    with pytest.raises(Damage, match="short_header"):
        read_members(ShrinkingSource(TWO + END[:1000]))


@dataclass
class Huge:
    """A tar of one file of many GiB and as long a padding, both of them only promised."""

    head: bytes
    size: int
    longest: int = 0

    def read_at(self, offset: int, length: int) -> bytes:
        self.longest = max(self.longest, length)
        return self.head[offset : offset + length].ljust(length, b"\0")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Huge(header("a", 7 << 30), (7 << 30) + 2048),
        lambda: Huge(TWO, 1 << 28),
    ],
    ids=["data", "padding"],
)
def test_memory_is_bounded_whatever_the_size(make: Callable[[], Huge]) -> None:
    source = make()
    assert read_members(source)
    assert source.longest <= 1 << 20


def test_a_header_and_the_first_bytes_of_its_data_are_one_read() -> None:
    source = BytesSource(TWO + END)
    read_members(source)
    assert len(source.requests) == 2 + 2


def test_a_file_that_is_no_tar_is_told_as_such() -> None:
    with pytest.raises(Damage, match=r"header at byte 0: no number declared, \d+ found"):
        read_members(BytesSource(b"no tar " * 500))
