"""The gap between the audio files that are there and the library: what each path lacks, and the counts of it.

scanned = ok + missing_meta + missing_embedding_ref + embedding_file_missing + stale_embedding + excluded, and all but
the first and the last are pending.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from resplice.transforms.library import CONTENT, EMBEDDER, WINDOWS, Entry, Library, reference

SAMPLES = 25
SCANNED = "audio_files_scanned"


class State(StrEnum):
    """What a path lacks: an entry, the reference of an entry, the vector's file, or one of its content and embedder."""

    OK = "ok"
    MISSING_META = "missing_meta"
    MISSING_REF = "missing_embedding_ref"
    FILE_MISSING = "embedding_file_missing"
    STALE = "stale_embedding"
    EXCLUDED = "excluded"


PENDING = (State.MISSING_META, State.MISSING_REF, State.FILE_MISSING, State.STALE)


@dataclass(frozen=True)
class Wanted:
    """The embedder, by its digest, and the windows that vectors are to be of."""

    embedder: str
    windows: str

    def fits(self, entry: Entry) -> bool:
        """Return whether an entry is of them; what it does not say does not speak against it."""
        wanted = {EMBEDDER: self.embedder, WINDOWS: self.windows}
        return all(entry.get(name) in (None, value) for name, value in wanted.items())


def state_of(
    entries: Sequence[Entry], has: Callable[[Entry], bool], wanted: Wanted | None = None
) -> State | frozenset[str]:
    """Return the state of a path by its entries, the best of them: the SHA-256s one of which its bytes must have to be
    ok, where only they can tell. `has`: whether the file of an entry's vector is there.
    """
    if not entries:
        return State.MISSING_META
    if not (named := [entry for entry in entries if reference(entry)]):
        return State.MISSING_REF
    if not (there := [entry for entry in named if has(entry)]):
        return State.FILE_MISSING
    if not (fitting := [entry for entry in there if wanted is None or wanted.fits(entry)]):
        return State.STALE
    contents = [entry.get(CONTENT) for entry in fitting]
    return State.OK if None in contents else frozenset(map(str, contents))


def compared(state: State | frozenset[str], sha256: str | None) -> State:
    """Return the state of a path whose bytes have this SHA-256; None: they cannot be read, so nobody can say."""
    if isinstance(state, State):
        return state
    return State.OK if sha256 in state else State.STALE


def is_below(path: str, excluded: Collection[str]) -> bool:
    """Return whether a normalised path, or a folder that it is in, is excluded."""
    return bool(excluded) and (path in excluded or any(folder in excluded for folder in _folders(path)))


def _folders(path: str) -> Iterator[str]:
    while (end := path.rfind("/")) > 0:
        path = path[:end]
        yield path


def dead(library: Library, scanned: Collection[str]) -> list[str]:
    """Return the keys whose path was not scanned, sorted."""
    return sorted(key for path, keys in library.spellings.items() if path not in scanned for key in keys)


def counts(states: Mapping[str, State], library: Library) -> dict[str, Any]:
    """Return the counters of an audit, with up to SAMPLES of what each counts; `states` are those of the scanned paths
    by their normalised text.
    """
    found: dict[str, list[str]] = {f"{state}_total": [] for state in State if state is not State.OK}
    ok = 0
    for path in sorted(states):
        if states[path] is State.OK:
            ok += 1
        else:
            found[f"{states[path]}_total"].append(path)
    found["stale_meta_paths_total"] = dead(library, states.keys())
    found["duplicate_paths_total"] = sorted(path for path, keys in library.spellings.items() if len(keys) > 1)
    found["pending_embedding_total"] = pending(states)
    totals = {name: len(paths) for name, paths in found.items()}
    samples = {name: paths[:SAMPLES] for name, paths in found.items()}
    return {SCANNED: len(states), "ok": ok, **totals, "samples": samples}


def pending(states: Mapping[str, State]) -> list[str]:
    """Return the paths that are to be embedded, sorted."""
    return sorted(path for path, state in states.items() if state in PENDING)
