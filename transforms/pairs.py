"""Reference and distorted files of a corpus of pairs: which name belongs to which."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from resplice.transforms.records import Reason, Refusal

FORMATS = ("yuv", "y4m", "mp4")
RAW = ".yuv"
_REFERENCE = re.compile(r"(?P<source>.+)_(?P<fps>\d+(?:\.\d+)?)fps", re.DOTALL)
_DISTORTED = re.compile(r"(?P<source>.+)_[^_]+_\d+_[^_]+", re.DOTALL)
_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")


@dataclass(frozen=True)
class Pair:
    """A distorted file and its reference, both by name; `fps` is the rate that the reference is named after."""

    source: str
    distorted: str
    reference: str
    fps: str


def references(names: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """Return (name, frames a second) of the references of each source, from the names of files."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name in sorted(names):
        stem, _, suffix = name.rpartition(".")
        if suffix.lower() in FORMATS and (told := _REFERENCE.fullmatch(stem)) and float(told["fps"]):
            found[told["source"]].append((name, told["fps"]))
    return dict(found)


def _distorted(name: str) -> re.Match[str] | None:
    stem, _, suffix = name.rpartition(".")
    return _DISTORTED.fullmatch(stem) if suffix.lower() in FORMATS else None


def is_distorted(name: str) -> bool:
    """Return whether a file is named as a distorted one."""
    return _distorted(name) is not None


def pair(name: str, of: Mapping[str, Sequence[tuple[str, str]]], sized: bool) -> Pair:
    """Return the pair of a distorted file; `sized`: the size of raw files is known.

    Raises Refusal bad_name, no_reference, name_collision, size_unknown.
    """
    told = _distorted(name)
    if told is None:
        raise Refusal(
            Reason.BAD_NAME, f"a distorted file is named <source>_<quality>_<height>_<bitrate>.{'|'.join(FORMATS)}"
        )
    source = told["source"]
    there = of.get(source, ())
    if not there:
        raise Refusal(Reason.NO_REFERENCE, f"there is no ref/{source}_<fps>fps.{'|'.join(FORMATS)}")
    if len(there) > 1:
        raise Refusal(Reason.NAME_COLLISION, f"{source} has more than one reference: {', '.join(n for n, _ in there)}")
    (reference, fps), *_ = there
    if not sized and any(is_raw(file) for file in (name, reference)):
        raise Refusal(Reason.SIZE_UNKNOWN, "a raw .yuv does not tell its size: give --yuv-size WxH")
    return Pair(source, name, reference, fps)


def is_raw(name: str) -> bool:
    """Return whether a file is raw video, which tells neither its size nor its rate."""
    return name.lower().endswith(RAW)


def size(text: str) -> tuple[int, int]:
    """Return (width, height) of `WxH`. Raises ValueError."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no size: WxH, as 1920x1080")
    return int(found[1]), int(found[2])
