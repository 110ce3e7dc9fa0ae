"""Compute every feature of libvmaf for pairs of reference and distorted videos.

    resplice corpus full-features --data-root netflix --out features.parquet --yuv-size 1920x1080

Reads   DATA_ROOT/ref/<source>_<fps>fps.yuv|y4m|mp4, DATA_ROOT/dis/<source>_<quality>_<height>_<bitrate>.yuv|y4m|mp4.
Writes  OUT, a row a frame of the shorter file; its sidecar; report.html and report.json of the run.
Skips   extractors whose values are in the cache: the same pair, rate, size and tools.
Refuses bad_name, no_reference, name_collision, size_unknown, size_mismatch, unreadable, no_frames, engine_failed,
        crashed, interrupted, timeout, out_of_memory, drifted. An extractor that fails costs its own columns only.
Exit 3 if no pair could be made of some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resplice.io import ffmpeg, frametable, scoring, sidecars
from resplice.io.cached import Cache
from resplice.io.extracting import Result, Task
from resplice.io.remembered import Memory
from resplice.io.scoring import SCHEMA, STAGE, TEACHER, Score
from resplice.io.store import Place
from resplice.pipelines import corpus, corpus_places, launch
from resplice.pipelines.config import Resolved
from resplice.pipelines.corpus import Extraction
from resplice.pipelines.corpus_places import Output
from resplice.pipelines.launch import Session
from resplice.transforms import pairs
from resplice.transforms.records import UserError
from resplice.transforms.vmaf import FULL_FEATURES, VMAF

_MANIFEST = "netflix-full-features-manifest-v1"
_REF, _DIS = "ref", "dis"


@dataclass(frozen=True)
class Asked:
    """What the flags ask for."""

    root: Path
    out: Output
    args: Any
    size: tuple[int, int] | None
    cache: Place | None
    timeout_s: float

    @property
    def settings(self) -> dict[str, Any]:
        """Return what decides what comes out."""
        args = self.args
        return {"codec": args.codec, "size": self.size, "max_pairs": args.max_pairs, "features": [*FULL_FEATURES]}


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command."""
    ask = asked(args)  # what cannot be meant is told before anything is recorded
    return corpus.run(
        STAGE, args, resolved, beam_argv, ask.out, ask.root, ask.settings, lambda session: extract(session, ask)
    )


def asked(args: Any) -> Asked:
    """Return what the flags ask for. UserError for what cannot be."""
    root = corpus_places.folder(args.data_root, "--data-root")
    for name in (_REF, _DIS):
        if not (root / name).is_dir():
            raise UserError(
                f"--data-root {args.data_root} has no folder {name}; name the one that has {_REF} and {_DIS}"
            )
    try:
        size = pairs.size(args.yuv_size) if args.yuv_size else None
    except ValueError as error:
        raise UserError(f"--yuv-size {error}") from None
    ffmpeg.program(args.vmaf_bin)
    out = corpus_places.output(args.out, "--out", args.manifest_out)
    place = corpus_places.cache(args.cache_dir) if args.cache_dir else None
    return Asked(root, out, args, size, place, corpus_places.timeout_s(args.timeout))


@launch.stage(STAGE)
def extract(session: Session, ask: Asked) -> None:
    """Find the pairs, compute what is not cached, write all."""
    args = ask.args
    memory = Memory(session.context.workspace, STAGE, str(ask.root))
    of = Extraction(session, STAGE, "pair", ask.out, ask.settings, memory)
    of.tool = ffmpeg.tool(args.vmaf_bin, TEACHER, ask.timeout_s, memory)
    ask.out.apart(of.tool.path)
    references = ask.out.listed(ask.root / _REF, lambda name: bool(pairs.references([name])))
    known = pairs.references(path.name for path in references if not path.is_dir())
    listed = ask.out.listed(ask.root / _DIS, pairs.is_distorted)
    found = [path for path in listed if not path.is_dir() and not path.name.startswith(".")]
    session.note(f"{STAGE}: looking at {len(found[: args.max_pairs])} pairs")
    for path in found[: args.max_pairs]:
        of.take(path, lambda name: _task(of, ask, pairs.pair(name, known, ask.size is not None)))
    place = ask.cache or session.context.workspace
    cache = Cache(place, "" if ask.cache else f"cache/{STAGE}/")
    of.cache = place.path(cache.prefix.rstrip("/")) if cache.prefix else place.url
    roots = {"data_root": ask.root, _REF: ask.root / _REF, _DIS: ask.root / _DIS}
    of.inputs = {name: corpus.tree(of, root, session.context.workspace.url, place.url) for name, root in roots.items()}
    of.inputs["vmaf_bin"] = sidecars.described_file(Path(of.tool.path))
    memory.keep()
    if session.dry:
        corpus.show(of)
        return
    if not corpus.nothing_to_do(of):
        corpus.make(of, Score(of.tool, ask.size, cache), lambda results: publish(of, ask, results))
    corpus.finish(of, frametable.counted(ask.out.file, "dis_basename"), frametable.rows(ask.out.file))


def _task(of: Extraction, ask: Asked, pair: pairs.Pair) -> Task:
    files = of.file(ask.root / _REF / pair.reference), of.file(ask.root / _DIS / pair.distorted)
    return Task(pair.distorted, files, {"source": pair.source, "fps": pair.fps})


def publish(of: Extraction, ask: Asked, results: Sequence[tuple[Task, Any]]) -> None:
    """Write the frames of all pairs."""

    def write(file: Path) -> Mapping[str, Any]:
        same = {"codec": ask.args.codec, "teacher_model": TEACHER}
        units = [
            ({"source": task.facts["source"], "dis_basename": task.unit, **same}, Result.from_json(result))
            for task, result in results
        ]
        values = frametable.write(file, SCHEMA, units, of.session.context.run.metadata())
        rows = values["frame_index"]
        failed = [
            {"unit": task.unit, "extractor": name, "reason": reason, "detail": detail}
            for (task, _), (_, result) in zip(results, units, strict=True)
            for name, (reason, detail) in result.failed.items()
        ]
        return {
            "stats": {"pairs": len(units), "pairs_selected": of.total, "pairs_failed": len(of.refused), "rows": rows},
            "features": [*FULL_FEATURES],
            "features_unavailable": [name for name in (VMAF, *FULL_FEATURES) if rows and not values[name]],
            "failed_extractors": failed,
            "cache_dir": of.cache,
            "extractors": {name: [*columns] for name, columns in scoring.CALLS.items()},
        }

    corpus.publish(of, write, _MANIFEST, "parquet")
