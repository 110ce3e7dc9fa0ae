"""demo: write a corpus as the bug left it, and the truth about it.

    resplice demo demo --size 120

Reads: nothing. Writes: DIR/raw, DIR/transcribed, DIR/validation, DIR/corpus.sqlite, DIR/resplice.toml, DIR/demo.json,
and last DIR/truth.json. Skips: a folder that holds this very demo. Refuses: a folder that holds anything else.

The truth comes from how the audio was composed and from the tables of damages; nothing here uses the code that the
demo is there to try.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from resplice.pipelines import demo_damages_names, demo_damages_raw, demo_damages_results, demo_damages_tars
from resplice.pipelines.demo_audio import total_seconds
from resplice.pipelines.demo_places import CONFIG, pairs, write_database, write_json, write_shards, write_tars
from resplice.pipelines.demo_plant import COLLAPSED, Damage
from resplice.pipelines.demo_video import FULL_SHARDS, METADATA_PLACES, SHARDS, Draft, Result, Row, clean, collapsed

VERSION = 1
ALPHABET = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"))
COLLAPSED_SHARE = 0.04
FAILED_SHARE = 0.03
STATUSES = ("validated", "pending", None)

DAMAGES: tuple[Damage, ...] = (
    *demo_damages_tars.TABLE,
    *demo_damages_raw.TABLE,
    *demo_damages_names.TABLE,
    *demo_damages_results.TABLE,
)


@dataclass(frozen=True)
class Args:
    """Options of `demo`: `size` is the number of videos, raised where it is too small to plant every damage once."""

    dir: str
    size: int = 120
    seed: int = 1


@dataclass
class Corpus:
    """What the written videos add up to; their audio is on the disk already."""

    rows: list[tuple[str, list[Row]]] = field(default_factory=list)
    history: list[tuple[str, list[Result]]] = field(default_factory=list)
    videos: list[tuple[str, str | None]] = field(default_factory=list)
    truth: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def start(seed: int, number: int, video_id: str) -> Draft:
    """Return the empty draft of a video; its random numbers depend on `seed` and `number` alone."""
    place = METADATA_PLACES[number % len(METADATA_PLACES)]
    rng = np.random.default_rng([seed, number])
    return Draft(video_id, seed, rng, shard=FULL_SHARDS[number % len(FULL_SHARDS)], metadata=place)


def damaged(seed: int, number: int, damage: Damage) -> tuple[Draft, dict[str, Any]]:
    """Return a video that has the damage, and its truth."""
    draft = start(seed, number, damage.video_id)
    damage.build(draft)
    return draft, draft.truth([damage.name], damage.affected, damage.refused)


def ordinary(seed: int, number: int) -> tuple[Draft, dict[str, Any]]:
    """Return one of the many other videos, a few of which have collapsed splits too, and its truth."""
    draft = start(seed, number, "")
    draft.video_id = "".join(draft.rng.choice(ALPHABET, 11))
    draft.shard = int(draft.rng.integers(SHARDS))
    draft.validation_status = STATUSES[int(draft.rng.integers(len(STATUSES)))]
    if draft.rng.random() < COLLAPSED_SHARE:
        collapsed(draft)
        return draft, draft.truth(["collapsed_splits"], COLLAPSED, None)
    clean(draft, originals=int(draft.rng.integers(2, 5)), longest_s=4.0)
    verdicts = ["failed" if lot < FAILED_SHARE else "passed" for lot in draft.rng.random(len(draft.rows))]
    draft.history = [Result(r.shard, r.segment_file, v) for r, v in zip(draft.history, verdicts, strict=True)]
    return draft, draft.truth([], (), None)


def take(corpus: Corpus, draft: Draft, truth: dict[str, Any]) -> None:
    """Enter a finished video into the corpus."""
    corpus.rows.append((draft.video_id, draft.rows))
    corpus.history.append((draft.video_id, draft.history))
    if draft.in_videos:
        corpus.videos.append((draft.video_id, draft.validation_status))
    corpus.truth[draft.video_id] = truth
    corpus.seconds += total_seconds(draft.originals.values())


def compose_all(root: Path, args: Args, size: int, progress: Callable[[int, int], None] | None) -> Corpus:
    """Write the tars of every video, one video at a time, and return the rest."""
    corpus = Corpus()
    for number in range(size):
        planted = number < len(DAMAGES)
        draft, truth = damaged(args.seed, number, DAMAGES[number]) if planted else ordinary(args.seed, number)
        write_tars(root, draft)
        take(corpus, draft, truth)
        if progress:
            progress(number + 1, size)
    return corpus


def written(root: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """Return the summary of the demo that stands in `root` already, None if it is another, an unfinished or none.

    Raises ValueError if the folder holds something that is no demo, or runs over a demo made with other options.
    """
    if root.exists() and not root.is_dir():
        raise ValueError(f"{root} is a file; demo needs a folder that is new, empty or a demo's.")
    if not root.exists() or not any(root.iterdir()):
        return None
    found = marker(root / "demo.json")
    if found is None:
        raise ValueError(f"{root} is not empty and holds no demo; name a new folder.")
    if found["made_with"] == wanted:
        return found.get("summary") if (root / "truth.json").is_file() else None
    if (root / "workspace").exists():
        raise ValueError(f"{root} holds a demo of {found['made_with']}, not {wanted}, and its runs; name a new folder.")
    return None


def marker(path: Path) -> dict[str, Any] | None:
    """Return the content of a demo.json, None if there is none or it is not one of ours."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "version" in (found.get("made_with") or {}) else None


