"""Try out all that a recovery needs, and say of each what works, what does not, why, and the remedy.

    resplice doctor --config resplice.toml

Reads   the settings, the corpus's folders, a few rows of the database, the newest plan of the workspace.
Writes  nothing but probes of its own in the workspace (or, if there is none yet, beside it), which it removes.
Skips   what needs the settings, if they cannot be read.
Exit 2 if something that is required does not work; a warning or an absent option is 0.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from resplice.pipelines import doctor_checks as checks
from resplice.pipelines import doctor_plugins as plugins
from resplice.pipelines import doctor_runner as runners
from resplice.pipelines import progress
from resplice.pipelines.args import Doctor
from resplice.pipelines.config import resolve
from resplice.pipelines.doctor_checks import Situation
from resplice.pipelines.flags import overrides
from resplice.pipelines.show import table
from resplice.transforms import provenance
from resplice.transforms.checkup import Finding, State, exit_code
from resplice.transforms.provenance import plain
from resplice.transforms.records import UserError

_MEND = "mend the settings; `resplice config --example` prints a complete file"
_INSTALL = "install resplice anew: pip install --force-reinstall resplice"
_JOB_SERVER = "leave --flink_job_server_jar out: Beam takes its own; or set --job_endpoint to one that runs"
_FOLDER = "set corpus.{} to a folder, or s3://bucket/prefix, that is there and that you may read"
_STORE = "set corpus.workspace to another file system, or to a bucket that you may write and delete in"
_DATABASE = "set [database] to yours: its url, tables and columns"
_PLUGIN = "run it by itself until it works, or name another function that is installed"


@dataclass(frozen=True)
class Check:
    """One check: its name, the remedy where the error tells none, and whether it works without settings."""

    name: str
    remedy: str
    look: Callable[[Any], Iterable[Finding]]
    bare: bool = False


CHECKS = (
    Check("python", _INSTALL, checks.python, bare=True),
    Check("packages", _INSTALL, checks.packages, bare=True),
    Check("audio", _INSTALL, plugins.audio, bare=True),
    Check("worker", "see that this user may start processes, and that /dev/null can be opened", plugins.worker, True),
    Check("settings", _MEND, checks.settings),
    Check("runner", "give options that Beam knows: `resplice recover --help`", checks.runner),
    Check("java", "install Java 17, or set JAVA_HOME", runners.java),
    Check("job server", _JOB_SERVER, runners.job_server),
    Check("flink", "start the cluster, or set --flink_master to HOST:PORT of its REST address", runners.flink),
    Check("prism", "give --prism_location=FILE of Beam's release, or leave it out", runners.prism),
    Check("dataflow", "pip install 'resplice[dataflow]'", runners.dataflow),
    Check("workers", "give --environment_type=EXTERNAL, PROCESS, DOCKER or LOOPBACK with its config", runners.workers),
    Check("shared", "set the roots to s3://bucket/prefix, the database to PostgreSQL", runners.shared),
    *(Check(f"corpus.{name}", _FOLDER.format(name), partial(checks.corpus, name)) for name in checks.CORPUS),
    Check("workspace", "set corpus.workspace to a folder, or s3://bucket/prefix, that you may write", checks.workspace),
    Check("store", _STORE, checks.store),
    Check("database", _DATABASE, checks.database),
    Check("splitter", _PLUGIN, plugins.splitter),
    Check("json", _PLUGIN, plugins.json_writer),
    Check("engines", "name engines in [validate] that are installed, with settings that they know", plugins.engines),
    Check("speech", "mend [synthesis.engines]", plugins.speech),
    Check("optional", _INSTALL, plugins.optional, bare=True),
    Check("memory", "lower run.memory_mb", checks.memory),
    Check("open files", "ulimit -n 1024", checks.open_files),
    Check("disk", "set corpus.workspace to a disk that can be read", checks.disk),
    Check("temporary", "set TMPDIR to a folder that you may write", checks.temporary),
)


def run(args: Doctor, tokens: Sequence[str]) -> int:
    """Run the command; `tokens` are Beam's options."""
    told = progress.Told()
    quiet = args.quiet or args.json or not sys.stderr.isatty()
    findings: list[Finding] = []
    with nullcontext() if quiet else progress.shown("doctor", "check", len(CHECKS), told.counts):
        for finding in examine(args, tokens):
            findings.append(finding)
            told(len({found.check for found in findings}))
    if args.json:
        sys.stdout.write(provenance.document({"checks": plain(findings), "exit": exit_code(findings)}).decode())
    else:
        _show(findings)
    return exit_code(findings)


def examine(args: Doctor, tokens: Sequence[str]) -> Iterator[Finding]:
    """Yield what each check found; one that fails hides none of the others."""
    situation, problem = None, ""
    try:
        resolved = resolve(args.config, args.set, os.environ, overrides(args))
        situation = Situation(resolved, tuple(tokens))
    except UserError as error:
        problem = error.message
    for check in CHECKS:
        if situation is None and check.name == "settings":
            yield Finding("settings", State.FAILED, problem, check.remedy)
        elif situation is None and not check.bare:
            yield Finding(check.name, State.SKIPPED, "needs the settings")
        else:
            yield from looked(check, situation)


def looked(check: Check, situation: Situation | None) -> list[Finding]:
    """Return what a check found, also if it could not be made."""
    try:
        return list(check.look(situation))
    except UserError as error:
        return [Finding(check.name, State.FAILED, error.message, check.remedy)]
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return [Finding(check.name, State.FAILED, f"{where}{error.strerror or error}", check.remedy)]
    except Exception as error:
        return [Finding(check.name, State.FAILED, f"{type(error).__name__}: {error}", check.remedy)]


def _show(findings: Sequence[Finding]) -> None:
    rows = [(finding.check, finding.state, finding.found, finding.remedy) for finding in findings]
    table(("check", "result", "found", "remedy"), rows)
    count = {state: sum(finding.state == state for finding in findings) for state in State}
    if count[State.FAILED]:
        print(f"{count[State.FAILED]} failed, {count[State.WARNING]} warnings")
    else:
        print(f"all that is required works; {count[State.WARNING]} warnings")
