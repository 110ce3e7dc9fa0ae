"""Encode each clip of KoNViD-1k with libx264, and score it against itself with libvmaf.

    resplice corpus konvid-pairs --konvid-root konvid-1k --out pairs.parquet --crf 35

Reads   KONVID_ROOT/KoNViD_1k_videos/*.mp4.
Writes  OUT, a row a frame: key, frame_index, vif_scale0..3, adm2, motion2, vmaf; its sidecar;
        report.html and report.json of the run.
Skips   clips whose scores are in the cache: the same content, CRF, model, features and tools.
Refuses unreadable, no_frames, odd_size, bad_name, engine_failed, crashed, interrupted, timeout, out_of_memory, drifted.
Exit 3 if no clip could be made of some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resplice.io import clips, ffmpeg, frametable, sidecars
from resplice.io.cached import Cache
from resplice.io.clips import FEATURES, FOLDER, SCHEMA, STAGE, Pair
from resplice.io.extracting import Result, Task
from resplice.io.remembered import Memory
from resplice.io.store import Place
from resplice.pipelines import corpus, corpus_places, launch
from resplice.pipelines.config import Resolved
from resplice.pipelines.corpus import Extraction
from resplice.pipelines.corpus_places import Output
from resplice.pipelines.launch import Session
from resplice.transforms.records import UserError

_MANIFEST = "konvid-vmaf-pairs-manifest-v1"
_MOST_CRF = 51


@dataclass(frozen=True)
class Asked:
    """What the flags ask for."""

    root: Path
    out: Output
    args: Any
    cache: Place | None
    timeout_s: float

    @property
    def settings(self) -> dict[str, Any]:
        """Return what decides what comes out."""
        args = self.args
        return {"crf": args.crf, "model": args.model, "features": [*FEATURES], "max_clips": args.max_clips}


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command."""
    ask = asked(args)  # what cannot be meant is told before anything is recorded
    return corpus.run(
        STAGE, args, resolved, beam_argv, ask.out, ask.root, ask.settings, lambda session: extract(session, ask)
    )


def asked(args: Any) -> Asked:
    """Return what the flags ask for. UserError for what cannot be."""
    root = corpus_places.folder(args.konvid_root, "--konvid-root")
    if not (root / FOLDER).is_dir():
        raise UserError(f"--konvid-root {args.konvid_root} has no folder {FOLDER}; name the one that has it")
    if args.crf > _MOST_CRF:
        raise UserError(f"--crf must be at most {_MOST_CRF}, got {args.crf}")
    if args.no_cache and args.cache_dir:
        raise UserError("--no-cache and --cache-dir: give one of them")
    ffmpeg.program(args.vmaf_bin)
    out = corpus_places.output(args.out, "--out", args.manifest_out)
    place = corpus_places.cache(args.cache_dir) if args.cache_dir else None
    return Asked(root, out, args, place, corpus_places.timeout_s(args.timeout))


@launch.stage(STAGE)
def extract(session: Session, ask: Asked) -> None:
    """Find the clips, make the pairs that are not cached, write all."""
    args = ask.args
    memory = Memory(session.context.workspace, STAGE, str(ask.root))
    of = Extraction(session, STAGE, "clip", ask.out, ask.settings, memory)
    of.tool = ffmpeg.tool(args.vmaf_bin, args.model, ask.timeout_s, memory)
    ask.out.apart(of.tool.path)
    listed = ask.out.listed(ask.root / FOLDER, lambda name: name.endswith(".mp4"))
    found = [path for path in listed if path.name.endswith(".mp4")][: args.max_clips]
    session.note(f"{STAGE}: looking at {len(found)} clips")
    for path in found:
        of.take(path, lambda name, path=path: Task(name, (of.file(path),), {}))  # type: ignore[misc]
    cache, of.cache = _cache(session, ask)
    of.inputs = {
        "konvid_root": corpus.tree(of, ask.root, session.context.workspace.url, *filter(None, [of.cache])),
        "videos_dir": corpus.tree(of, ask.root / FOLDER, session.context.workspace.url, *filter(None, [of.cache])),
        "vmaf_bin": sidecars.described_file(Path(of.tool.path)),
        "model": args.model,
    }
    memory.keep()
    if session.dry:
        corpus.show(of)
        return
    if not corpus.nothing_to_do(of):
        work = Pair(of.tool, args.crf, args.model, cache)
        corpus.make(of, work, lambda results: publish(of, ask, results))
    corpus.finish(of, frametable.counted(ask.out.file, "key"), frametable.rows(ask.out.file))


def _cache(session: Session, ask: Asked) -> tuple[Cache | None, str | None]:
    """Return the cache, and where it is."""
    if ask.args.no_cache:
        return None, None
    if ask.cache:
        return Cache(ask.cache), ask.cache.url
    place = session.context.workspace
    return Cache(place, f"cache/{STAGE}/"), place.path(f"cache/{STAGE}")


def publish(of: Extraction, ask: Asked, results: Sequence[tuple[Task, Any]]) -> None:
    """Write the frames of all clips."""

    def write(file: Path) -> Mapping[str, Any]:
        units = [({"key": key(task.unit)}, Result.from_json(result)) for task, result in results]
        frametable.write(file, SCHEMA, units, of.session.context.run.metadata())
        stats = {"clips_selected": of.total, "clips_failed": len(of.refused), "clips_processed": len(units),
                 "frames": sum(result.frames for _, result in units)}  # fmt: skip
        failed = [{"clip": line.unit, "reason": line.reason} for line in of.refused]
        return {"stats": stats, "features": [*FEATURES], "failed_clips": failed, "crf": ask.args.crf,
                "cache_enabled": not ask.args.no_cache, "cache_dir": of.cache,
                "teacher_model": ask.args.model}  # fmt: skip

    corpus.publish(of, write, _MANIFEST, "parquet")


def key(name: str) -> str:
    """Return the key of a clip's rows."""
    return f"{clips.FOLDER}_{Path(name).stem}"
