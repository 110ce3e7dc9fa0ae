"""Read and publish states of the results.

    resplice export --to results
    resplice export --embeddings data/embeddings --to current
    resplice snapshots
    resplice rollback --to 1

Reads   snapshots and the shards that they name; before any, the historical shards.
Writes  export: DIR/part-*.parquet, then DIR.manifest.json. rollback: one more snapshot, then its sidecar.
Skips   export: a folder that holds this state, or these rows, already. rollback: the state that is the latest anyway.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from resplice.io import export as exports
from resplice.io import history, sidecars, snapshots
from resplice.io.compact import Shards
from resplice.io.context import Context
from resplice.io.export import Exported
from resplice.io.local import LocalStore
from resplice.io.store import Place
from resplice.pipelines import checks, launch, progress
from resplice.pipelines.args import Export, Rollback, Snapshots
from resplice.pipelines.config import Resolved
from resplice.pipelines.show import table
from resplice.transforms import provenance
from resplice.transforms.records import Exit, UserError
from resplice.transforms.replace import Snapshot, as_found, rolled_back


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command: export, snapshots, or rollback."""
    context = launch.context(args, resolved)
    if isinstance(args, Export):
        return export_embeddings(context, args) if args.embeddings else export(context, args)
    if isinstance(args, Rollback):
        return rollback(context, args)
    assert isinstance(args, Snapshots)
    return show(context, args)


def export(context: Context, args: Export) -> int:
    """Write the live results as plain parquet into a folder."""
    folder = _target(context, str(args.to))
    snapshot = exports.live_state(context)
    named = f"snapshot {snapshot.number}" if snapshot.number else "history as found, no snapshot yet"
    there = exports.held(folder, exports.state_digest(snapshot))
    if there is not None:
        _check_export(context, folder, snapshot, there, args.dry_run)
        print(f"export: {folder} holds this state already ({named})")
        return Exit.DONE
    if args.dry_run:
        exported = exports.count(context, snapshot)
    else:
        told = progress.Told()
        with progress.shown("export", "shard", len(snapshot.shards), told.counts, args.quiet):
            exported = exports.write(context, snapshot, folder, told)
        _describe_export(context, folder, snapshot, exported)
    verb = "would write" if args.dry_run else "wrote"
    print(f"export: {verb} {exported.rows} results in {exported.parts} files to {folder} ({named})")
    if not args.quiet and snapshot.number and (left := exports.not_adopted(context, snapshot)):
        print(
            f"note: without the historical files that no snapshot names yet ({left}); merge adopts them",
            file=sys.stderr,
        )
    return Exit.DONE


def export_embeddings(context: Context, args: Export) -> int:
    """Write the current rows of a folder of embeddings into another one, a file for each kind of vector."""
    url = str(args.embeddings)
    if "://" not in url and not Path(url).is_dir():
        raise UserError(f"--embeddings {url}: there is no such folder; give what embed wrote to --out")
    place = Place(url if "://" in url else str(Path(url).absolute()), options=context.settings.store)
    folder = _target(context, str(args.to))
    if place.local and (folder.is_relative_to(place.url) or Path(place.url).is_relative_to(folder)):
        raise UserError(f"--to {folder} and --embeddings {place.url} lie in one another; name a folder outside")
    if folder.exists() and (not folder.is_dir() or (args.dry_run and any(folder.iterdir()))):
        raise UserError(f"--to {folder} is not empty; name a new folder")
    there = Shards(place)
    if there.foreign:
        left = ", ".join(there.foreign[:5])
        print(f"note: left out, as no shards of embed ({len(there.foreign)}): {left}", file=sys.stderr)
    made = there.count() if args.dry_run else there.write(folder)
    if not args.dry_run:
        inputs = {"shards": [sidecars.described(place, key) for key in there.keys]}
        outputs = {"folder": sidecars.described_folder(folder, ours=True)}
        content = sidecars.content(context, "embeddings-export", stats=asdict(made), inputs=inputs, outputs=outputs)
        sidecars.renew(LocalStore(str(folder.parent)), folder.name, content)
    verb = "would write" if args.dry_run else "wrote"
    print(
        f"export: {verb} {made.rows} current rows in {made.files} files to {folder}; {made.dropped} older ones dropped"
    )
    return Exit.DONE


def _target(context: Context, to: str) -> Path:
    """Return the folder to write. UserError if it lies where its files would be taken for the corpus's."""
    if "://" in to:
        raise UserError(f"--to {to}: export writes to a local folder")
    folder = Path(to).resolve()
    for name, root in asdict(context.settings.corpus).items():
        if "://" not in root and folder.is_relative_to(Path(root).resolve()):
            raise UserError(f"--to {folder} lies in corpus.{name} ({root}); name a folder outside")
    return folder


