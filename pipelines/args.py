"""The table of commands, and the flags of the recovery's, as `resplice.pipelines.flags` declares them.

Nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from resplice.pipelines import corpus_args as corpora
from resplice.pipelines.documents_args import (
    Documents,
    DocumentsFind,
    DocumentsLineage,
    DocumentsReport,
    DocumentsShow,
)
from resplice.pipelines.embedding_args import Embed, EmbedChunks, Gaps, Stale
from resplice.pipelines.flags import Base, Common, NamedArgs, RunArgs, flag, workspace
from resplice.pipelines.judging_args import Calibrate, Validate
from resplice.transforms.records import Reason

PLAN_REASONS = tuple(
    str(reason)
    for reason in (
        Reason.SPLIT_ROWS,
        Reason.TAR_MISSING,
        Reason.TAR_UNREADABLE,
        Reason.MEMBERS_MISSING,
        Reason.TAR_MISMATCH,
        Reason.VALIDATION_FAILED,
        Reason.VALIDATION_MISSING,
    )
)
OF_VIDEOS = ("baseline", "plan", "repair", "pack", "validate", "merge", "verify", "finalize", "undo")
"""The stages whose units are videos, so that `--videos` takes a list of them."""
STAGES = (*OF_VIDEOS, "documents", "synthesize", "embed", "bvi-dvc", "konvid-pairs", "full-features")


@dataclass(frozen=True, kw_only=True)
class Baseline(RunArgs):
    """Freeze what is: videos, rows, tar headers and historical results."""

    refresh: bool = flag("Freeze the world anew; exactly the changed videos run again.", False)


@dataclass(frozen=True, kw_only=True)
class Plan(RunArgs):
    """Name the affected videos, each with its reasons."""

    reason: tuple[str, ...] = flag(
        "Plan only videos with this reason (repeatable).", (), key="plan.reasons", choices=PLAN_REASONS
    )
    videos: str | None = flag("Plan only the videos listed in this file, one id a line.")
    limit: int | None = flag("Plan only the first N affected videos by the digest of their ids.", minimum=1)


@dataclass(frozen=True, kw_only=True)
class Repair(RunArgs):
    """Rebuild the wrong tars of planned videos from the raw audio and the rows."""


@dataclass(frozen=True, kw_only=True)
class Pack(RunArgs):
    """Pack new videos as repair does, without a plan or a baseline."""

    videos: str | None = flag("File with the ids of the videos to pack, one a line.", required=True)


@dataclass(frozen=True, kw_only=True)
class Merge(RunArgs):
    """Replace the results of planned videos as a whole and publish a snapshot."""

    on_missing: str | None = flag("Old results of a planned video without new ones.", key="merge.on_missing")


@dataclass(frozen=True, kw_only=True)
class Verify(RunArgs):
    """Put every row of the baseline into one bucket and write the coverage."""


@dataclass(frozen=True, kw_only=True)
class Finalize(NamedArgs):
    """Replace the wrong tars and set the statuses of a verified run (dry without --apply)."""

    dry_run: bool = flag("Show what --apply would do; the default.", False)
    apply: bool = flag("Do it.", False)
    tars: bool = flag("Only the tars (neither --tars nor --statuses: both).", False)
    statuses: bool = flag("Only the statuses.", False)


@dataclass(frozen=True, kw_only=True)
class Undo(Finalize):
    """Restore what finalize replaced, where it still is what we wrote (dry without --apply)."""


@dataclass(frozen=True, kw_only=True)
class Recover(Baseline, Plan, Merge):
    """Run baseline, plan, repair, validate, merge and verify, and print the coverage."""

    yes: bool = flag("Go on after the plan without asking.", False)
    canary: int | None = flag("Repair and validate only N videos, spread over the reasons.", minimum=1)


@dataclass(frozen=True, kw_only=True)
class Status(NamedArgs):
    """Show what a run has done, is doing and refused."""

    workspace: str | None = flag("Folder of the run's files; default: corpus.workspace.", key="corpus.workspace")
    follow: bool = flag("Show the progress of its processes until they have ended.", False)
    json: bool = flag("Print JSON.", False)


@dataclass(frozen=True, kw_only=True)
class Report(NamedArgs):
    """Write the report of a run: report.html for people, report.json for scripts."""

    workspace: str | None = flag("Folder of the run's files; default: corpus.workspace.", key="corpus.workspace")
    dry_run: bool = flag("Decide and report, but write to no store and no database.", False)


@dataclass(frozen=True, kw_only=True)
class Failed(NamedArgs):
    """List the refusals of a run, grouped by stage and reason, or write them as a work list."""

    workspace: str | None = flag("Folder of the run's files; default: corpus.workspace.", key="corpus.workspace")
    stage: str | None = flag("Only this stage.", choices=STAGES)
    reason: tuple[str, ...] = flag(
        "Only this reason (repeatable).", (), choices=tuple(str(reason) for reason in Reason)
    )
    out: str | None = flag("Write the ids of the refused units to this file, one a line.")
    json: bool = flag("Print JSON.", False)


@dataclass(frozen=True, kw_only=True)
class Inspect(Common):
    """Show one video: its rows, raw tar, transcribed tar, old and new results side by side."""

    video: str = flag("Id of the video; one that begins with - is given as: inspect -- ID.", "", positional=True)
    run_id: str | None = flag("Show what this run did with the video, too.")


@dataclass(frozen=True, kw_only=True)
class Export(Common):
    """Write the live results as plain parquet, or the current rows of a folder of embeddings."""

    embeddings: str | None = flag("Write the current rows of these shards instead: what embed wrote to --out.")
    to: str | None = flag("Folder to write.", required=True)
    dry_run: bool = flag("Decide and report, but write to no store and no database.", False)


@dataclass(frozen=True, kw_only=True)
class Snapshots(Common):
    """List the published snapshots."""

    json: bool = flag("Print JSON.", False)


@dataclass(frozen=True, kw_only=True)
class Rollback(Common):
    """Publish an earlier snapshot again."""

    to: int | None = flag("Number of the snapshot to publish again.", required=True, minimum=0)
    run_id: str | None = flag("Name of the run to record with it.")
    dry_run: bool = flag("Decide and report, but write to no store and no database.", False)


@dataclass(frozen=True, kw_only=True)
class Gc(Common):
    """Remove objects that no snapshot needs (dry without --apply)."""

    dry_run: bool = flag("Show what --apply would do; the default.", False)
    apply: bool = flag("Mark them, and delete those that an earlier call marked.", False)
    wait: int = flag("Hours between the mark and the deletion; default: 24.", 24, minimum=0)


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Show the configuration in force, and where each value comes from."""

    example: bool = flag("Print a complete example file instead.", False)


