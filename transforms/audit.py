"""What is in a tar, and whether it is what the rows of its video say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from resplice.transforms.flac import StreamInfo
from resplice.transforms.names import parse_stem, read_row_or_none
from resplice.transforms.records import Damage, Reason, Segment

SPLIT_LENGTH_TOLERANCE_S = 0.05


@dataclass(frozen=True)
class TarContent:
    """The members of one tar: `flacs` and `jsons` map a name without extension to its member; `extra` fit nowhere."""

    flacs: dict[str, str] = field(default_factory=dict)
    jsons: dict[str, str] = field(default_factory=dict)
    metadata: str | None = None
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowName:
    """What names a row: the DB's spelling, the segment it means (None: bad_name), and its duration, if known."""

    id: int | str
    segment_file: str
    segment: Segment | None
    duration_s: float | None = None


def in_stem_order(rows: Iterable[RowName]) -> list[tuple[Segment, RowName]]:
    """Return the rows that name a segment, in stem order."""
    named = [(row.segment, row) for row in rows if row.segment]
    return sorted(named, key=lambda pair: pair[0].order)


def raw_content(video_id: str, names: Iterable[str]) -> TarContent:
    """Sort the members of a raw tar: `{video_id}/segments/N.flac` or `segments/N.flac`; others do no harm.

    Raises Damage duplicate_member if both spellings of one segment are there.
    """
    flacs: dict[str, str] = {}
    metadata = None
    extra = []
    for name in names:
        folder = next((f for f in (f"{video_id}/segments/", "segments/") if name.startswith(f)), None)
        if name in ("metadata.json", f"{video_id}/metadata.json"):
            metadata = name if metadata is None or name == "metadata.json" else metadata
        elif folder is not None and name.endswith(".flac"):
            stem = name.removeprefix(folder).removesuffix(".flac")
            if stem in flacs:
                raise Damage("duplicate_member", f"{flacs[stem]} and {name} are one segment")
            flacs[stem] = name
        else:
            extra.append(name)
    return TarContent(flacs, {}, metadata, tuple(extra))


def transcribed_content(video_id: str, names: Iterable[str]) -> TarContent:
    """Sort the members of a transcribed tar: `{video_id}/segments/*.flac`, `{video_id}/transcriptions/*.json`."""
    flacs: dict[str, str] = {}
    jsons: dict[str, str] = {}
    metadata = None
    extra = []
    segments, transcriptions = f"{video_id}/segments/", f"{video_id}/transcriptions/"
    for name in names:
        if name in ("metadata.json", f"{video_id}/metadata.json"):
            metadata = name if metadata is None or name == "metadata.json" else metadata
        elif name.startswith(segments) and name.endswith(".flac"):
            flacs[name.removeprefix(segments).removesuffix(".flac")] = name
        elif name.startswith(transcriptions) and name.endswith(".json"):
            jsons[name.removeprefix(transcriptions).removesuffix(".json")] = name
        else:
            extra.append(name)
    return TarContent(flacs, jsons, metadata, tuple(extra))


@dataclass(frozen=True)
class Reading:
    """A tar's names as segments. `fits`: the FLACs and the JSONs are exactly the rows' segments, one each."""

    flacs: dict[str, Segment | None]
    jsons: dict[str, Segment | None]
    fits: bool

    def member_of(self) -> dict[Segment, str]:
        """Return the FLAC name of each segment."""
        return {segment: name for name, segment in self.flacs.items() if segment is not None}


def read_names(content: TarContent, rows: Sequence[RowName], raw_names: frozenset[str] | None) -> Reading:
    """Read a tar's names as canonical stems, or as rows `N.flac`: the reading that fits, else the second."""
    wanted = sorted((row.segment.order for row in rows if row.segment), key=str)
    complete = all(row.segment for row in rows)

    def read(rule: Callable[[str], Segment | None]) -> Reading:
        flacs, jsons = ({name: rule(name) for name in names} for names in (content.flacs, content.jsons))
        fits = complete and _orders(flacs) == wanted and _orders(jsons) == wanted
        return Reading(flacs, jsons, fits)

    as_stems = read(parse_stem)
    return as_stems if as_stems.fits else read(lambda name: read_row_or_none(name + ".flac", raw_names))


def _orders(names: Mapping[str, Segment | None]) -> list[tuple[str, int]] | None:
    if None in names.values():
        return None
    return sorted((segment.order for segment in names.values() if segment), key=str)


def faults(
    content: TarContent, reading: Reading, rows: Sequence[RowName], infos: Mapping[str, StreamInfo | None]
) -> set[Reason]:
    """Return what is wrong with a readable tar: members_missing, tar_mismatch, both or neither.

    infos: FLAC name without extension → its STREAMINFO (None: it has none that can be read).
    """
    found: set[Reason] = set()
    flacs, jsons = (Counter(s for s in names.values() if s) for names in (reading.flacs, reading.jsons))
    wanted = Counter(row.segment for row in rows)
    if wanted[None] or any(min(flacs[s], 1) < n or min(jsons[s], 1) < n for s, n in wanted.items() if s):
        found.add(Reason.MEMBERS_MISSING)
    extra = content.extra or None in reading.flacs.values() or None in reading.jsons.values()
    unpaired = set(flacs) != set(jsons) or not set(flacs) <= set(wanted)
    twice = any(count > 1 for names in (flacs, jsons) for count in names.values())
    if not rows or extra or unpaired or twice or _split_faults(reading, rows, infos):
        found.add(Reason.TAR_MISMATCH)
    return found


def _split_faults(reading: Reading, rows: Sequence[RowName], infos: Mapping[str, StreamInfo | None]) -> bool:
    """Return whether a split's audio cannot be its own: one MD5 twice in an original, or another length than its row's.

    A split without a readable STREAMINFO cannot be its own either.
    """
    durations = {row.segment: row.duration_s for row in rows if row.segment}
    seen: set[tuple[str, str]] = set()
    for name, segment in reading.flacs.items():
        if segment is None or segment.index is None:
            continue
        info = infos.get(name)
        if info is None or (info.md5_known and (segment.original, info.md5) in seen):
            return True
        seen.add((segment.original, info.md5))
        if differs(info.duration_s, durations.get(segment), SPLIT_LENGTH_TOLERANCE_S):
            return True
    return False


def differs(have_s: float | None, want_s: float | None, tolerance_s: float) -> bool:
    """Return whether two durations, in seconds, are further apart than the tolerance; an unknown one is not."""
    return have_s is not None and want_s is not None and round(abs(have_s - want_s), 9) > tolerance_s
