"""The command line of every command, derived from its `Args` dataclass with cyclopts."""

from __future__ import annotations

import inspect
import operator
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import Field, fields
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, Literal, get_type_hints

from cyclopts import App, CycloptsError, Parameter

from resplice.pipelines.args import COMMANDS, Command
from resplice.pipelines.flags import Base, JobArgs, spelling
from resplice.pipelines.keys import nearest
from resplice.transforms.provenance import shown
from resplice.transforms.records import UserError, valid_video_id
from resplice.transforms.settings import CHOICES

_HELP = """Find, repair, revalidate and replace the damaged part of a corpus, and prove that nothing was lost.

Any key of resplice.toml: --set section.key=VALUE, or the variable RESPLICE_SECTION_KEY.
Commands that run a pipeline take Beam's own options too (--runner, --flink_master, ...)."""

_GROUPS = {
    "manifest": "Check the sidecars of artifacts, run again what they tell of, export them.",
    "corpus": "Extract corpora for training, each with a sidecar.",
}
"""What the words are about that begin more than one command and are none themselves."""


def command_name(tokens: Sequence[str]) -> str:
    """Return the longest command that `tokens` begin with; "" for none of the table."""
    fitting = (name for name in COMMANDS if list(tokens[: len(name.split())]) == name.split())
    return max(fitting, key=len, default="")


def show(tokens: Sequence[str]) -> None:
    """Print what needs no command to run: help, the version; raise UserError for an unknown command."""
    first = tokens[0] if tokens else "--help"
    groups = {name.split()[0] for name in COMMANDS}
    if not first.startswith("-") and first not in groups:
        raise UserError(f"unknown command {first}; the nearest is {nearest(first, groups)}")
    _parsed_or_refused(_app(), [*tokens] or ["--help"], run=True)


def parse(name: str, tokens: Sequence[str]) -> tuple[Base, list[str]]:
    """Return the flags of the command `name` and the tokens that are none of them, in order.

    Raises UserError (exit 2) for a missing, wrong or repeated value, a missing flag and a bad run id.
    """
    command = COMMANDS[name]
    _refuse_unknown_below(name, tokens)
    own, beams = _divided(command, tokens)
    bound, rest = _parsed_or_refused(_app(), own)
    rest = [*rest, *beams]
    args = command.args(**bound)
    for field in fields(args):
        _check(field, getattr(args, field.name), command)
    return args, rest


