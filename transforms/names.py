"""Names of segments: the DB's spelling, the canonical stem, and the pair (original, index) behind both.

`(original, index) ↔ stem` is injective and reversible for every non-empty original; a row's `segment_file`
is read by four rules in order, and what fits none of them is `bad_name`.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from resplice.transforms.records import Reason, Refusal, Segment

_D = r"(0|[1-9][0-9]*)"
_BUG_FORM = re.compile(rf"(.*)\.flac_split{_D}", re.DOTALL)
_SPLIT = re.compile(rf"(.*)_split{_D}", re.DOTALL)
_SPLIT_LIKE = re.compile(r".*_split[0-9]+", re.DOTALL)
_ESCAPED = re.compile(r"[%./\\\x00-\x1f\x7f]")
_ESCAPE = re.compile(r"%([0-9A-F]{2})")
_LONGEST = 4000  # far beyond any file system's names, and within what Python reads as a number
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def esc(original: str) -> str:
    """Return `original` as a safe base name: no dot, slash, control character or trailing `_splitD` of its own."""
    escaped = _ESCAPED.sub(lambda m: f"%{ord(m[0]):02X}", original)
    own_split = _SPLIT.fullmatch(escaped)
    return escaped if own_split is None else f"{own_split[1]}%5Fsplit{own_split[2]}"


def unesc(escaped: str) -> str | None:
    """Return the original whose `esc` is `escaped`, or None if there is none."""
    original = _ESCAPE.sub(lambda m: chr(int(m[1], 16)), escaped)
    return original if original and esc(original) == escaped else None


def stem(segment: Segment) -> str:
    """Return the canonical base name of a segment, the same for its FLAC, its JSON and its result."""
    suffix = "" if segment.index is None else f"_split{segment.index}"
    return esc(segment.original) + suffix


def parse_stem(text: str) -> Segment | None:
    """Return the segment whose canonical stem is `text`, or None if `text` is no canonical stem."""
    return None if _SURROGATE.search(text) or len(text) > _LONGEST else segment_of(text)


def segment_of(stem: str) -> Segment | None:
    """Return the segment that has this stem, however long it is; None if none has."""
    split = _SPLIT.fullmatch(stem)
    original = unesc(split[1] if split else stem)
    return None if original is None else Segment(original, int(split[2]) if split else None)


def read_row(segment_file: str, raw_names: Collection[str] | None) -> Segment:
    """Read a row's `segment_file`; `raw_names` are the raw tar's FLAC names (None: missing or unreadable).

    Raises Refusal(bad_name) for an empty name, one that is not UTF-8, or a trailing `_split` with digits
    that are no split number.
    """
    if not segment_file or _SURROGATE.search(segment_file):
        raise _bad(segment_file, "empty" if not segment_file else "not UTF-8")
    if len(segment_file) > _LONGEST:
        raise _bad(segment_file[:80] + "…", f"{len(segment_file)} characters")
    if bug_form := _BUG_FORM.fullmatch(segment_file):
        return _segment(segment_file, bug_form[1], int(bug_form[2]))
    name = segment_file.removesuffix(".flac")
    if name != segment_file and raw_names is not None and segment_file in raw_names:
        return _segment(segment_file, name, None)
    if split := _SPLIT.fullmatch(name):
        return _segment(segment_file, unesc(split[1]) or split[1], int(split[2]))
    if _SPLIT_LIKE.fullmatch(name):
        raise _bad(segment_file, "its split number is not 0 or digits without a leading zero")
    return _segment(segment_file, unesc(name) or name, None)


def read_row_or_none(segment_file: str, raw_names: Collection[str] | None) -> Segment | None:
    """Read a row's `segment_file` as `read_row` does; None where that refuses."""
    try:
        return read_row(segment_file, raw_names)
    except Refusal:
        return None


def _segment(segment_file: str, original: str, index: int | None) -> Segment:
    if not original:
        raise _bad(segment_file, "it names no original")
    return Segment(original, index)


def _bad(segment_file: str, why: str) -> Refusal:
    return Refusal(Reason.BAD_NAME, f"{why}: {segment_file!r}", segment_file)
