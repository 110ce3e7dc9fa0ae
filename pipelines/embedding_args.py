"""The flags of the commands about what is to be embedded."""

from __future__ import annotations

from dataclasses import dataclass

from resplice.pipelines.flags import Common, flag, workspace

PENDING = "data/pending_embedding_paths"


@dataclass(frozen=True, kw_only=True)
class AuditArgs(Common):
    """Flags of every command that compares the files that are there with a library."""

    music_root: tuple[str, ...] = flag("Folder or s3:// URL of the audio (repeatable).", (), required=True)
    exclude_file: str | None = flag("Paths file of files and folders that are to be left out.")
    workers: int | None = flag("Files to hash at once.", key="run.workers")
    run_id: str | None = flag("Name of the run, to be noted.")
    workspace: str | None = workspace()


@dataclass(frozen=True, kw_only=True)
class Gaps(AuditArgs):
    """List the audio files that have no embedding, or one of other content."""

    library: str | None = flag("The library to compare with: meta.json; neither it nor --index: nothing is embedded.")
    index: str | None = flag("Folder of the shards to compare with: what embed wrote to --out.")
    out_prefix: str = flag(f"P of P.txt, P.part001.txt and P.json; default: {PENDING}.", PENDING)
    chunk_size: int = flag("Paths in each part; default: 2000.", 2000, minimum=1)
    dry_run: bool = flag("Show the counts, and write nothing.", False)


@dataclass(frozen=True, kw_only=True)
class Stale(AuditArgs):
    """Review the entries of a library whose file is gone (dry without --apply)."""

    music_root: tuple[str, ...] = flag("Folder or s3:// URL of the audio (repeatable).", ())  # --undo needs none
    library: str | None = flag("The library: meta.json.", required=True)
    policy: str = flag(
        "What becomes of them: they stay, are kept beside the tracks, or go; default: keep.",
        "keep",
        choices=("keep", "archive", "prune"),
    )
    undo: str | None = flag("Put back what this undo file holds, instead.")
    dry_run: bool = flag("Show what --apply would do; the default.", False)
    apply: bool = flag("Do it.", False)
