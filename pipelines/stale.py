"""Review the entries of a library whose file is gone: leave them, keep them beside the tracks, or take them out.

    resplice stale --music-root music --library meta.json --policy archive
    resplice stale --music-root music --library meta.json --policy archive --apply
    resplice stale --library meta.json --undo meta.json.undo-20261128T090000Z.json --apply

Reads   the folders, meta.json.
Writes  with --apply and a policy but keep: LIBRARY.undo-<UTC>.json, then meta.json. Vectors stay where they are.
Skips   entries of paths outside of the folders, whose disk may not be mounted, but for --outside, and then those whose
        file is there; entries of what --exclude-file lists.
Refuses to take anything out where a folder is without audio, or no entry is of any file: a disk that is not mounted.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from resplice.io import documents, walk
from resplice.io.library import LibraryFile
from resplice.pipelines import launch
from resplice.pipelines.auditing import excluded, library_at, roots
from resplice.pipelines.config import Resolved
from resplice.transforms import gaps, paths
from resplice.transforms.gaps import SAMPLES
from resplice.transforms.library import Library, written
from resplice.transforms.records import Damage, Exit, UserError
from resplice.transforms.settings import StoreOptions

KEEP, ARCHIVE = "keep", "archive"
_DONE = {ARCHIVE: "moved to archived_tracks", "prune": "taken out"}


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command."""
    if args.apply and args.dry_run:
        raise UserError("--apply and --dry-run contradict each other: give one of them")
    context = launch.context(args, resolved)
    file = library_at(args.library, context)
    if args.undo:
        return undo(file, args.undo, args.apply)
    if not args.music_root:
        raise UserError("--music-root is missing: add --music-root VALUE, or --undo FILE")
    library, options, given = file.read(), context.settings.store, roots(args.music_root)
    dead = find(library, given, excluded(args.exclude_file), options, take=args.policy != KEEP)
    taken = [key for key in dead if args.outside or is_inside(library.path(key), given)]
    print(f"stale: {len(dead):,} of {len(library.tracks):,} entries of {file.where} are of files that are gone")
    show(taken)
    if left := sorted(set(dead).difference(taken)):
        print(f"{len(left):,} of them are outside of the folders: left (--outside takes them, too)")
        show(left)
    if args.policy == KEEP or not taken:
        print("stale: nothing was written")
    elif args.apply:
        at = take_out(file, library, taken, args.policy)
        print(f"stale: {len(taken):,} entries {_DONE[args.policy]}; what was there: {at}")
    else:
        print(f"nothing was written; with --apply {len(taken):,} entries would be {_DONE[args.policy]}")
    return Exit.DONE


def show(keys: Sequence[str]) -> None:
    """Print the first of some keys, and how many there are beside."""
    for key in keys[:SAMPLES]:
        print(f"  {paths.normal(key)}")
    if len(keys) > SAMPLES:
        print(f"  … and {len(keys) - SAMPLES:,} others")


def is_inside(path: str, given: Sequence[str]) -> bool:
    """Return whether a normalised path lies below one of the native absolute folders."""
    path = paths.normal(paths.escaped(walk.absolute(paths.unescaped(path))))  # without ..
    folders = (paths.normal(paths.escaped(root)) for root in given)
    return any(path.startswith(folder.rstrip("/") + "/") for folder in folders)


def find(
    library: Library, given: Sequence[str], excluded: frozenset[str], options: StoreOptions, take: bool
) -> list[str]:
    """Return the keys whose file is gone. UserError if they are to be taken (`take`), and the folders seem not to be
    those of the library.
    """
    scanned: set[str] = set()
    for root in given:
        files = {file.key for file in walk.walk([root], options).files}
        if take and not files:
            raise UserError(f"--music-root {root} holds no audio file: mount it, or leave it out")
        scanned |= files
    dead = gaps.dead(library, scanned)
    if take and library.tracks and len(dead) == len(library.tracks):
        raise UserError(f"no entry of the library ({dead[0]} for one) is of a file of --music-root: name the right one")
    return [
        key for key in dead
        if not gaps.is_below(library.path(key), excluded) and not walk.exists(library.text(key), options)
    ]  # fmt: skip


def take_out(file: LibraryFile, seen: Library, keys: Sequence[str], policy: str) -> str:
    """Write the undo file, then the library without the keys; return where the undo file is."""
    moment, number = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}", 0
    content = written(Library({"tracks": {key: seen.tracks[key] for key in keys}, "policy": policy, "at": moment}))
    name = f"{file.name}.undo-{moment}.json"
    while not file.place.store.create(name, content):  # another one in this second
        number += 1
        name = f"{file.name}.undo-{moment}-{number}.json"

    def change(now: Library) -> Library:
        if any(now.tracks.get(key) not in (None, seen.tracks[key]) for key in keys):
            raise UserError(f"{file.where} changed while it was reviewed: run the same command again", Exit.AGAIN)
        return now.without(keys, archive=policy == ARCHIVE)

    file.update(change)
    return file.place.path(name)


def undo(file: LibraryFile, name: str, apply: bool) -> int:
    """Put back what an undo file holds, where no such entry is there again."""
    try:
        taken = Library.of(documents.lenient(Path(name).read_bytes(), unique=True)).tracks
    except OSError as error:
        raise UserError(f"--undo {name} cannot be read: {error.strerror}; name an undo file") from None
    except Damage as damage:
        raise UserError(f"--undo {name} is no undo file: {damage}") from None
    missing = len(taken.keys() - file.read().tracks.keys())
    if apply:
        file.update(lambda library: library.restored(taken))
        print(f"stale: {missing:,} of {len(taken):,} entries are back in {file.where}; the others were there again")
    else:
        print(f"nothing was written; with --apply {missing:,} of {len(taken):,} entries would be back in {file.where}")
    return Exit.DONE
