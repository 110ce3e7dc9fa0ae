"""Remove objects that no snapshot needs: what publishers left who were killed, or came too late.

    resplice gc
    resplice gc --apply

Reads   all snapshots, what unfinished merges announced, the list of objects, gc/marks.json.
Writes  gc/marks.json, and deletes objects. Without --apply: nothing.
Skips   objects that were not marked by an earlier call at least --wait hours ago, or changed since.
Refuses to work where a snapshot cannot be read, or does not follow from the one before (exit 1, 4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from resplice.io import garbage
from resplice.pipelines import checks, launch
from resplice.pipelines.config import Resolved
from resplice.transforms.records import Exit, UserError

_LONGEST_H = 10**6


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command."""
    if args.apply and args.dry_run:
        raise UserError("--apply and --dry-run contradict each other: give one of them")
    place, wait = launch.context(args, resolved).workspace, timedelta(hours=min(args.wait, _LONGEST_H))
    if args.apply:
        checks.honest(place)
    found = (garbage.clean if args.apply else garbage.look)(place.store, wait, datetime.now(UTC))
    if args.apply:
        left = {key: size for key, size in found.due.items() if key not in found.deleted}
        print(f"gc: deleted {_sum(found.deleted)}; {_sum(left)} left, as they are needed after all, or next time")
        print(f"gc: marked {_sum(found.fresh)}; {_sum(found.waiting)} marked earlier and not due")
        return Exit.DONE
    print(f"gc: no snapshot needs {_sum({**found.fresh, **found.waiting, **found.due})}")
    print(f"gc: would delete {_sum(found.due)}, marked at least {args.wait} hours ago, and mark {_sum(found.fresh)}")
    print("nothing was written; --apply marks them, and deletes those that an earlier --apply marked")
    return Exit.DONE


def _sum(objects: Mapping[str, int]) -> str:
    return f"{len(objects)} objects ({sum(objects.values()) / 1e6:.2f} MB)"