def _check_export(context: Context, folder: Path, snapshot: Snapshot, there: Exported, dry_run: bool) -> None:
    """Raise UserError unless a former export of this state is whole; write its sidecar if it has none."""
    sidecar = sidecars.load(LocalStore(str(folder.parent)), folder.name)
    if sidecar and sidecar.get("state_sha256") == exports.state_digest(snapshot):
        said = sidecar["run_provenance"]["outputs"]["folder"]["tree_sha256"]
        found = sidecars.described_folder(folder, ours=True)["tree_sha256"]
        if said != found:
            text = f"--to {folder} was changed: tree_sha256 {found}, its sidecar says {said}; name a new folder"
            raise UserError(text, Exit.CONFLICT)
        return
    wanted = exports.count(context, snapshot)
    if there != wanted:
        raise UserError(
            f"--to {folder} holds {there.rows} results in {there.parts} files, not {wanted.rows} in {wanted.parts}; "
            "name a new folder"
        )
    if not dry_run:
        _describe_export(context, folder, snapshot, there)


def _describe_export(context: Context, folder: Path, snapshot: Snapshot, exported: Exported) -> None:
    """Write the sidecar beside the folder."""
    stats = {**asdict(exported), "snapshot": snapshot.number, "shards": len(snapshot.shards)}
    content = sidecars.content(
        context, "export", stats=stats, inputs=exports.inputs(context, snapshot),
        outputs={"folder": sidecars.described_folder(folder, ours=True)}, state_sha256=exports.state_digest(snapshot),
    )  # fmt: skip
    sidecars.write(LocalStore(str(folder.parent)), folder.name, content)


def show(context: Context, args: Snapshots) -> int:
    """Print the published snapshots; exit 4 if one is not the child that it says to be, or misses its objects."""
    lines = history.lines(context.workspace.store)
    broken = [line for line in lines if line.fault]
    if args.json:
        value = {"snapshots": lines, "chain": "broken" if broken else "ok"}
        sys.stdout.write(provenance.document(value).decode())
        return Exit.CONFLICT if broken else Exit.DONE
    if not lines:
        print(f"no snapshot in {context.workspace.url} yet: merge publishes the first")
        return Exit.DONE
    columns = ("number", "parent", "kind", "run", "shards", "rows", "videos", "size", "chain")
    rows = [
        (line.number, line.parent, line.kind, line.run_id, line.shards, line.rows, line.videos, _size(line.bytes),
         line.fault or "ok") for line in lines
    ]  # fmt: skip
    table(columns, rows)
    if broken:
        print(f"broken: {len(broken)} of {len(lines)} snapshots; restore the named files from a backup")
    else:
        print("every snapshot's digest of its parent holds, and every object is there")
    return Exit.CONFLICT if broken else Exit.DONE


def _size(count: int | None) -> str | None:
    return None if count is None else f"{count / 1e6:.2f} MB"


def rollback(context: Context, args: Rollback) -> int:
    """Publish an earlier state again, as a new snapshot."""
    store, to = context.workspace.store, args.to or 0
    latest = snapshots.latest(store)
    if not latest.number:
        raise UserError(f"there is no snapshot in {store.url} to roll back: merge publishes the first")
    target = as_found(latest) if to == 0 else snapshots.load(store, to)
    if (target.shards, target.videos) == (latest.shards, latest.videos):
        print(f"rollback: the latest snapshot, {latest.number}, has the state of snapshot {to} already")
        if latest.kind == "rollback" and not args.dry_run and not sidecars.exists(store, _key(latest)):
            _describe_rollback(context, latest, to)
        return Exit.DONE
    if missing := history.missing_objects(store, target):
        raise UserError(f"snapshot {to} needs {missing[0]}, which is gone ({len(missing)} in all)", Exit.FAILED)
    parent = snapshots.digest_of(store, latest.number)
    new = rolled_back(latest, target, parent, context.run.id)
    if not args.dry_run:
        checks.honest(context.workspace)
        if not snapshots.publish(store, new):
            other = snapshots.load(store, new.number)
            if (other.shards, other.videos) != (target.shards, target.videos):
                raise _overtaken(other, to)
            return rollback(context, args)
        _describe_rollback(context, new, to)
    verb = "would be" if args.dry_run else "is"
    print(
        f"rollback: snapshot {new.number} {verb} the state of snapshot {to}: "
        f"{len(new.shards)} shards, {len(new.videos)} videos replaced"
    )
    return Exit.DONE


def _overtaken(other: Snapshot, to: int) -> UserError:
    """Return the conflict of a rollback with what was published meanwhile: it would undo that unseen."""
    return UserError(
        f"snapshot {other.number}, a {other.kind} of run {other.run_id or 'without name'}, was published meanwhile; to "
        f"go back to {to} would undo it unseen: look at it, then run the same command again",
        Exit.CONFLICT,
    )


def _key(snapshot: Snapshot) -> str:
    return snapshots.key_of(snapshot.number)


def _describe_rollback(context: Context, snapshot: Snapshot, to: int) -> None:
    place = context.workspace
    assert snapshot.parent is not None
    inputs = {"parent": sidecars.described(place, snapshots.key_of(snapshot.parent))}
    if to:
        inputs["target"] = sidecars.described(place, snapshots.key_of(to))
    stats = {"shards": len(snapshot.shards), "videos": len(snapshot.videos), "to": to}
    outputs = {"snapshot": sidecars.described(place, _key(snapshot))}
    content = sidecars.content(context, "snapshot", stats=stats, inputs=inputs, outputs=outputs)
    sidecars.write(place.store, _key(snapshot), content)