@dataclass(frozen=True, kw_only=True)
class Demo(Base):
    """Write a small damaged corpus with its configuration, to try the recovery on."""

    dir: str = flag("Folder to write.", "", positional=True)
    size: int | None = flag("Number of videos.", minimum=1)
    seed: int | None = flag("Seed of the random generator.", minimum=0)
    dry_run: bool = flag("Say what would be written, and write nothing.", False)


@dataclass(frozen=True, kw_only=True)
class Doctor(Common):
    """Try out all that a recovery needs: what works, what does not, why, and the remedy."""

    json: bool = flag("Print JSON.", False)
    workers: int | None = flag("Cores to use on the in-process runner.", key="run.workers")


@dataclass(frozen=True, kw_only=True)
class Synthesize(RunArgs):
    """Make the audio of the chunks of books that have none, or whose audio failed, and leave the rest alone."""

    pipeline_json: str | None = flag("The state of the books: pipeline.json.", required=True)
    file_id: tuple[str, ...] = flag("Book of pipeline.json to work on (repeatable).", ())
    all: bool = flag("Work on every book of phase3.", False)
    engine: str | None = flag("Engine that makes chunks: espeak, kokoro, xtts, or one of yours.", required=True)
    fallback: str | None = flag("Engine for the chunks that it fails, with a voice of its own.")
    voice: str | None = flag("Voice of --engine; default: the engine's own.")
    timeout: float | None = flag("Seconds that one call of an engine may take; default: 600.")
    workspace: str | None = workspace()


@dataclass(frozen=True)
class Command:
    """One line of the table: the module in resplice.pipelines whose `run` does it, its flags, an example.

    `beam`: it runs a pipeline, and takes Beam's own options too.
    """

    module: str
    args: type[Base]
    example: str
    beam: bool = False


