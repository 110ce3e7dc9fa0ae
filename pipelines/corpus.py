"""What the commands that extract corpora share: names, inputs, the artifact and its sidecar, the balance.

An artifact is made of units (logs, clips, pairs). What it depends on has one digest, its recipe: the run, the settings,
the tool, and the content of every input. Where the sidecar names the same recipe and the file is as it says, a run does
nothing; else the file is replaced as a whole, and the sidecar is written last.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from resplice.io import extracting, refusals, runs, sidecars
from resplice.io.context import Context
from resplice.io.extracting import Extract, File, Result, Task, Work
from resplice.io.ffmpeg import Tool
from resplice.io.local import LocalStore
from resplice.io.progress import by_ledger
from resplice.io.refusals import Refused
from resplice.io.remembered import Memory
from resplice.pipelines import launch, report
from resplice.pipelines.config import Resolved
from resplice.pipelines.corpus_places import Output
from resplice.pipelines.launch import Session
from resplice.transforms import provenance, retry
from resplice.transforms.provenance import shown
from resplice.transforms.records import Exit, Reason, Refusal, UserError

_TOLD = 20
_OWN = ("schema", "stats", "refused")
"""What a sidecar has in common with all others, but says of its artifact."""


@dataclass
class Extraction:
    """One command at work: what it makes of what, and the units that it could not make.

    `settings` decide what comes out (JSON-able); `inputs` and `tool` are as the sidecar names them, `cache` is where
    results are kept. `unfit` are units
    that no work is tried on, `failed` those whose work was of no avail.
    """

    session: Session
    stage: str
    unit: str
    out: Output
    settings: Mapping[str, Any]
    memory: Memory
    inputs: dict[str, Any] = field(default_factory=dict)
    tool: Tool | None = None
    cache: str | None = None
    tasks: list[Task] = field(default_factory=list)
    unfit: list[Refused] = field(default_factory=list)
    failed: list[Refused] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)
    changed: bool = False

    @property
    def total(self) -> int:
        """Return the number of units."""
        return len(self.tasks) + len(self.unfit)

    @property
    def refused(self) -> list[Refused]:
        """Return the units that cannot be made, by name."""
        return sorted([*self.unfit, *self.failed], key=lambda line: line.unit)

    def take(self, path: Path, make: Callable[[str], Task]) -> None:
        """Add the unit of a file, or the reason why it is none."""
        try:
            path.name.encode()
            self.tasks.append(make(path.name))
        except UnicodeEncodeError:
            self.refuse(shown(path.name), Refusal(Reason.BAD_NAME, "its name is not UTF-8"))
        except Refusal as refusal:
            self.refuse(path.name, refusal)
        except OSError as error:
            self.unreadable.append(path)
            self.refuse(path.name, Refusal(Reason.UNREADABLE, f"{error.strerror}"))

    def file(self, path: Path) -> File:
        """Return a file of a unit. Raises Refusal unreadable for a pipe, a device or a folder."""
        if not stat.S_ISREG(path.stat().st_mode):
            raise Refusal(Reason.UNREADABLE, f"{path.name} is no regular file")
        return File.of(str(path), self.memory)

    def refuse(self, unit: str, refusal: Refusal) -> None:
        """Note a unit that cannot be made."""
        self.unfit.append(self.session.refused(self.stage, unit, refusal))

    @property
    def recipe(self) -> str:
        """Return the digest of all that the artifact depends on."""
        units = [[task.unit, *(file.sha256 for file in task.files), task.facts] for task in self.tasks]
        tool = self.tool.identity if self.tool else None
        return provenance.fingerprint(
            run=self.session.context.run.id, made=self.stage, settings=self.settings, tool=tool, units=units,
            unfit=sorted(line.unit for line in self.unfit),
        )  # fmt: skip


def run(
    stage: str, args: Any, resolved: Resolved, beam_argv: Sequence[str], out: Output, root: Path,
    settings: Mapping[str, Any], job: Callable[[Session], None],
) -> int:  # fmt: skip
    """Run a command as a process of its run; without a name it has one of its output, its input and its settings."""
    if args.run_id is None:
        decides = [str(out.file), str(root), dict(settings), getattr(args, "vmaf_bin", None)]
        args = replace(args, run_id=f"{stage}-{provenance.fingerprint(decides=decides)[:8]}")

    def reported(session: Session) -> None:
        _begin(session, settings)
        job(session)
        if not session.dry:
            report.write(session.context, session.seconds)
            session.say(f"report: {report.path(session.context)}")

    return launch.run(
        stage, args, resolved, beam_argv, reported, lambda context: _clear(context, settings), corpus=False
    )


def _clear(context: Context, settings: Mapping[str, Any]) -> None:
    """Raise UserError for a setting with a secret: the record of the run masks it, but rows would show it."""
    for name, recorded in context.run.args:
        if isinstance(recorded, str) and settings.get(name, recorded) != recorded:
            raise UserError(
                f"--{name.replace('_', '-')} holds what looks like a secret, and rows would show it; leave it out"
            )


def _begin(session: Session, settings: Mapping[str, Any]) -> None:
    """Let the run be that of its first process: its beginning is the time that artifacts carry."""
    record = runs.load(session.context.workspace.store, session.context.run.id)
    first = record["processes"][0]["start"] if record else session.context.run.started_at
    digest = provenance.sha256(provenance.line(dict(settings)).encode())
    run_ = replace(session.context.run, started_at=first, settings=digest)
    session.context = replace(session.context, run=run_)


def tree(of: Extraction, root: Path, *not_of_it: str | Path) -> dict[str, Any]:
    """Return the description of an input folder, without what this command writes in it, and what cannot be read."""
    own = [*of.out.names, *(Path(os.path.abspath(path)) for path in not_of_it)]  # noqa: PTH100
    if root in own:
        raise UserError(
            f"{root} is what is read, and resplice writes there, too: name another --workspace or --cache-dir"
        )
    bases = (root, Path(os.path.realpath(root)))
    left = {
        path.relative_to(base).as_posix()
        for path in (*own, *of.unreadable) for base in bases if path.is_relative_to(base)
    }  # fmt: skip
    return sidecars.described_folder(root, of.memory, sorted(left))


def nothing_to_do(of: Extraction) -> bool:
    """Return whether the artifact is there as it would be made now, and nothing of it is worth another try."""
    sidecar = of.out.there()
    if sidecar is None or sidecar.get("recipe_sha256") != of.recipe:
        return False
    passing = {str(reason) for reason in extracting.PASSING}
    left = {line.get("unit") for line in sidecar.get("refused", [{}])} - {line.unit for line in of.unfit}
    return not left and not passing & {line.get("reason") for line in sidecar.get("failed_extractors", [])}


def make(of: Extraction, work: Work, publish: Callable[[list[tuple[Task, Result]]], None]) -> None:
    """Work on all units, and publish the results of those that could be made, in their order."""
    session, context = of.session, of.session.context
    gauge = by_ledger(context, of.stage, [task.unit for task in of.tasks], of.unit, retry.ALL)
    with session.progress(gauge):
        if of.tasks:
            with session.pipeline() as pipeline:
                build(pipeline, context, of.stage, of.tasks, work)
        of.failed = session.refusals_of(of.stage, [task.unit for task in of.tasks])
        failed = {line.unit for line in of.failed}
        kept = extracting.results(context, of.stage)
        publish([(task, kept.get({"unit": task.unit})) for task in of.tasks if task.unit not in failed])


def build(pipeline: Any, context: Context, stage: str, tasks: Sequence[Task], work: Work) -> Any:
    """Compose the pipeline: each unit on its own."""
    from resplice.io import spans
    from resplice.transforms.steps import Work as Spread
    from resplice.transforms.steps import source

    listed = spans.write(context, stage, "units", map(asdict, tasks), Task.from_json)
    each = listed.lines.each(Extract(context, stage, work))
    return pipeline | "Units" >> source(listed.spans) | "Extract" >> Spread(each, "Unit")


def publish(of: Extraction, write: Callable[[Path], Mapping[str, Any]], schema: str, artifact: str) -> None:
    """Write the artifact, unless it is there with the same bytes, and its sidecar, last.

    `write` writes a file and returns what the sidecar is to say besides the rest, its `stats` among that.
    """
    with tempfile.TemporaryDirectory(prefix="resplice-corpus-") as folder_:
        made = Path(folder_, "made")
        facts = dict(write(made))
        lines = [{"unit": line.unit, "reason": line.reason, "detail": line.detail} for line in of.refused]
        same = of.out.file.is_file() and sidecars.file_digest(of.out.file) == sidecars.file_digest(made)
        there = of.out.there() if same else None
        if there and there.get("recipe_sha256") == of.recipe and there.get("refused") == lines:
            return
        of.changed = not same
        of.out.manifest.unlink(missing_ok=True)
        if not same:
            LocalStore(str(of.out.file.parent)).replace(of.out.file.name, made, None)
    stats = {**facts.pop("stats"), "elapsed_s": sidecars.elapsed_s()}
    fields = {"schema": schema, "stats": stats, "refused": lines, "recipe_sha256": of.recipe, **facts}
    sidecars.write_to(of.out.manifest, _content(of, artifact, fields))
    if former := of.out.former():
        former.unlink(missing_ok=True)  # of the bytes before, if not of the same


def _content(of: Extraction, artifact: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of the sidecar: the common fields of this process, the others as they are given."""
    tools = {**sidecars.tools(), **({"ffmpeg": of.tool.name, "libvmaf": of.tool.libvmaf} if of.tool else {})}
    outputs = {artifact: sidecars.described_file(of.out.file)}
    common = sidecars.content(of.session.context, of.stage, stats={}, inputs=of.inputs, outputs=outputs, tools=tools)
    own = {name: value for name, value in fields.items() if name in _OWN or name not in common}
    return {**common, **own}


