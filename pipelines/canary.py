"""`recover --canary N`: a few videos, spread over the reasons, through repair and validate only, and what they tell."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from resplice.io import ledger, shards
from resplice.io.ledger import Entry
from resplice.pipelines import repair, validate
from resplice.pipelines.launch import Session, read_json
from resplice.transforms.records import Exit
from resplice.transforms.wave import spread, upper_bound


def try_out(session: Session, count: int) -> None:
    """Try the canary, and stop with exit 3 if it refuses a larger share than run.max_refused."""
    context = session.context
    key = f"{context.stage('plan')}/affected.parquet"
    affected = {row["video_id"]: row for row in shards.open_file(context.workspace.store, key).read().to_pylist()}
    chosen = spread({video: row["reasons"] for video, row in affected.items()}, count)
    began = time.monotonic()
    repair.repair(session, chosen)
    validate.validate(session, chosen)
    elapsed = time.monotonic() - began
    refused = _refused(session, chosen)
    made = sum(affected[video]["raw_bytes"] or 0 for video in chosen)
    session.counts["canary"] = {"in": len(chosen), "refused": len(refused)}
    session.say(
        f"canary: {len(chosen)} of {len(affected)} planned videos, {len(refused)} refused: at most "
        f"{upper_bound(len(refused), len(chosen)):.1%} of all (95 %)"
    )
    for reason in sorted({reason for video in chosen for reason in affected[video]["reasons"]}):
        mine = [video for video in chosen if reason in affected[video]["reasons"]]
        bad = sum(video in refused for video in mine)
        session.say(
            f"  {reason:20} {bad:>4} of {len(mine):>4} refused: {bad / len(mine):6.1%}, "
            f"at most {upper_bound(bad, len(mine)):6.1%} (95 %)"
        )
    for reason, number in sorted(Counter(entry.reason for entry in refused.values()).items()):
        session.say(f"  refused as {reason:20} {number:>4}")
    if chosen:
        each = elapsed / len(chosen)
        total = read_json(context, "plan", "plan.json")["videos"]
        session.say(
            f"  {each:.2f} s and {made / len(chosen) / 1e6:.2f} MB raw a video: "
            f"about {each * total / 60:.1f} min for all; the same command without --canary goes on"
        )
    if chosen and len(refused) / len(chosen) > session.settings.run.max_refused:
        session.note(f"canary: more refused than run.max_refused = {session.settings.run.max_refused}: stopped")
        session.exit_code = Exit.INCOMPLETE


def _refused(session: Session, chosen: Sequence[str]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for stage in ("repair", "validate"):
        entries = ledger.load(session.context.workspace.store, session.context.stage(stage))
        for video in chosen:
            if video in entries and entries[video].outcome == "refused":
                found.setdefault(video, entries[video])
    return found
