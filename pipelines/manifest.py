"""Hash again everything that a sidecar names.

    resplice manifest verify workspace/snapshots/00000001.json.manifest.json

Reads   the sidecar, and every input and output that it describes, to the last byte.
Writes  nothing. Exit 4 on a difference; other code than then is a note, no difference.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from resplice.io import rehash
from resplice.io.rehash import Difference
from resplice.pipelines.args import ManifestVerify
from resplice.pipelines.config import Resolved
from resplice.pipelines.show import cell
from resplice.transforms.records import Exit
from resplice.transforms.settings import StoreOptions


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command: manifest verify."""
    assert isinstance(args, ManifestVerify)
    return verify(args.file, resolved.settings.store, args.quiet)


def verify(file: str, options: StoreOptions, quiet: bool = False) -> int:
    """Print one line for each difference, or one that there is none."""
    provenance = rehash.load(file, options)
    named = [entry for side in ("inputs", "outputs") for entry in rehash.entries(provenance[side], side)]
    found = [difference for name, said in named for difference in rehash.differences(name, said, options)]
    for difference in found:
        print(line(difference))
    if not quiet:
        for name, said in rehash.entries(provenance.get("entrypoint"), "entrypoint"):
            for changed in rehash.differences(name, said, options):
                print(f"note: {line(changed)}: made by other code than is here now", file=sys.stderr)
    if not found:
        print(f"{cell(file)}: all {len(named)} files and folders that it names are as it says")
    return Exit.CONFLICT if found else Exit.DONE


def line(difference: Difference) -> str:
    """Return a difference as one line: what, the sidecar's value, the value found."""
    said, found = cell(difference.said), cell(difference.found)
    where = f"{difference.name} {difference.path}".replace("\n", "\\n")
    return f"{cell(where)}: {difference.field}: the sidecar says {said}, found {found}"
