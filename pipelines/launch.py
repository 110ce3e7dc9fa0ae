"""What every job does around its pipeline: open the run, launch Beam, balance the units, end with the right code."""

from __future__ import annotations

import contextlib
import functools
import gc
import re
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from resplice.io import documents, ledger, refusals, runs, sidecars
from resplice.io import progress as measured
from resplice.io import store as places
from resplice.io.context import Context
from resplice.io.database import without_password
from resplice.io.flink import here
from resplice.io.progress import Counts, Gauge, Watch
from resplice.io.refusals import Refused, Summary
from resplice.pipelines import checks, failures, progress
from resplice.pipelines.config import Resolved
from resplice.pipelines.config import given as given_settings
from resplice.pipelines.keys import safe, safe_words
from resplice.pipelines.running import Servers, quiet, running
from resplice.transforms import provenance
from resplice.transforms.kinds import deciding
from resplice.transforms.provenance import Run
from resplice.transforms.records import Exit, Reason, Refusal, Terminated, Unavailable, UserError
from resplice.transforms.settings import Settings

_NOT_RECORDED = ("config", "set", "quiet", "debug")
_Stage = TypeVar("_Stage", bound=Callable[..., None])


@dataclass
class Session:
    """One process of a run: the context that workers get, the command's arguments, and what it found out."""

    context: Context
    args: Any
    beam_argv: Sequence[str]
    quiet: bool = False
    counts: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    exit_code: int = Exit.DONE
    servers: Servers = field(default_factory=Servers)
    stage: str = ""

    @property
    def settings(self) -> Settings:
        """Return the settings in force."""
        return self.context.settings

    @property
    def dry(self) -> bool:
        """Return whether nothing may be written."""
        return bool(self.context.scratch)

    def say(self, text: str = "") -> None:
        """Print a line of the result."""
        print(text, flush=True)

    def note(self, text: str) -> None:
        """Print a line of progress, unless --quiet."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def pipeline(self) -> Iterator[Any]:
        """Give a Beam pipeline; it runs, and is waited for, when the block ends."""
        try:
            with running(self.beam_argv, self.job_name(), self.servers, self.note, self.args.debug) as pipeline:
                yield pipeline
        except Exception as error:
            if (original := failures.original(error)) is not None:
                if isinstance(original, Unavailable):
                    places.hurry()
                raise original from error
            raise
        except (KeyboardInterrupt, Terminated):  # what is left to note must not wait for a store that hangs
            places.hurry()
            raise
        finally:
            gc.collect()  # what Beam leaves in cycles holds the functions of steps, and what these had read

    def job_name(self) -> str:
        """Return a new name for a job, of the characters that every runner takes: letters, digits and -."""
        words = re.sub(r"[^a-z0-9]+", "-", f"resplice {self.stage} {self.context.run.id}".lower()).strip("-")
        return f"{words[:80]}-{uuid.uuid4().hex[:8]}"

    @contextlib.contextmanager
    def progress(self, gauge: Gauge) -> Iterator[None]:
        """Show how far a stage has come while the block runs: here, and to `status --follow` from run.json."""
        self.stage = gauge.stage
        if gauge.total:
            runs.note(self.context, at_work=asdict(gauge), seconds=self.seconds)
        watch, over = Watch(self.context.workspace.store, gauge), False

        def count() -> Counts:
            return Counts(gauge.total) if over and not gauge.lasting else watch.counts()

        try:
            with progress.shown(gauge.stage, gauge.unit, gauge.total, count, self.quiet, gauge.before):
                yield
                over = True
        except BaseException:
            with contextlib.suppress(OSError, UserError):  # what ended the stage is told
                measured.clear(self.context, gauge)
            raise
        measured.clear(self.context, gauge)

    def refused(self, stage: str, unit: str, refusal: Refusal, at: str = "") -> Refused:
        """Return the line of refused.jsonl for a refusal of this run."""
        return Refused(self.context.run.id, stage, unit, refusal.segment, str(refusal.reason), refusal.detail,
                       at or provenance.now())  # fmt: skip

    def refusals_of(self, stage: str, units: Collection[str]) -> list[Refused]:
        """Return the lines of refused.jsonl for the units whose latest outcome is a refusal."""
        entries = ledger.load(self.context.workspace.store, self.context.stage(stage))
        return [
            self.refused(stage, entry.unit, Refusal(Reason(entry.reason), entry.detail, entry.segment), entry.at)
            for unit in units
            if (entry := entries.get(unit)) and entry.outcome == "refused"
        ]

    def finish(
        self, stage: str, total: int, done: int, skipped: int, refused: Iterable[Refused], unit: str = "video",
        counters: Mapping[str, int] | None = None,
    ) -> Summary:  # fmt: skip
        """Write refused.jsonl and summary.json of a stage; raise unless its units add up."""
        store, key = self.context.workspace.store, self.context.stage(stage)
        refusals.write(store, key, refused)
        summary = refusals.summarise(store, key, stage, total, done, skipped, unit, counters)
        self.counts[stage] = {k: v for k, v in summary.to_json().items() if k not in ("stage", "unit")}
        if not summary.balanced:
            raise RuntimeError(
                f"{stage}: {total} {unit}s in, but {done} done + {skipped} skipped + {summary.refused} refused"
            )
        if total and summary.refused / total > self.settings.run.max_refused:
            self.exit_code = Exit.INCOMPLETE
            self.note(
                f"{stage}: {summary.refused} of {total} refused, more than run.max_refused = "
                f"{self.settings.run.max_refused}"
            )
        return summary


def stage(name: str) -> Callable[[_Stage], _Stage]:
    """Make a function of a session one stage of a run: its seconds are recorded under this name."""

    def timed(work: _Stage) -> _Stage:
        @functools.wraps(work)
        def run_(session: Session, *args: Any, **kwargs: Any) -> None:
            began = time.monotonic()
            try:
                work(session, *args, **kwargs)
            finally:
                session.seconds[name] = round(session.seconds.get(name, 0.0) + time.monotonic() - began, 3)

        return run_  # type: ignore[return-value]

    return timed


def run(
    command: str, args: Any, resolved: Resolved, beam_argv: Sequence[str], job: Callable[[Session], None],
    check: Callable[[Context], None] = lambda context: None, corpus: bool = True,
) -> int:  # fmt: skip
    """Run a job as one process of its run, and return its exit code; `check` comes before anything is written.

    `corpus`: the job reads the corpus, so that its roots must be there.
    """
    places.hurry(False)
    with tempfile.TemporaryDirectory(prefix="resplice-dry-") if args.dry_run else contextlib.nullcontext("") as scratch:
        context = Context(_run(command, args, resolved), _carried(resolved), scratch)
        try:
            roots = ("transcribed",) if command in ("finalize", "undo") else checks.CORPUS
            checks.corpus(context, roots if corpus else ())
            checks.before(context, command)
            check(context)
        except UserError as error:
            if resolved.path is None and corpus:
                raise UserError(f"{error}\n(there is no resplice.toml here, so the defaults hold)") from None
            raise
        checks.honest(context.workspace)
        sidecars.code()  # asked now: the checkout may be another when the first sidecar is written
        context = runs.begin(context)
        session = Session(context, args, _argv(context, beam_argv), quiet=args.quiet)
        _warn_of_folders(session)
        code: int = Exit.FAILED
        try:
            with quiet(args.debug), contextlib.closing(session.servers):
                job(session)
            code = session.exit_code
            if scratch and not hasattr(args, "apply"):  # finalize says it itself
                session.say("dry run: nothing was written")
        except UserError as error:
            code = error.exit_code
            raise
        except KeyboardInterrupt:
            code = Exit.INTERRUPTED
            raise
        except Terminated:
            code = Exit.AGAIN
            raise
        finally:
            with contextlib.suppress(OSError, UserError):  # what ended the job is told, not that it could not be noted
                runs.end(context, code, counts=session.counts, seconds=session.seconds)
        return code


def _argv(context: Context, beam_argv: Sequence[str]) -> Sequence[str]:
    """Return Beam's arguments: on a dry run those of this process, as no worker elsewhere sees its scratch folder."""
    from resplice.pipelines import options  # Beam, which not every command loads

    if not context.scratch or not beam_argv or options.in_process(beam_argv):
        return beam_argv
    return options.beam_argv([], {}, context.settings.run.workers)


