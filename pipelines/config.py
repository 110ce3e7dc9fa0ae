"""The configuration in force: flag > environment > file > default, each key checked and its origin remembered.

`resplice config` prints it, `resplice config --example` prints a complete file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from resplice.pipelines.flags import Base
from resplice.pipelines.keys import (
    KEYS,
    PATHS,
    SECTIONS,
    SPEAKERS,
    Entry,
    Secret,
    absolute,
    checked,
    engines,
    is_free,
    leaves,
    nearest,
    safe_setting,
    shown,
    unknown,
    variable,
)
from resplice.transforms.kinds import KINDS
from resplice.transforms.records import Exit, UserError
from resplice.transforms.settings import Polish, Settings, Validate

DEFAULT_FILE = "resplice.toml"
EXAMPLE: str = resources.files("resplice.pipelines").joinpath(DEFAULT_FILE).read_text("utf-8")


@dataclass(frozen=True)
class Resolved:
    """Settings, the origin of every key (default, file, environment, flag), and the file (None without one)."""

    settings: Settings
    origin: dict[str, str]
    path: Path | None


def resolve(
    path: str | None, sets: Sequence[str], environ: Mapping[str, str], flags: Mapping[str, Any] | None = None,
    fallbacks: Mapping[str, Any] | None = None,
) -> Resolved:  # fmt: skip
    """Return the settings in force and where each comes from.

    `path` is the value of `--config` (None: `resplice.toml` in the current folder if it is there), `sets` the values of
    `--set`, `flags` the keys that flags of their own override, `fallbacks` defaults in place of the usual ones (a path
    is relative to the current folder). Raises UserError (exit 2) for a missing named file, an unknown section or key, a
    wrong type, choice or range, and a password outside the environment.
    """
    file = _file(path)
    here = Path.cwd()
    entries = [*_file_entries(file), *_environment_entries(environ, here)]
    entries += [_set_entry(text, here) for text in sets]
    entries += [Entry(key, value, "flag", _flag(key), here) for key, value in (flags or {}).items()]
    values, origin = _checked(entries)
    splitter = values.get("polish.splitter", Polish().splitter)
    _refuse_extras_of_the_built_in_splitter(splitter, entries)
    for key, value in (fallbacks or {}).items():
        values.setdefault(key, absolute(key, value, here))
    base = file.absolute().parent if file else here
    for key in (*PATHS, "database.url"):
        values.setdefault(key, absolute(key, KEYS[key], base))
    values["database.url"] = Secret(values["database.url"])
    settings = _filled(Settings(), "", _with_composites(values))
    _check_engines(settings.validate)
    return Resolved(settings, origin, file.absolute() if file else None)


def _check_engines(validate: Validate) -> None:
    """Check the settings of our own engines, also of those that are not in the chain; others check theirs."""
    for name, given in validate.engine_settings:
        if name in KINDS:
            KINDS[name].check(dict(given))


def _flag(key: str) -> str:
    return "--" + key.rpartition(".")[2].replace("_", "-")


def _file(path: str | None) -> Path | None:
    file = Path(path or DEFAULT_FILE)
    if file.is_file():
        return file
    if path is None:
        return None
    raise UserError(f"--config {path}: no such file; `resplice config --example > {path}` writes one")


def _file_entries(file: Path | None) -> Iterator[Entry]:
    if file is None:
        return
    try:
        data = tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not valid TOML: {error}") from None
    top = sorted({section.partition(".")[0] for section in SECTIONS})
    for name, value in data.items():
        if name not in top:
            raise UserError(f"unknown section [{name}] in {file}; the nearest is [{nearest(name, top)}]")
        yield from _flattened(name, value, file)


def _flattened(key: str, value: Any, file: Path) -> Iterator[Entry]:
    """Yield the keys of a section; a table below [beam] or [polish] is one value."""
    section = key in SECTIONS or (isinstance(value, dict) and is_free(f"{key}.x") and key.startswith("validate."))
    if section and not isinstance(value, dict):
        raise UserError(f"{key} must be a section ([{key}]), got {shown(value)} in {file}")
    if section or (value and isinstance(value, dict) and not key.startswith(("beam.", "polish."))):
        for name, inner in value.items():
            yield from _flattened(f"{key}.{name}", inner, file)
    else:
        yield Entry(key, value, "file", str(file), file.absolute().parent)


def _environment_entries(environ: Mapping[str, str], here: Path) -> Iterator[Entry]:
    exact = {variable(key): key for key in KEYS}
    for name in sorted(environ):
        if name.startswith("RESPLICE_"):
            key = exact.get(name) or _key_in_a_section(name)
            if key:
                yield Entry(key, _parsed(key, environ[name]), "environment", name, here)


def _key_in_a_section(name: str) -> str | None:
    """Return the key that a variable of a known section would be; None for a variable of something else."""
    of_engines = [f"validate.{engine}" for engine in engines()] if name.startswith("RESPLICE_VALIDATE_") else []
    for section in sorted([*SECTIONS, *of_engines], key=len, reverse=True):
        if name.startswith(variable(section) + "_"):
            return f"{section}.{name[len(variable(section)) + 1 :].lower()}"
    return None


def _set_entry(text: str, here: Path) -> Entry:
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set {key}: must be section.key=VALUE, for example --set run.workers=4")
    return Entry(key.strip(), _parsed(key.strip(), value), "flag", f"--set {key.strip()}", here)


def _parsed(key: str, text: str) -> Any:
    """Return `text` read as a TOML value; as it stands where the key is a string or it is no TOML."""
    try:
        value = tomllib.loads(f"value = {text}")["value"] if "\n" not in text else text
    except tomllib.TOMLDecodeError:
        value = text
    return text if isinstance(KEYS.get(key), str) and not isinstance(value, str) else value


def _checked(entries: Iterable[Entry]) -> tuple[dict[str, Any], dict[str, str]]:
    values: dict[str, Any] = {}
    origin = dict.fromkeys(KEYS, "default") | {"beam.runner": "default"}
    for entry in entries:
        values[entry.key] = checked(entry)
        origin[entry.key] = entry.origin
    return values, origin


def _refuse_extras_of_the_built_in_splitter(splitter: str, entries: Iterable[Entry]) -> None:
    for entry in entries:
        if splitter == Polish().splitter and entry.key.startswith("polish.") and entry.key not in KEYS:
            raise unknown(entry.key, entry.where)


def _with_composites(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with the free keys gathered: foreign splitter, engines, Beam."""
    free = {key: value for key, value in values.items() if key not in KEYS}
    engines: dict[str, dict[str, Any]] = {}
    for key, value in sorted(free.items()):
        if key.startswith("validate."):
            section, _, name = key.rpartition(".")
            engines.setdefault(section.removeprefix("validate."), {})[name] = value
    speakers: dict[str, dict[str, Any]] = {}
    for key, value in sorted(_below(SPEAKERS, free).items()):
        engine, _, name = key.rpartition(".")
        speakers.setdefault(engine, {})[name] = value
    beam = dict(Settings().beam) | _below("beam.", free)
    return dict(values) | {
        "polish.extra": tuple(sorted(_below("polish.", free).items())),
        "validate.engine_settings": tuple((name, tuple(given.items())) for name, given in engines.items()),
        "synthesis.engines": tuple((name, tuple(given.items())) for name, given in speakers.items()),
        "beam": tuple(sorted(beam.items())),
    }


