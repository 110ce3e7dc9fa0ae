"""Compare the results of a run with labels that people gave: precision and recall of each reason, better thresholds.

    resplice calibrate labels.csv --run-id recovery-a --precision 0.95

Reads   the labels (video_id, stem, label = good or bad, and why, if known), the stored measures of the run.
Writes  validate/calibration.json, and the report of the run, which has the curves.
Skips   nothing. Refuses nothing: labels without a result are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resplice.io import engines as installed
from resplice.io import labels, refusals, rejudging, runstate
from resplice.pipelines import launch, report
from resplice.pipelines.config import Resolved
from resplice.pipelines.keys import nearest
from resplice.pipelines.show import table
from resplice.transforms import provenance
from resplice.transforms.calibration import calibrated
from resplice.transforms.calibration_page import lines
from resplice.transforms.kinds import KINDS
from resplice.transforms.records import Exit, UserError
from resplice.transforms.verdict import REASONS

NAME = "calibration.json"


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command."""
    if not 0 < args.precision <= 1:
        raise UserError(f"--precision {args.precision:g}: a share above 0 and at most 1 is expected")
    context = launch.context(args, resolved)
    runstate.record(context)
    given = context.settings.validate
    spec = installed.asked_of(given, [name for name in given.engines if name in KINDS])
    chain = rejudging.deciders(spec)
    named = labels.load(args.labels)
    measures = sorted({name for _, decider in chain for name in decider.measures})
    labelled = labels.joined(context, named, measures)
    if not len(labelled.bad):
        raise UserError(
            f"{args.labels}: none of its {len(named)} segments has a result in run {context.run.id!r}: stem is "
            "the name that `resplice inspect VIDEO` shows, e.g. talk_split0"
        )
    facts = {"labels": len(named), "judged": labels.judged(context), **calibrated(chain, labelled, args.precision)}
    _tell(facts, len(named), [why for _, why in named.values()])
    if not args.dry_run:
        refusals.put(context.workspace.store, f"{context.stage('validate')}/{NAME}", provenance.document(facts))
        report.write(context, {})
    print(f"{'would write' if args.dry_run else 'report:'} {report.path(context)}")
    return Exit.DONE


def _tell(facts: dict[str, Any], named: int, whys: Sequence[str]) -> None:
    print(f"calibrate: {facts['labelled']} of {named} labelled segments have a result; {facts['bad']} are bad")
    known = [*REASONS, *(rule.reason for kind in KINDS.values() for rule in kind.rules)]
    for why in sorted({why for why in whys if why and why not in known}):
        print(f"note: why = {why!r} is no reason of an engine (the nearest is {nearest(why, known)}): counts for none")
    columns = ("reason", "threshold", "fails", "precision", "recall", "suggested", "fails", "precision", "recall")
    table(columns, lines(facts))
