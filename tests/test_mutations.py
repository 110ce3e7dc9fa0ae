"""A right tar, changed at random: what is read of it is what was in it, or it is refused; it is never silently shorter.

What decides is what decides in a run: the walk over the headers, the members against the rows, each FLAC against its
own MD5. A change inside the data of a member may be other data; a member that has another size must mean the same.
(`metadata.json` is not in these tars: no row tells that there must be one.)
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hostile_flacs import noise
from hostile_tars import sealed
from test_tars import BytesSource, write

from resplice.io import audio, documents, tars
from resplice.transforms import audit, provenance
from resplice.transforms.audit import RowName
from resplice.transforms.flac import HEAD, StreamInfo, parse_streaminfo
from resplice.transforms.names import read_row_or_none, stem
from resplice.transforms.records import Damage, Segment
from resplice.transforms.repack import member_names

SEED = 20250601
VIDEO = "video-1"
RAW = frozenset({"a.flac", "b.flac", "c.flac", "lång " * 30 + "d.flac"})
FILES = ["a.flac", "b.flac", "c.flac_split0", "c.flac_split1", "lång " * 30 + "d.flac"]
SEGMENTS = [segment for file in FILES if (segment := read_row_or_none(file, RAW))]
ROWS = [RowName(n, file, segment) for n, (file, segment) in enumerate(zip(FILES, SEGMENTS, strict=True))]


def content(segment: Segment, number: int) -> tuple[bytes, bytes]:
    """Return the FLAC and the JSON of a segment, the latter of one to four blocks."""
    flac = audio.encode(noise(300 + 40 * number, seed=number), 16_000, 16)
    return flac, provenance.document({"stem": stem(segment), "text": "some words " * 30 * number})


def members() -> dict[str, bytes]:
    found = {}
    for number, segment in enumerate(SEGMENTS):
        found.update(zip(member_names(VIDEO, stem(segment)), content(segment, number), strict=True))
    return dict(sorted(found.items()))


MEMBERS = members()
TAR = write(MEMBERS)
HEADERS = [m.offset - 512 for m in tars.read_members(BytesSource(TAR))]
HEADERS += [at for at in range(0, len(TAR), 512) if TAR[at + 156] == ord("x") and TAR[at + 257 :][:5] == b"ustar"]
SIZES = [b"%011o\0" % n for n in (0, 1, 511, 512, 513, 1024, 8**10)]
SIZES += [b"\x80" + bytes(10) + b"\1", b"\xff" * 12, b"-1"]
NAMES = [name.encode()[:99] + b"\0" for name in MEMBERS] + [b"../a\0", b"/a\0", b"\0", b"./\0", b"other\0"]
FIELDS: dict[int, tuple[int, list[bytes]]] = {
    0: (100, NAMES),
    100: (8, [b"0000000\0"]),
    124: (12, SIZES),
    136: (12, [b"77777777777\0"]),
    156: (1, [bytes([kind]) for kind in b"0123456789xgLKSDVMZ\0"]),
    157: (100, NAMES),
    257: (8, [b"ustar  \0", b"ustar\00000", bytes(8)]),
    345: (155, [b"..\0", b"other\0", b"\0"]),
}
"""Where a field of a header begins, how long it is, and values that might deceive a reader."""


@dataclass
class Mutation:
    """One change of the tar, by its own random numbers."""

    rng: random.Random

    def __call__(self, data: bytes) -> bytes:
        kinds: list[Callable[[bytes], bytes]] = [
            self.bits, self.bytes, self.cut, self.append, self.remove, self.repeat, self.overwrite, self.swap,
            self.field, self.field, self.size, self.end, self.zeros,
        ]  # fmt: skip
        return self.rng.choice(kinds)(data)

    def bits(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self.rng.choice([1, 1, 2, 8])):
            changed[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
        return bytes(changed)

    def bytes(self, data: bytes) -> bytes:
        at, length = self.rng.randrange(len(data)), self.rng.choice([1, 1, 8, 512])
        return data[:at] + self.rng.randbytes(length) + data[at + length :]

    def cut(self, data: bytes) -> bytes:
        at = self.rng.randrange(len(data))
        return data[: at // 512 * 512 if self.rng.random() < 0.5 else at]

    def append(self, data: bytes) -> bytes:
        return data + self.rng.choice([b"x", bytes(512), data, self.rng.randbytes(700), data[:512]])

    def _blocks(self, data: bytes) -> tuple[int, int]:
        start = self.rng.choice(HEADERS) if self.rng.random() < 0.5 else self.rng.randrange(0, len(data), 512)
        return start, start + 512 * self.rng.choice([1, 1, 2, 3, 4, 5, 6])

    def remove(self, data: bytes) -> bytes:
        start, end = self._blocks(data)
        return data[:start] + data[end:]

    def repeat(self, data: bytes) -> bytes:
        (start, end), (at, _) = self._blocks(data), self._blocks(data)
        return data[:at] + data[start:end] + data[at:]

    def overwrite(self, data: bytes) -> bytes:
        (start, end), (at, _) = self._blocks(data), self._blocks(data)
        return data[:at] + data[start:end] + data[at + end - start :]

    def swap(self, data: bytes) -> bytes:
        (one, end), (other, _) = sorted([self._blocks(data), self._blocks(data)])
        length = min(end - one, other - one)
        return data[:one] + data[other : other + length] + data[one + length : other] + data[one:][:length] + data[
            other + length :
        ]  # fmt: skip

    def field(self, data: bytes) -> bytes:
        """Change a field of a header, and make its checksum right again."""
        at, (start, (length, values)) = self.rng.choice(HEADERS), self.rng.choice(list(FIELDS.items()))
        value = self.rng.choice(values) if self.rng.random() < 0.8 else self.rng.randbytes(length)
        return self._sealed(data, at, start, value[:length])

    def size(self, data: bytes) -> bytes:
        """Change the size of a member by a little, and make the checksum right again."""
        at = self.rng.choice(HEADERS)
        size = int(TAR[at + 124 : at + 135], 8)
        moved = max(0, size + self.rng.choice([-1024, -512, -2, -1, 1, 2, 511, 512, 1024, -size]))
        return self._sealed(data, at, 124, b"%011o\0" % moved)

    def _sealed(self, data: bytes, at: int, start: int, value: bytes) -> bytes:
        header = data[at : at + 512]
        if len(header) < 512:
            return data
        header = header[:start] + value + header[start + len(value) :]
        return data[:at] + sealed(header, signed=self.rng.random() < 0.1) + data[at + 512 :]

    def end(self, data: bytes) -> bytes:
        """Change something in the last blocks, or their number."""
        body, at = data[:-1024], self.rng.randrange(1024)
        return self.rng.choice([
            data[:-at], body + bytes(at), data + bytes(at), body + bytes(1024 + 512 * 7), body + data[:1024],
            body + bytes(at) + b"\1" + bytes(1023 - at), data + bytes(5000) + b"x", body + bytes(512) + data[:512],
        ])  # fmt: skip

    def zeros(self, data: bytes) -> bytes:
        """Put zero blocks in between."""
        at = self.rng.choice(HEADERS) if self.rng.random() < 0.5 else self.rng.randrange(0, len(data), 512)
        return data[:at] + bytes(512 * self.rng.choice([1, 2, 3])) + data[at:]


def decision(data: bytes) -> tuple[str, dict[str, bytes]]:
    """Return what becomes of a tar ("taken", or by what it is refused), and its members if it is taken."""
    source = BytesSource(data)
    try:
        found = {member.name: member for member in tars.read_members(source)}
    except Damage as damage:
        return damage.code, {}
    sorted_ = audit.transcribed_content(VIDEO, found)
    reading = audit.read_names(sorted_, ROWS, RAW)
    if not reading.fits or audit.faults(sorted_, reading, ROWS, _infos(sorted_.flacs, found)):
        return "not the members of the rows", {}
    taken = {name: tars.read_member(source, member) for name, member in found.items()}
    try:
        for name, bytes_ in taken.items():
            meaning(name, bytes_)
    except Damage as damage:
        return damage.code, {}
    return "taken", taken


def _infos(flacs: dict[str, str], found: dict[str, tars.Member]) -> dict[str, StreamInfo | None]:
    infos: dict[str, StreamInfo | None] = {}
    for name, member in flacs.items():
        try:
            infos[name] = parse_streaminfo(found[member].head[:HEAD])
        except Damage:
            infos[name] = None
    return infos


def meaning(name: str, data: bytes) -> object:
    """Return the MD5 of the PCM of a FLAC that is whole, or the value of a JSON."""
    if name.endswith(".json"):
        return documents.parse(data)
    decoded = audio.decode(data, 1 << 20)
    audio.verify(decoded)
    return decoded.md5


def is_as_before(taken: dict[str, bytes]) -> bool:
    """Return whether all members are there, each as long as before, or of the same meaning."""
    return taken.keys() == MEMBERS.keys() and all(
        len(data) == len(MEMBERS[name]) or meaning(name, data) == meaning(name, MEMBERS[name])
        for name, data in taken.items()
    )


def check(count: int) -> Counter[str]:
    """Change the tar so many times; return how often each decision was made."""
    decisions: Counter[str] = Counter()
    for number in range(count):
        rng = random.Random(f"{SEED}-{number}")
        data = TAR
        for _ in range(rng.choice([1, 1, 1, 2])):
            data = Mutation(rng)(data) if data else data
        made, taken = decision(data)
        assert made != "taken" or is_as_before(taken), f"mutation {SEED}-{number} gave {sorted(taken)}"
        decisions["not changed" if data == TAR else made] += 1
    return decisions


def test_the_tar_itself_is_taken() -> None:
    assert decision(TAR) == ("taken", MEMBERS)


def test_a_changed_tar_is_what_it_was_or_refused() -> None:
    decisions = check(400)
    assert len(decisions) > 8, decisions  # the changes are of many kinds


@pytest.mark.slow
def test_ten_thousand_changed_tars_are_what_they_were_or_refused() -> None:
    decisions = check(10_000)
    print(f"\nseed {SEED}: {dict(decisions.most_common())}")
    assert sum(decisions.values()) == 10_000
    assert decisions.keys() >= {"taken", "not the members of the rows", "bad_checksum", "short_header", "no_end",
                                "bad_size", "trailing_data", "duplicate_member", "special_member", "unsafe_path",
                                "flac_truncated", "json_invalid"}  # fmt: skip
