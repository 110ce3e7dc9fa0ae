"""Beam's options, parsed strictly: what the command line and `[beam]` give becomes Beam's own argument list.

Beam drops an option it does not know with a warning; here it is an error that names the nearest known one.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Any, NoReturn

from resplice.pipelines.keys import SECRET, nearest
from resplice.transforms.records import UserError

FN_API = "FnApiRunner"
_URL_PASSWORD = re.compile(r"://[^\s/@]*:[^\s@]+@")
_SECRET = re.compile(SECRET, re.IGNORECASE)
_SECRET_VALUE = re.compile(
    rf"secret_access_key|access_key_id|session_token|password|{SECRET}[\"']?\s*[=:]", re.IGNORECASE
)


def beam_argv(tokens: Sequence[str], beam: Mapping[str, Any], workers: int, own: Iterable[str] = ()) -> list[str]:
    """Return Beam's final argument list: `[beam]`, overridden by `tokens` of the command line.

    The runner is always named. `workers` (>= 1) becomes FnApiRunner's threads, unless Beam's own options say otherwise.
    `own` are the flags of the command, for the error about an unknown option. Raises UserError (exit 2) for an option
    that Beam does not know or cannot read, a credential, and DaskRunner.
    """
    parser = _parser()
    given = _destinations(parser, tokens)
    for key in beam:
        if f"--{key}" not in parser.actions:
            raise UserError(f"unknown option [beam] {key}; the nearest is {_nearest(f'--{key}', parser, ())}")
    filed = [token for key, value in beam.items() for token in _tokens(parser, key, value, given)]
    argv = [*filed, *tokens]
    _refuse_credentials(argv)
    parsed = _parse(parser, argv, own)
    runner = str(parsed.runner or FN_API)
    if "dask" in runner.lower():
        raise UserError("--runner DaskRunner is refused: it loses sinks silently; take FnApiRunner or FlinkRunner")
    known = _loaded().StandardOptions.KNOWN_RUNNER_NAMES
    if "." not in runner and not {runner.lower(), f"{runner.lower()}runner"} & {name.lower() for name in known}:
        raise UserError(f"--runner {runner} is no runner that Beam knows; the nearest is {nearest(runner, known)}")
    if not parsed.runner:
        argv.append(f"--runner={FN_API}")
    if runner.rpartition(".")[2] == FN_API:
        argv += _threads(workers, given | set(beam))
    return argv


def divided(tokens: Sequence[str], flags: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the tokens of a command with these flags, and the others: options of Beam, with their values, or of
    nobody.
    """
    actions, own, beams = _parser().actions, list[str](), list[str]()
    known = {*flags, "--", "--help", "--version"}
    left = list(tokens)
    while left:
        token = left.pop(0)
        name = token.partition("=")[0]
        foreign = token.startswith("--") and name.replace("_", "-") not in known
        action = actions.get(name) if foreign else None
        (beams if foreign else own).append(token)
        if token == "--":
            return own + left, beams
        if action is not None and "=" not in token and action.nargs != 0 and left:
            beams.append(left.pop(0))
    return own, beams


def runner_of(argv: Iterable[str]) -> str:
    """Return the runner that Beam's argument list names."""
    return str(_parse(_parser(), list(argv), ()).runner)


def in_process(argv: Iterable[str]) -> bool:
    """Return whether the runner of Beam's argument list works in this process."""
    return runner_of(argv).rpartition(".")[2] == FN_API


def flink_of(argv: Iterable[str]) -> str:
    """Return the address of the Flink cluster that runs the jobs of Beam's argument list; "": none does."""
    parsed = _parse(_parser(), list(argv), ())
    return str(parsed.flink_master) if "flink" in str(parsed.runner).lower() and "[" not in parsed.flink_master else ""


def refuse(option: str, own: Iterable[str], command: str) -> NoReturn:
    """Raise UserError for an option that a command without a pipeline was given."""
    parser, name = _parser(), option.partition("=")[0]
    if name in parser.actions:
        raise UserError(f"{name} is an option of Beam, and {command} runs no pipeline: leave it out")
    raise UserError(_unknown(name, nearest(name, own)))


def _unknown(name: str, nearest_: str) -> str:
    """Return what is said of an option that there is not; all of ours begin with two dashes."""
    if name.startswith("--"):
        return f"unknown option {name}; the nearest is {nearest_}"
    return f"unknown option {name}; a name that begins with - goes last, behind --: ... -- {name}"


class _Strict(argparse.ArgumentParser):
    """Beam's options without abbreviations, their errors as UserError."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"option of Beam: {message}")

    @property
    def actions(self) -> dict[str, argparse.Action]:
        return self._option_string_actions


def _loaded() -> ModuleType:
    # Loaded here and not above: it takes about a second, and warns about Google's libraries, which nothing here needs.
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return importlib.import_module("apache_beam.options.pipeline_options")
    finally:
        logging.disable(before)


def _strict(beams: type[argparse.ArgumentParser]) -> _Strict:
    # Beam's parser has methods of its own that the options classes call.
    both: Any = type("_StrictBeam", (_Strict, beams), {})
    parser: _Strict = both(allow_abbrev=False, add_help=False)
    return parser


@cache
def _parser() -> _Strict:
    pipeline_options: Any = _loaded()
    parser = _strict(pipeline_options._BeamArgumentParser)
    for options in pipeline_options.PipelineOptions.__subclasses__():
        if options.__module__ == pipeline_options.__name__:
            options._add_argparse_args(parser)
    return parser


def _parse(parser: _Strict, argv: Sequence[str], own: Iterable[str]) -> argparse.Namespace:
    parsed, rest = parser.parse_known_args(list(argv))
    if rest:
        name = rest[0].partition("=")[0]
        if not name.startswith("-"):
            raise UserError(f"unexpected argument {name}; a value that begins with - is given as --option=VALUE")
        raise UserError(_unknown(name, _nearest(name, parser, own)))
    return parsed


def _nearest(name: str, parser: _Strict, own: Iterable[str]) -> str:
    return nearest(name, [*own, *parser.actions])


def _destinations(parser: _Strict, tokens: Iterable[str]) -> set[str]:
    names = (token.partition("=")[0] for token in tokens)
    return {parser.actions[name].dest for name in names if name in parser.actions}


def _tokens(parser: _Strict, key: str, value: Any, given: set[str]) -> list[str]:
    """Return a key of `[beam]` as tokens; none where the command line gives the same option."""
    action = parser.actions[f"--{key}"]
    if action.dest in given:
        return []
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise UserError(f"[beam] {key} must be true or false, got {json.dumps(value, default=str)}")
        return [f"--{key}"] if value else []
    values = value if isinstance(value, list) else [value]
    return [f"--{key}={item if isinstance(item, str) else json.dumps(item, default=str)}" for item in values]


def _refuse_credentials(argv: Iterable[str]) -> None:
    """Raise UserError for an option that is a credential, and for a value that holds one."""
    for token in argv:
        name, _, value = token.partition("=")
        option = name.startswith("-")
        text = value if option else token
        if (option and _SECRET.search(name)) or _SECRET_VALUE.search(text) or _URL_PASSWORD.search(text):
            raise UserError(
                f"{name if option else 'an option of Beam'} would put a credential into the job graph: leave it out "
                "and give it by the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), a mounted file or a role"
            )


def _threads(workers: int, given: set[str]) -> list[str]:
    threads = {
        "direct_num_workers": str(workers),
        "direct_running_mode": "multi_threading" if workers > 1 else "in_memory",
    }
    return [f"--{name}={value}" for name, value in threads.items() if name not in given]