def _divided(command: Command, tokens: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the tokens of the command, and those of Beam: a command of any number of words would take their values."""
    words = any(get_type_hints(command.args)[field.name] == tuple[str, ...] for field in _positional(command))
    if not (command.beam and words and unknown_flags(tokens, command.args)):
        return list(tokens), []
    from resplice.pipelines import options  # Beam, for how many values its options have

    return options.divided(tokens, own_flags(command.args))


def _positional(command: Command) -> list[Field[Any]]:
    return [field for field in fields(command.args) if "positional" in field.metadata]


def _refuse_unknown_below(name: str, tokens: Sequence[str]) -> None:
    """Raise UserError for a word behind a command that should be one of the commands below it."""
    below = [other for other in COMMANDS if other.startswith(f"{name} ")]
    word = next(iter(tokens[len(name.split()) :]), "-")
    if below and not word.startswith("-"):
        raise UserError(f"unknown command {name} {word}; the nearest is {nearest(f'{name} {word}', below)}")


def own_flags(args: type[Base]) -> list[str]:
    """Return the flags of a command."""
    return [spelling(field.name, field.metadata) for field in fields(args) if "positional" not in field.metadata]


def unknown_flags(tokens: Sequence[str], args: type[Base]) -> list[str]:
    """Return the options among `tokens` (before `--`) that are no flags of the command; numbers are values."""
    own = {*own_flags(args), "--help", "-h", "--version"}
    end = tokens.index("--") if "--" in tokens else len(tokens)
    options = [token for token in tokens[:end] if re.match(r"-[^\d.]", token)]
    return [option for option in options if option.partition("=")[0].replace("_", "-") not in own]


def _app() -> App:
    app = App(name="resplice", help=_HELP, help_format="plaintext", version=lambda: metadata.version("resplice"))
    groups: dict[str, App] = {}
    for order, (name, command) in enumerate(COMMANDS.items()):
        group, _, leaf = name.rpartition(" ")
        if group and group not in groups:
            groups[group] = App(name=group, help=_GROUPS[group], sort_key=order)
            app.command(groups[group])
        if any(other.startswith(f"{name} ") for other in COMMANDS):  # a command that has further ones below it
            groups[name] = App(name=name, sort_key=order, **_told(command))
            groups[name].default(_function(command))
            app.command(groups[name])
        else:
            groups.get(group, app).command(_function(command), name=leaf, sort_key=order, **_told(command))
    return app


def _told(command: Command) -> dict[str, Any]:
    """Return what the help of a command says besides its flags."""
    about = f"{command.args.__doc__}" + ("\n\nTakes Beam's own options, too." if command.beam else "")
    return {"help": about, "help_epilogue": f"Example:\n\n  {command.example}"}


def _function(command: Command) -> Any:
    def function(*args: Any, **kwargs: Any) -> None:
        """Stand for the command: cyclopts reads only its signature."""

    hints = get_type_hints(command.args)
    given = sorted(fields(command.args), key=lambda field: "positional" not in field.metadata)
    parameters = [_parameter(field, hints[field.name]) for field in given]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return function


def _parameter(field: Field[Any], hint: Any) -> inspect.Parameter:
    meta = field.metadata
    choices = meta.get("choices") or CHOICES.get(meta.get("key", ""))
    if choices:
        choice: Any = operator.getitem(Literal, choices)  # mypy takes no variable in Literal[...]
        hint = GenericAlias(tuple, (choice, ...)) if hint == tuple[str, ...] else choice | None
    text = meta["help"] + (" [required]" if meta.get("required") else "")
    if "positional" in meta:
        if hint == tuple[str, ...]:
            words = Annotated[str, Parameter(help=text)]
            return inspect.Parameter(field.name, inspect.Parameter.VAR_POSITIONAL, annotation=words)
        annotation = Annotated[hint, Parameter(help=text)]
        return inspect.Parameter(field.name, inspect.Parameter.POSITIONAL_ONLY, annotation=annotation)
    flag = Parameter(
        name=spelling(field.name, meta),
        help=text,
        negative=(),
        show_default=False,
        json_list=False,
        name_transform=str,  # else choices are shown with - for _
    )
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=Annotated[hint, flag]
    )


def _parsed_or_refused(app: App, tokens: Sequence[str], run: bool = False) -> tuple[dict[str, Any], list[str]]:
    try:
        if run:
            app(tokens, exit_on_error=False, print_error=False, result_action="return_none")
            return {}, []
        _, bound, rest, _ = app.parse_known_args(tokens)
        return dict(bound.arguments), rest
    except CycloptsError as error:
        error.verbose = False
        raise UserError(re.sub(r"\s+Parsed: .*", "", str(error)).strip()) from None


def _check(field: Field[Any], value: Any, command: Command) -> None:
    flag, meta = spelling(field.name, field.metadata), field.metadata
    if issubclass(command.args, JobArgs) and "native" not in meta:
        _refuse_bytes(flag if "positional" not in meta else field.name.upper(), value)
    if meta.get("required") and value in (None, ()):
        kind = re.search(r"--run-id ([a-z]+)-", command.example)
        propose = f"{kind[1]}-{datetime.now(UTC):%Y-%m-%d}-a" if field.name == "run_id" and kind else "VALUE"
        raise UserError(f"{flag} is missing: add {flag} {propose}")
    if meta.get("positional") and value == "":
        raise UserError(f"{field.name.upper()} must not be empty")
    if "minimum" in meta and value is not None and value < meta["minimum"]:
        raise UserError(f"{flag} must be at least {meta['minimum']}, got {value}")
    if field.name == "run_id" and value is not None and not valid_video_id(value):
        raise UserError(
            f"{flag} {value!r} is no run id: letters, digits and _ . : @ -, "
            "first a letter, a digit, _ or -, no .., at most 200 bytes"
        )


def _refuse_bytes(flag: str, value: Any) -> None:
    """Raise UserError for a value that is not UTF-8: what a job writes of its run names its places, and is text."""
    for text in value if isinstance(value, tuple) else (value,):
        if isinstance(text, str) and (said := shown(text)) != text:
            raise UserError(f"{flag} {said}: the name is not UTF-8; name another")


def program() -> str:
    """Return what a user types to run resplice: its name, or where it was started from if it is not on PATH."""
    started = Path(sys.argv[0])
    here = started.name == "resplice" and started.is_file()
    return sys.argv[0] if here and not shutil.which("resplice") else "resplice"
