"""List the audio files that have no embedding, or a stale one, in parts that can be embedded one by one.

    resplice gaps --music-root music --library meta.json --out-prefix data/pending --chunk-size 2000

Reads   the folders; meta.json and the sizes of its vectors, or the shards of an index; the bytes of files whose entry
        names a content, unless the workspace remembers their digest.
Writes  P.txt, P.part001.txt, …, then P.json; digests.json of the workspace. Parts of an earlier scan are removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resplice.io import gaps
from resplice.io.context import Context
from resplice.io.gaps import Audit
from resplice.io.store import Place
from resplice.pipelines import launch
from resplice.pipelines.auditing import audited, excluded, library_at, roots, table_of, wanted
from resplice.pipelines.config import Resolved
from resplice.transforms import provenance
from resplice.transforms.gaps import Wanted
from resplice.transforms.library import Library
from resplice.transforms.provenance import shown
from resplice.transforms.records import Exit, UserError
from resplice.transforms.settings import StoreOptions


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command."""
    context, prefix = launch.context(args, resolved), Path(args.out_prefix).absolute()
    if "://" in args.out_prefix or args.out_prefix.endswith("/") or prefix.is_dir():
        raise UserError(f"--out-prefix {args.out_prefix}: give the beginning of the names of local files, e.g. data/p")
    gaps.check(prefix, {"--library": args.library, "--exclude-file": args.exclude_file, "--config": resolved.path})
    compared = wanted(args, resolved)
    found = audited(ask(args, context, compared), context, "gaps", args.quiet, save=not args.dry_run)
    counts, pending = found.counts(), found.pending
    identity = {"embedder_digest": compared.embedder if compared else None, "windows": compared and compared.windows}
    facts = {**counts, **_asked(args), **identity}
    written = gaps.write(prefix, pending, args.chunk_size, facts) if not args.dry_run else {}
    print(f"gaps: {counts['pending_embedding_total']:,} of {counts['audio_files_scanned']:,} audio files are pending")
    print("\n".join(table_of(counts)))
    if args.dry_run:
        print("dry run: nothing was written")
    else:
        print(f"gaps: {prefix}.txt in {len(written['chunk_files'])} parts, {prefix}.json")
    return Exit.DONE


def ask(args: Any, context: Context, wanted: Wanted | None) -> Audit:
    """Return the audit that the flags ask for."""
    if args.library and args.index:
        raise UserError("--library and --index: compare with one of them")
    file, settings = library_at(args.library, context) if args.library else None, context.settings
    library = file.read() if file else _index(args.index, settings.store, wanted) if args.index else Library({})
    return Audit(roots(args.music_root), library, file, wanted, excluded(args.exclude_file), settings.store,
                 settings.run.workers)  # fmt: skip


def _index(given: str, options: StoreOptions, wanted: Wanted | None) -> Library:
    (folder,) = roots((given,), "--index")
    return gaps.of_index(Place(folder, options=options).store, wanted)


def _asked(args: Any) -> dict[str, Any]:
    """Return what P.json says of the question."""
    names = ("library", "index", "embedder", "exclude_file", "run_id")
    asked = {"music_roots": list(args.music_root)} | {name: getattr(args, name) for name in names}
    return {"code": provenance.VERSION} | {name: _text(value) for name, value in asked.items()}


def _text(value: Any) -> Any:
    """Return flags as JSON has them."""
    if isinstance(value, list):
        return [_text(item) for item in value]
    return shown(value) if value else value
