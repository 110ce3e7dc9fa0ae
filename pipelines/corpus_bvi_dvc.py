"""Write cached logs of libvmaf as the rows of a vmaf-tune corpus, one a clip, 54 keys each.

    resplice corpus bvi-dvc --cache-dir logs --output bvi_dvc.jsonl

Reads   CACHE_DIR/<Name>_<W>x<H>_<N>fps_….json.
Writes  OUTPUT, a row a log, sorted by name; its sidecar; report.html and report.json of the run.
Skips   everything, if the output is there and neither the logs nor the flags have changed.
Refuses bad_name, unreadable, no_frames, drifted.
Exit 3 if no log could be read of some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from resplice.io import sidecars, spans
from resplice.io.context import Context
from resplice.io.extracting import Task
from resplice.io.gather import Apart, Gather, collected
from resplice.io.progress import by_marks, marked
from resplice.io.remembered import Memory
from resplice.io.vmaf_logs import MOST_BYTES, STAGE, Read
from resplice.pipelines import corpus, corpus_places, launch
from resplice.pipelines.config import Resolved
from resplice.pipelines.corpus import Extraction
from resplice.pipelines.corpus_places import Output
from resplice.pipelines.launch import Session
from resplice.transforms import corpus_rows, provenance
from resplice.transforms.corpus_rows import Labels
from resplice.transforms.records import Reason, Refusal

_MANIFEST = "bvi-dvc-corpus-jsonl-manifest-v1"
_LABELS = ("encoder", "preset", "crf", "pix_fmt", "vmaf_model", "legacy_defaults")
_LOGS, _ROWS = "logs", "rows"
_PER_SPAN = 100


@dataclass(frozen=True)
class Asked:
    """What the flags ask for."""

    root: Path
    out: Output
    settings: Mapping[str, Any]


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command."""
    root = corpus_places.folder(args.cache_dir, "--cache-dir")
    settings = {name: getattr(args, name) for name in _LABELS}
    ask = Asked(root, corpus_places.output(args.output, "--output", args.manifest_out), settings)
    return corpus.run(STAGE, args, resolved, beam_argv, ask.out, root, settings, lambda session: extract(session, ask))


@launch.stage(STAGE)
def extract(session: Session, ask: Asked) -> None:
    """Find the logs, read them, write their rows."""
    memory = Memory(session.context.workspace, STAGE, str(ask.root))
    of = Extraction(session, STAGE, "log", ask.out, ask.settings, memory)
    for path in ask.out.listed(ask.root, _is_log):
        if path.name.endswith(".json") and not path.name.endswith(sidecars.SUFFIX):
            of.take(path, lambda name, path=path: _task(of, path))  # type: ignore[misc]
    of.inputs = {"cache_dir": corpus.tree(of, ask.root, session.context.workspace.url)}
    memory.keep()
    run_, rows = session.context.run, list[dict[str, Any]]()
    if due := not corpus.nothing_to_do(of):
        rows = read(session, of, Labels(**ask.settings, run_id=run_.id, timestamp=run_.started_at))
    if session.dry:
        corpus.show(of, tried=True)
        return
    if due:
        publish(of, rows)
    count = sum(1 for _ in ask.out.file.open("rb"))
    corpus.finish(of, count, count)


def _is_log(name: str) -> bool:
    try:
        return name.endswith(".json") and bool(corpus_rows.clip(Path(name).stem))
    except Refusal:
        return False


def _task(of: Extraction, path: Path) -> Task:
    corpus_rows.clip(path.stem)
    if path.stat().st_size > MOST_BYTES:
        raise Refusal(Reason.UNREADABLE, f"{path.stat().st_size} bytes, {MOST_BYTES} allowed")
    return Task(path.name, (of.file(path),), {})


def read(session: Session, of: Extraction, labels: Labels) -> list[dict[str, Any]]:
    """Read the logs, and return the rows of those that can be read, by name."""
    context = session.context
    with session.progress(by_marks(context, STAGE, -(-len(of.tasks) // _PER_SPAN))):
        if of.tasks:
            with session.pipeline() as pipeline:
                build(pipeline, context, of.tasks, labels)
        found = sorted(collected(context, STAGE, _ROWS), key=itemgetter("unit"))
    of.failed = [
        session.refused(STAGE, line["unit"], Refusal(Reason(line["reason"]), line["detail"]))
        for line in found if "row" not in line
    ]  # fmt: skip
    return [line["row"] for line in found if "row" in line]


def build(pipeline: Any, context: Context, tasks: Sequence[Task], labels: Labels) -> Any:
    """Compose the pipeline: some logs an element."""
    from resplice.transforms.steps import Work, source

    listed = spans.write(context, STAGE, _LOGS, map(asdict, tasks), Task.from_json, _PER_SPAN)
    work = Apart(listed.lines.each(Read(labels)), Gather(context, STAGE, _ROWS))
    return pipeline | "Logs" >> source(listed.spans) | "Read" >> Work(marked(context, STAGE, "read", work), "Rows")


def publish(of: Extraction, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows."""

    def write(file: Path) -> Mapping[str, Any]:
        file.write_bytes(provenance.jsonl(rows))
        labels = {name: value for name, value in of.settings.items() if name != "legacy_defaults"}
        return {
            "stats": {"cache_files": of.total, "rows": len(rows)},
            "row_schema_version": corpus_rows.VERSION,
            **labels,
        }

    corpus.publish(of, write, _MANIFEST, "jsonl")
