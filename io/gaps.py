"""The gap audit: the files that are there against a library, and the lists of what is pending."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resplice.io import documents, refusals
from resplice.io.digests import Digests, hashed
from resplice.io.library import LibraryFile
from resplice.io.local import LocalStore
from resplice.io.store import Store
from resplice.io.vectors import Index
from resplice.io.walk import Listed, walk
from resplice.transforms import gaps, paths, provenance
from resplice.transforms.embedding import Present
from resplice.transforms.gaps import SCANNED, State, Wanted
from resplice.transforms.library import CONTENT, EMBEDDER, REF, TRACKS, WINDOWS, Library
from resplice.transforms.records import Damage, UserError
from resplice.transforms.settings import StoreOptions
from resplice.transforms.windows import FIXED

Shown = Callable[[int, Callable[[Callable[[int], None]], None]], None]


@dataclass(frozen=True)
class Audit:
    """What is looked at: native paths of files and folders, against the entries of a library.

    `file` is the library's, None where the entries are those of an index, whose vectors are there with their rows.
    `excluded` are normalised paths of files or folders.
    """

    given: Sequence[str]
    library: Library
    file: LibraryFile | None = None
    wanted: Wanted | None = None
    excluded: frozenset[str] = frozenset()
    options: StoreOptions = field(default_factory=StoreOptions)
    workers: int = 1


@dataclass(frozen=True)
class Found:
    """The state of each scanned path by its normalised text, and the text that opens it."""

    states: Mapping[str, State]
    files: Mapping[str, Listed]
    library: Library

    @property
    def pending(self) -> list[str]:
        """Return the texts that open the pending files, in the order of their paths."""
        return [self.files[path].path for path in gaps.pending(self.states)]

    def counts(self) -> dict[str, Any]:
        """Return the counters and samples."""
        return gaps.counts(self.states, self.library)


def of_index(store: Store, wanted: Wanted | None = None) -> Library:
    """Return the current rows of a folder of shards as a library would have them: an entry a file.

    Of a file with rows of one window each and rows of many the wanted ones count, else those that were written last.
    """
    many = wanted is not None and wanted.windows.startswith(FIXED)
    found: dict[str, Present] = {}
    for index in (Index(store, not many), Index(store, many)):
        index.refresh()
        for key, there in index.present.items():
            if wanted or key not in found or there.writing > found[key].writing:
                found[key] = there
    return Library({TRACKS: {key: _entry(there) for key, there in found.items()}})


def _entry(there: Present) -> dict[str, str]:
    values = there.at.shard, there.identity.content, there.identity.embedder, there.identity.windows
    return dict(zip((REF, CONTENT, EMBEDDER, WINDOWS), values, strict=True))


def _at_once(total: int, work: Callable[[Callable[[int], None]], None]) -> None:
    work(lambda done: None)


def audit(ask: Audit, memory: Digests, shown: Shown = _at_once) -> Found:
    """Scan, and compare; only files whose entry names a content are hashed, and those only if their token is new.

    `shown` runs the hashing of so many files, and may tell how far it is.
    """
    files = {file.key: file for file in walk(ask.given, ask.options).files}
    has = ask.file.has if ask.file else lambda entry: True
    first = {
        path: State.EXCLUDED
        if gaps.is_below(path, ask.excluded)
        else gaps.state_of(ask.library.entries(path), has, ask.wanted)
        for path in files
    }
    unsure = [files[path] for path, state in first.items() if not isinstance(state, State)]
    contents: dict[str, str | None] = {}
    if unsure:
        shown(len(unsure), lambda told: contents.update(hashed(unsure, memory, ask.options, ask.workers, told)))
    states = {path: gaps.compared(state, contents.get(path)) for path, state in first.items()}
    return Found(states, files, ask.library)


def check(prefix: Path, kept: Mapping[str, str | Path | None]) -> None:
    """Raise UserError where a list would replace a file that is none of an earlier scan, or one that was given: `kept`
    are these by their flags.
    """
    there = [path for path in (prefix.with_name(f"{prefix.name}.json"), prefix.with_name(f"{prefix.name}.txt"))
             if os.path.lexists(path)]  # fmt: skip
    for path in [*there, *(earlier(prefix) if prefix.parent.is_dir() else ())]:
        for flag, given in kept.items():
            if given and Path(given).exists() and path.exists() and path.samefile(given):
                raise UserError(f"--out-prefix {prefix}: {path} is what {flag} names; give another prefix")
        if not path.is_file() or (path.suffix == ".json" and not _is_ours(path)):
            raise UserError(f"--out-prefix {prefix}: {path} is there, and is not of a gap; give another prefix")


def _is_ours(path: Path) -> bool:
    try:
        return SCANNED in documents.lenient(path.read_bytes())
    except (Damage, OSError, TypeError):
        return False


def write(prefix: Path, pending: Sequence[str], size: int, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write PREFIX.txt, PREFIX.part001.txt and so on with `size` paths each, and last PREFIX.json; return its content.

    Parts of an earlier scan that there are no more are removed.
    """
    store, name = LocalStore(str(prefix.parent)), prefix.name
    parts = {f"{name}.part{number:03d}.txt": pending[start : start + size]
             for number, start in enumerate(range(0, len(pending), size), 1)}  # fmt: skip
    for file, texts in {f"{name}.txt": pending, **parts}.items():
        refusals.put(store, file, paths.written(texts))
    for stale in earlier(prefix):
        if stale.name not in parts:
            store.delete(stale.name)
    document = {
        **facts,
        "output_paths_file": f"{prefix}.txt",
        "output_json_file": f"{prefix}.json",
        "chunk_files": [str(prefix.parent / part) for part in parts],
        "chunk_size": size,
    }
    refusals.put(store, f"{name}.json", provenance.document(document))
    return document


def earlier(prefix: Path) -> Iterable[Path]:
    """Return the part files of a prefix that are there."""
    part = re.compile(re.escape(prefix.name) + r"\.part\d{3,}\.txt")
    return [path for path in prefix.parent.iterdir() if part.fullmatch(path.name)]
