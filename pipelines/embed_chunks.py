"""Embed the parts of a gap one after another, each with a checkpoint of its own.

    resplice embed-chunks --chunk-glob "data/pending.part*.txt" --checkpoint-dir data/checkpoints --library meta.json

Reads   the parts, in the order of their numbers, and what embed reads.
Writes  CHECKPOINT_DIR/<stem of the part>.json with its logs, and what embed writes; the gap after each part, on stdout.
Skips   what the checkpoint of a part says is embedded, and still is: it resumes.
Exit 2 if no part matches, 3 if nothing of a part could be embedded; the parts after it are worked on all the same.
"""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from resplice.transforms.records import Exit, UserError

_GOES_ON = (Exit.DONE, Exit.INCOMPLETE)


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