def _warn_of_folders(session: Session) -> None:
    """Say so where workers on other machines are to read what only this one may have."""
    from resplice.pipelines import options  # Beam, which not every command loads

    master = options.flink_of(session.beam_argv) if session.beam_argv else ""
    local = checks.folders(session.context) if master and not here(master) else []
    if local:
        session.note(
            f"warning: {', '.join(local)}: a local folder or file, and the Flink cluster is on another machine: every "
            "worker must see it under the same path (a shared mount); else take s3:// and PostgreSQL"
        )


def context(args: Any, resolved: Resolved) -> Context:
    """Return the context of a command that leaves no record of its process."""
    made = Context(_run(type(args).__name__.lower(), args, resolved), _carried(resolved))
    checks.workspace(made)
    return made


def _carried(resolved: Resolved) -> Settings:
    """Return the settings as workers get them: no password goes into a job graph."""
    return replace(resolved.settings, database=without_password(resolved.settings.database))


def _run(command: str, args: Any, resolved: Resolved) -> Run:
    values = {f.name: getattr(args, f.name) for f in fields(args) if f.name not in _NOT_RECORDED}
    settings = asdict(replace(resolved.settings, beam=()))
    settings["database"].pop("url")
    given = settings["validate"]["engine_settings"]
    settings["validate"]["engine_settings"] = [(name, deciding(name, values)) for name, values in given]
    for name in ("corpus", "store", "run", "plan", "merge", "finalize"):
        settings.pop(name)  # they decide where, when and which, not what comes out
    settings["embed"].pop("batch_size")  # no vector depends on it
    own = {"synthesize": settings.pop("synthesis"), "embed": settings.pop("embed")}
    settings = own.get(command, settings)
    return Run(
        id=getattr(args, "run_id", None) or "",
        root=resolved.settings.corpus.workspace,
        command=command,
        settings=provenance.sha256(provenance.line(settings).encode()),
        args=tuple(sorted((name.rstrip("_"), _safe(provenance.plain(value))) for name, value in values.items())),
        argv=tuple(safe_words(sys.argv[1:])),
        started_at=(now := provenance.now()),
        process_started_at=now,
        given=provenance.line(given_settings(resolved)),
        entrypoint=str(Path(__file__).with_name("__main__.py")),
        cwd=str(Path.cwd()),
    )


def _safe(value: Any) -> Any:
    if isinstance(value, list):
        return [_safe(item) for item in value]
    return safe(value) if isinstance(value, str) else value


def read_json(context: Context, stage: str, name: str) -> dict[str, Any]:
    """Return a JSON document of a stage of the run."""
    return documents.load(context.workspace.store, f"{context.stage(stage)}/{name}")  # type: ignore[no-any-return]