def make_room(root: Path) -> None:
    """Remove what an earlier demo wrote, and make the folders. Raises ValueError where `A` and `a` are one file."""
    (root / "truth.json").unlink(missing_ok=True)
    for folder in ("raw", "transcribed", "validation"):
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir(parents=True)
    if (root / "RAW").exists():
        raise ValueError(f"{root} is on a file system that does not tell a from A; name a folder on another.")


def size_of(args: Args) -> int:
    """Return the number of videos that are written: every damage is planted once."""
    return max(args.size, len(DAMAGES))


def summarize(corpus: Corpus, asked: int) -> dict[str, Any]:
    """Return the counts that the command prints; `note` says so where more videos were written than asked for."""
    rows = [row for _, found in corpus.rows for row in found]
    size = len(corpus.truth)
    return {
        "videos": size,
        "rows": len(rows),
        "split_rows": sum(row.index is not None for row in rows),
        "hours": round(corpus.seconds / 3600, 3),
        "damages": len(DAMAGES),
        "note": f"--size raised from {asked} to {size}: every damage is planted once" if size > asked else "",
    }


def write(args: Args, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Write the demo corpus and return its counts; a folder that holds this very demo is left as it is.

    `progress` is called with (videos done, videos in all). The same `size` and `seed` give the same bytes of every tar
    and shard, the same content of the database and the same truth. Raises ValueError if the folder cannot be used.
    """
    if args.size < 1 or args.seed < 0:
        raise ValueError(f"demo needs --size of 1 or more and --seed of 0 or more, not {args.size} and {args.seed}.")
    root, size = Path(args.dir), size_of(args)
    made_with = {"seed": args.seed, "size": args.size, "version": VERSION}
    try:
        summary = written(root, made_with)
        if summary is None:
            summary = write_anew(root, args, size, made_with, progress)
    except (PermissionError, NotADirectoryError) as error:
        raise ValueError(f"Cannot write {error.filename}: {error.strerror}; name a folder that is yours.") from error
    return summary


def write_anew(
    root: Path, args: Args, size: int, made_with: dict[str, Any], progress: Callable[[int, int], None] | None
) -> dict[str, Any]:
    """Write every file of the demo, demo.json first (so that the folder is known as one) and truth.json last."""
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / "demo.json", {"made_with": made_with})
    make_room(root)
    corpus = compose_all(root, args, size, progress)
    write_database(root / "corpus.sqlite", pairs(corpus.rows), corpus.videos)
    write_shards(root / "validation", pairs(corpus.history))
    (root / "resplice.toml").write_text(CONFIG, "utf-8")
    summary = summarize(corpus, args.size)
    write_json(root / "demo.json", {"made_with": made_with, "summary": summary})
    write_json(root / "truth.json", corpus.truth)
    return summary
