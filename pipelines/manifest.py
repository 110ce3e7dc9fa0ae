"""Check an artifact against its sidecar, make it again, tell of it in another form.

    resplice manifest verify workspace/snapshots/00000001.json.manifest.json
    resplice manifest replay workspace/snapshots/00000001.json.manifest.json --run
    resplice manifest export workspace/snapshots/00000001.json.manifest.json --format in-toto

Reads   the sidecar; `verify` and `replay --run` every input and output that it describes, to the last byte.
Writes  nothing; what `replay --run` makes is in a scratch workspace that goes with it.
Exit 4 on a difference; other code than then is a note, no difference.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from resplice.io import rehash
from resplice.io.rehash import Difference
from resplice.pipelines import replay
from resplice.pipelines.config import Resolved
from resplice.pipelines.corpus_args import ManifestExport, ManifestReplay, ManifestVerify
from resplice.pipelines.show import cell
from resplice.transforms import attestation, provenance
from resplice.transforms.records import Exit
from resplice.transforms.settings import StoreOptions


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run one of the commands: manifest verify, replay, export."""
    options = resolved.settings.store
    sidecar = rehash.load(args.file, options)
    if isinstance(args, ManifestVerify):
        return verify(args.file, sidecar, options, args.quiet)
    if isinstance(args, ManifestExport):
        sides = (rehash.entries(sidecar["run_provenance"][side], side) for side in ("inputs", "outputs"))
        sys.stdout.write(provenance.document(attestation.statement(sidecar, *sides)).decode())
        return Exit.DONE
    assert isinstance(args, ManifestReplay)
    print(replay.shown(sidecar))
    if not args.run:
        return Exit.DONE
    if found := differences(sidecar, options):
        for difference in found:
            print(line(difference))
        print(f"{cell(args.file)}: it was not run again: what it names has changed, and the artifact stays as it is")
        return Exit.CONFLICT
    return replay.run(args.file, sidecar, options, args.quiet)


def verify(file: str, sidecar: Mapping[str, Any], options: StoreOptions, quiet: bool = False) -> int:
    """Print one line for each difference, or one that there is none."""
    found = differences(sidecar, options)
    for difference in found:
        print(line(difference))
    run_ = sidecar["run_provenance"]
    if not quiet:
        for name, said in rehash.entries(run_.get("entrypoint"), "entrypoint"):
            for changed in rehash.differences(name, said, options):
                print(f"note: {line(changed)}: made by other code than is here now", file=sys.stderr)
    if not found:
        count = len(list(_named(run_)))
        print(f"{cell(file)}: all {count} files and folders that it names are as it says")
    return Exit.CONFLICT if found else Exit.DONE


def differences(sidecar: Mapping[str, Any], options: StoreOptions) -> list[Difference]:
    """Return where the files and folders that a sidecar names are not as it says; each is hashed anew."""
    return [d for name, said in _named(sidecar["run_provenance"]) for d in rehash.differences(name, said, options)]


def _named(run_: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [entry for side in ("inputs", "outputs") for entry in rehash.entries(run_[side], side)]


def line(difference: Difference) -> str:
    """Return a difference as one line: what, the sidecar's value, the value found."""
    said, found = cell(difference.said), cell(difference.found)
    where = f"{difference.name} {difference.path}".replace("\n", "\\n")
    return f"{cell(where)}: {difference.field}: the sidecar says {said}, found {found}"