def _renew(of: Extraction) -> dict[str, Any]:
    """Return the sidecar of the artifact; it is written again if what it names has moved, or is among other files, now.

    None of that makes another artifact, but `manifest verify` would find it again and again.
    """
    sidecar = of.out.there()
    if sidecar is None or sidecar.get("recipe_sha256") != of.recipe:
        return sidecar or {}
    content = _content(of, next(iter(sidecar["run_provenance"]["outputs"])), sidecar)
    if sidecars.told(content) != sidecars.told(sidecar):
        sidecars.write_to(of.out.manifest, content)
    return content


def finish(of: Extraction, done: int, rows: int) -> None:
    """Count the units, and say what there is now; exit 3 if nothing could be made of something."""
    session, context = of.session, of.session.context
    sidecar = _renew(of)
    facts = {"output": str(of.out.file), "rows": rows, "units": done, "stats": sidecar.get("stats"),
             "features_unavailable": sidecar.get("features_unavailable")}  # fmt: skip
    refusals.put(context.workspace.store, f"{context.stage(of.stage)}/made.json", provenance.document(facts))
    verb = "wrote" if of.changed else "as it was:"
    session.say(f"{of.stage}: {verb} {rows} rows of {done} {of.unit}s in {of.out.file}")
    _balance(of, done)


def show(of: Extraction, tried: bool = False) -> None:
    """Say what a run would do, and write nothing; exit as a run would, as far as the units were tried."""
    done = len(of.tasks) - len(of.failed)
    what = f"would write {of.out.file} of {done} {of.unit}s" if tried else f"{done} {of.unit}s to make, not tried"
    if nothing_to_do(of):
        what = f"nothing to do for {done} {of.unit}s"
    of.session.say(f"{of.stage}: {what}, {len(of.refused)} cannot be made")
    _balance(of, done)


def _balance(of: Extraction, done: int) -> None:
    """Count the units, and say which could not be made; exit 3 if nothing could be made of something."""
    of.session.finish(of.stage, of.total, done, 0, of.refused, unit=of.unit)
    for line in of.refused[:_TOLD]:
        of.session.say(f"  {line.unit} {line.reason}" + (f": {line.detail}" if line.detail else ""))
    if len(of.refused) > _TOLD:
        of.session.say(f"  and {len(of.refused) - _TOLD} more, in the report and the sidecar")
    if of.refused and not done:
        of.session.exit_code = Exit.INCOMPLETE