def _below(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}


def _filled(node: Any, prefix: str, values: Mapping[str, Any]) -> Any:
    changes = {}
    for field in fields(node):
        key, value = prefix + field.name, getattr(node, field.name)
        nested = is_dataclass(value)
        changes[field.name] = _filled(value, key + ".", values) if nested else values.get(key, value)
    return replace(node, **changes)


def lines(resolved: Resolved) -> Iterator[str]:
    """Yield what is in force as TOML, one key a line, with its origin."""
    yield f"# file: {resolved.path or 'none (resplice.toml is not in the current folder)'}"
    for key, value in _values(resolved.settings).items():
        yield f"{key} = {shown(value)}  # {resolved.origin[key]}"


def given(resolved: Resolved) -> dict[str, dict[str, Any]]:
    """Return the settings that are not the defaults, but for Beam's: `value`, without secrets, and `from` where."""
    return {
        key: {"value": safe_setting(key, value), "from": resolved.origin[key]}
        for key, value in _values(resolved.settings).items()
        if resolved.origin.get(key, "default") != "default" and value != KEYS.get(key) and not key.startswith("beam.")
    }


def _values(settings: Settings) -> dict[str, Any]:
    """Return the value of every key in force."""
    values = dict(leaves(settings)) | {f"polish.{key}": value for key, value in settings.polish.extra}
    for name, given in settings.validate.engine_settings:
        values |= {f"validate.{name}.{key}": value for key, value in given}
    for name, given in settings.synthesis.engines:
        values |= {f"{SPEAKERS}{name}.{key}": value for key, value in given}
    return values | {f"beam.{key}": value for key, value in settings.beam}


def run(args: Base, resolved: Resolved, beam_argv: list[str]) -> int:
    """Print the configuration in force, one key a line, with its origin."""
    print("\n".join(lines(resolved)))
    return Exit.DONE
