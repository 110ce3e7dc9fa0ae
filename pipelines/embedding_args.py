"""The flags of the commands about what is to be embedded."""

from __future__ import annotations

from dataclasses import dataclass

from resplice.pipelines.flags import Common, JobArgs, flag, workspace

PENDING = "data/pending_embedding_paths"
CHECKPOINT = "data/embed_checkpoint.json"
SHARDS = "data/embeddings"


@dataclass(frozen=True, kw_only=True)
class IdentityArgs:
    """Flags that say, beside embedder and windows, which vectors are meant."""

    model_sha256: str | None = flag("SHA-256 that the model must have.", key="embed.model_sha256")
    sample_rate: int | None = flag("Hz of the audio that the model takes.", key="embed.sample_rate")
    pooling: str | None = flag("How the model's frames become one vector.", key="embed.pooling")
    output: str | None = flag("Output of the model; default: its first.", key="embed.output")
    duration_s: float | None = flag("Guard: the canonical 120, or with --allow-noncanonical the first seconds.")
    allow_noncanonical: bool = flag("Allow another --duration-s than 120.", False)


@dataclass(frozen=True, kw_only=True)
class EmbedArgs(IdentityArgs, JobArgs):
    """Flags of every command that embeds."""

    run_id: str | None = flag("Name of the run; the same name resumes it; default: embed- and the moment.", named=True)
    out: str = flag(f"Folder or s3:// URL of the shards; default: {SHARDS}.", SHARDS)
    library: str | None = flag("Keep this library as well: meta.json, and vectors/ beside it.")
    embedder: str | None = flag("What makes the vectors: logmel, onnx:PATH, or one of yours.", key="embed.embedder")
    windows: str | None = flag("What is embedded: full, canonical or fixed:LEN/HOP (seconds).", key="embed.windows")
    batch_size: int | None = flag("Windows that the embedder is given at once.", key="embed.batch_size")
    checkpoint_every: int = flag("Paths after which the checkpoint is written; default: 100.", 100, minimum=1)
    retry_quarantined: bool = flag("Try what is in the quarantine again.", False)
    preview: bool = flag("Write preview.html beside the shards: a projection, and nearest neighbours to hear.", False)
    num_workers: int | None = flag("The same as --workers.", key="run.workers")
    workspace: str | None = workspace()


@dataclass(frozen=True, kw_only=True)
class Embed(EmbedArgs):
    """Embed audio files, or the segments of videos; goes on where it was interrupted."""

    paths: tuple[str, ...] = flag("Audio files and folders of them.", (), positional=True, native=True)
    paths_file: str | None = flag("Paths file: one file or folder a line.", native=True)
    of_run: str | None = flag("Embed the segments of the videos that this run planned.")
    videos: str | None = flag("Embed the segments of the videos listed in this file, one id a line.")
    with_results: bool = flag("Add status and reasons of each segment's live result.", False)
    resume: bool = flag("Skip what is completed and still there with the same identity.", False)
    checkpoint_file: str = flag(f"The checkpoint; default: {CHECKPOINT}.", CHECKPOINT)


@dataclass(frozen=True, kw_only=True)
class EmbedChunks(EmbedArgs):
    """Embed the parts of a gap one by one, each with a checkpoint of its own; goes on where it was interrupted."""

    chunk_glob: str = flag(f"The parts, as `gaps` wrote them; default: {PENDING}.part*.txt.", f"{PENDING}.part*.txt")
    checkpoint_dir: str = flag("Folder of the checkpoints; default: data/checkpoints.", "data/checkpoints")
    start_index: int = flag("Number of the first part, in their order; default: 1.", 1, minimum=1)
    end_index: int = flag("Number of the last part; default: 0, the last there is.", 0, minimum=0)
    resume: bool = flag("Go on by the checkpoint of each part; the default.", False)
    no_resume: bool = flag("Embed all of each part again.", False)
    music_root: tuple[str, ...] = flag(
        "Tell the gap of this folder (repeatable); default: that of the parts.", (), native=True
    )
    exclude_file: str | None = flag("Paths file of what is no gap.", native=True)


@dataclass(frozen=True, kw_only=True)
class AuditArgs(Common):
    """Flags of every command that compares the files that are there with a library."""

    music_root: tuple[str, ...] = flag("Folder or s3:// URL of the audio (repeatable).", (), required=True)
    exclude_file: str | None = flag("Paths file of files and folders that are to be left out.")
    workers: int | None = flag("Files to hash at once.", key="run.workers")
    run_id: str | None = flag("Name of the run, to be noted.")
    workspace: str | None = workspace()


@dataclass(frozen=True, kw_only=True)
class Gaps(IdentityArgs, AuditArgs):
    """List the audio files that have no embedding, or one of other content or embedder."""

    library: str | None = flag("The library to compare with: meta.json; neither it nor --index: nothing is embedded.")
    index: str | None = flag("Folder of the shards to compare with: what embed wrote to --out.")
    embedder: str | None = flag(
        "Take a vector of another embedder, or of other windows, as stale.", key="embed.embedder"
    )
    windows: str | None = flag("Windows that are wanted: full, canonical or fixed:LEN/HOP.", key="embed.windows")
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
    outside: bool = flag("Take entries of paths outside of the folders, too.", False)
    undo: str | None = flag("Put back what this undo file holds, instead.")
    dry_run: bool = flag("Show what --apply would do; the default.", False)
    apply: bool = flag("Do it.", False)
