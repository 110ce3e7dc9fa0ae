"""Embed the parts of a gap one after another, each with a checkpoint of its own.

    resplice embed-chunks --chunk-glob "data/pending.part*.txt" --checkpoint-dir data/checkpoints --library meta.json

Reads   the parts, in the order of their numbers, and what embed reads.
Writes  CHECKPOINT_DIR/<stem of the part>.json with its logs, and what embed writes; the gap after each part, on stdout.
Skips   what the checkpoint of a part says is embedded, and still is: it resumes, but for --no-resume.
Exit 2 if no part matches, 3 if nothing of a part could be embedded; the parts after it are worked on all the same.
"""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from resplice.io import gaps
from resplice.io.context import Context
from resplice.io.gaps import Audit
from resplice.io.library import LibraryFile
from resplice.io.store import Place
from resplice.io.walk import listed
from resplice.pipelines import embed, launch
from resplice.pipelines.auditing import audited, excluded, roots, wanted
from resplice.pipelines.config import Resolved
from resplice.pipelines.embedding_args import Embed, EmbedArgs, EmbedChunks
from resplice.transforms import provenance
from resplice.transforms.gaps import Wanted
from resplice.transforms.records import Exit, UserError

_GOES_ON = (Exit.DONE, Exit.INCOMPLETE)
_LONGEST = 90


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command."""
    if args.resume and args.no_resume:
        raise UserError("--resume and --no-resume contradict each other: give one of them")
    parts = chunks(args.chunk_glob, args.start_index, args.end_index)
    given = roots(args.music_root) or tuple(path for part in parts for path in listed(part))
    context = launch.context(args, resolved)

    def one(part: Path, checkpoint: Path) -> int:
        if not listed(part):
            return Exit.DONE
        return embed.run(of_part(args, part, checkpoint, part == parts[-1]), resolved, beam_argv)

    gap = partial(pending, args, context, given, wanted(args, resolved))
    return each(parts, Path(args.checkpoint_dir), one, gap, print)


def of_part(args: EmbedChunks, part: Path, checkpoint: Path, last: bool) -> Embed:
    """Return the flags by which a part is embedded: a run of its own, named by the part; the preview is of the last."""
    common = {field.name: getattr(args, field.name) for field in fields(EmbedArgs)}
    common["preview"] = args.preview and last
    common["run_id"] = f"{str(args.run_id)[:_LONGEST]}-{run_name(part.stem)}"
    return Embed(**common, paths_file=str(part), checkpoint_file=str(checkpoint), resume=not args.no_resume)


def run_name(stem: str) -> str:
    """Return what the name of a run tells of its part: the stem, with a digest of it where it cannot be told as it is,
    so that two parts are never one run.
    """
    name = re.sub(r"\.{2,}", ".", re.sub(r"[^\w.:@-]", "_", stem, flags=re.ASCII))
    return name if name == stem and len(name) <= _LONGEST else f"{name[-_LONGEST:]}-{_digest(stem)}"


def _digest(stem: str) -> str:
    return provenance.sha256(os.fsencode(stem))[:8]


def pending(args: EmbedChunks, context: Context, given: Sequence[str], compared: Wanted | None) -> int:
    """Return how many files are pending now: by the library, else by the shards."""
    settings = context.settings
    file = LibraryFile.at(args.library, settings.store) if args.library else None
    shards = Place(embed.url_of(args.out), options=settings.store)
    library = file.read() if file else gaps.of_index(shards.store, compared)
    ask = Audit(given, library, file, compared, excluded(args.exclude_file), settings.store, settings.run.workers)
    found = audited(ask, context, "embed-chunks", args.quiet, save=not args.dry_run)
    return int(found.counts()["pending_embedding_total"])


def chunks(pattern: str, start: int, end: int) -> list[Path]:
    """Return the files that match a pattern, in the order of the numbers in their names, from the `start`-th to the
    `end`-th (1-based; 0: the last). UserError for no match, a range outside, or two files of one stem.
    """
    found = sorted(filter(Path.is_file, map(Path, glob.glob(pattern, recursive=True))), key=_order)  # noqa: PTH207
    if not found:
        raise UserError(f"--chunk-glob {pattern!r} matches no file; `resplice gaps` writes them")
    last = end or len(found)
    if not 1 <= start <= last <= len(found):
        raise UserError(
            f"--start-index {start} to --end-index {end}: {len(found)} files match --chunk-glob, so give 1 to "
            f"{len(found)}, the start before the end"
        )
    stem, count = Counter(path.stem for path in found).most_common(1)[0]
    if count > 1:
        raise UserError(f"--chunk-glob {pattern!r} matches {count} files {stem!r}: their checkpoints would be one")
    return found[start - 1 : last]


def _order(path: Path) -> list[tuple[int, int, str]]:
    """Return a key by which 2 comes before 10."""
    parts = re.findall(r"\d+|\D+", str(path))
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts]


def each(
    parts: Sequence[Path], checkpoints: Path, embed: Callable[[Path, Path], int], gap: Callable[[], int],
    say: Callable[[str], None],
) -> int:  # fmt: skip
    """Embed part after part; tell the gap, and by how much it is smaller, after each. Return the exit code.

    `embed` gets the part and its checkpoint and returns an exit code; one that is neither 0 nor 3 ends the work.
    """
    worst, before = int(Exit.DONE), gap()
    say(f"embed-chunks: {len(parts)} parts; {before:,} files pending")
    for number, part in enumerate(parts, 1):
        code = embed(part, checkpoints / f"{part.stem}.json")
        after = gap()
        delta = f"{before:,} → {after:,} pending ({after - before:+,})"
        say(f"embed-chunks: {part.name} ({number} of {len(parts)}): {delta}")
        before, worst = after, max(worst, code)
        if code not in _GOES_ON:
            return code
    return worst