RUN = "--run-id recovery-a"
COMMANDS: dict[str, Command] = {
    "recover": Command("recover", Recover, f"resplice recover {RUN} --yes", beam=True),
    "baseline": Command("baseline", Baseline, f"resplice baseline {RUN}", beam=True),
    "plan": Command("plan", Plan, f"resplice plan {RUN} --reason split_rows --limit 100", beam=True),
    "repair": Command("repair", Repair, f"resplice repair {RUN} --workers 4", beam=True),
    "validate": Command("validate", Validate, f"resplice validate {RUN} --retry all", beam=True),
    "calibrate": Command("calibrate", Calibrate, f"resplice calibrate labels.csv {RUN} --precision 0.95"),
    "merge": Command("merge", Merge, f"resplice merge {RUN} --on-missing keep", beam=True),
    "verify": Command("verify", Verify, f"resplice verify {RUN}", beam=True),
    "finalize": Command("finalize", Finalize, f"resplice finalize {RUN} --apply", beam=True),
    "undo": Command("finalize", Undo, f"resplice undo {RUN} --statuses --apply", beam=True),
    "pack": Command("repair", Pack, "resplice pack --run-id new-a --videos new.txt", beam=True),
    "status": Command("look", Status, f"resplice status {RUN} --follow"),
    "failed": Command("look", Failed, f"resplice failed {RUN} --stage repair --out again.txt"),
    "report": Command("report", Report, f"resplice report {RUN}"),
    "inspect": Command("look", Inspect, f"resplice inspect some_video {RUN}"),
    "export": Command("publish", Export, "resplice export --to results"),
    "snapshots": Command("publish", Snapshots, "resplice snapshots"),
    "rollback": Command("publish", Rollback, "resplice rollback --to 1"),
    "gc": Command("gc", Gc, "resplice gc --apply"),
    "manifest verify": Command("manifest", corpora.ManifestVerify, "resplice manifest verify results.manifest.json"),
    "manifest replay": Command(
        "manifest", corpora.ManifestReplay, "resplice manifest replay results.manifest.json --run"
    ),
    "manifest export": Command("manifest", corpora.ManifestExport, "resplice manifest export results.manifest.json"),
    "corpus bvi-dvc": Command(
        "corpus_bvi_dvc", corpora.BviDvc, "resplice corpus bvi-dvc --cache-dir logs --output bvi_dvc.jsonl", beam=True
    ),
    "corpus konvid-pairs": Command(
        "corpus_konvid_pairs",
        corpora.KonvidPairs,
        "resplice corpus konvid-pairs --konvid-root konvid-1k --out pairs.parquet",
        beam=True,
    ),
    "corpus full-features": Command(
        "corpus_full_features",
        corpora.FullFeatures,
        "resplice corpus full-features --data-root netflix --out features.parquet",
        beam=True,
    ),
    "doctor": Command("doctor", Doctor, "resplice doctor --config resplice.toml", beam=True),
    "config": Command("config", Config, "resplice config --set run.workers=4"),
    "documents": Command("documents", Documents, "resplice documents --run-id backfill-a --strict", beam=True),
    "documents show": Command("documents_look", DocumentsShow, "resplice documents show 3zde0r6h5tbyx4vy"),
    "documents lineage": Command("documents_look", DocumentsLineage, "resplice documents lineage 3zde0r6h5tbyx4vy"),
    "documents find": Command("documents_look", DocumentsFind, "resplice documents find --stage essay --json"),
    "documents-report": Command("documents_report", DocumentsReport, "resplice documents-report --out reports"),
    "synthesize": Command(
        "synthesize",
        Synthesize,
        "resplice synthesize --pipeline-json pipeline.json --file-id book --engine kokoro --fallback xtts "
        "--voice af_bella --run-id book-a",
        beam=True,
    ),
    "embed": Command("embed", Embed, "resplice embed music --out data/embeddings --resume", beam=True),
    "embed-chunks": Command(
        "embed_chunks", EmbedChunks, 'resplice embed-chunks --chunk-glob "data/pending.part*.txt"', beam=True
    ),
    "gaps": Command("gaps", Gaps, "resplice gaps --music-root music --library meta.json"),
    "stale": Command("stale", Stale, "resplice stale --music-root music --library meta.json --policy prune --apply"),
    "demo": Command("demo", Demo, "resplice demo demo --seed 1"),
}
