"""The whole recovery: baseline, plan, repair, validate, merge, verify, and the coverage on one screen.

    resplice recover --run-id recovery-a --yes
    resplice recover --run-id recovery-a --canary 50

Reads   and Writes what the six stages do. Nothing of the user's is changed: that is `finalize`.
Skips   what is done with the same fingerprint.
Refuses what the stages refuse; it goes on to `verify` whatever was refused.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from resplice.pipelines import baseline, canary, launch, merge, plan, repair, screen, validate, verify
from resplice.pipelines.config import Resolved
from resplice.pipelines.launch import Session
from resplice.transforms.records import Exit, UserError


def run(args: Any, resolved: Resolved, beam_argv: Sequence[str]) -> int:
    """Run the command."""
    return launch.run("recover", args, resolved, beam_argv, recover, baseline.check_places)


def recover(session: Session) -> None:
    """Run all stages; stop after the plan unless the user says go on."""
    wave = plan.selection(session)
    baseline.freeze(session, session.args.refresh)
    plan.make(session, wave)
    if not (session.args.yes or session.args.canary or session.dry):
        _confirm()
    if session.args.canary:
        canary.try_out(session, session.args.canary)
        return
    repair.repair(session)
    validate.validate(session)
    merge.merge(session)
    verify.prove(session)
    screen.show(session)


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise UserError("this is the plan; add --yes to go on (there is no terminal to ask on)", Exit.USAGE)
    if input("go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UserError("stopped after the plan; the same command with --yes goes on", Exit.USAGE)
