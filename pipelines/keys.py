"""The keys of resplice.toml: which there are, and what a value of each may be.

The table is derived from the defaults of `Settings`; a value's type is its default's.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from resplice.pipelines.args import PLAN_REASONS
from resplice.transforms import provenance
from resplice.transforms.records import UserError
from resplice.transforms.settings import CHOICES, Settings

MARGIN = "validate.signal.margin_"
SPEAKERS = "synthesis.engines."
_SPEAKER: dict[str, Any] = {"command": ("",), "voices": ("",), "default_voice": "", "model": ""}
COMPOSITES = ("polish.extra", "validate.engine_settings", "synthesis.engines", "beam")
_MAY_BE_EMPTY = ("database.columns.duration_s", "store.endpoint_url", "embed.model_sha256", "embed.output")
_FUNCTIONS = ("polish.splitter", "repair.json")
_MODELS = ("validate.asr.model",)
PATHS = ("corpus.raw", "corpus.transcribed", "corpus.validation", "corpus.workspace")
# key: least, most; an open range (">") excludes the least
_RANGES: dict[str, tuple[str, float, float]] = {
    "run.workers": (">=", 1, math.inf),
    "run.max_refused": (">=", 0, 1),
    "run.timeout_s": (">", 0, math.inf),
    "run.memory_mb": (">=", 64, math.inf),
    "polish.pad_s": (">=", 0, math.inf),
    "polish.max_segment_s": (">", 0, math.inf),
    "polish.min_silence_s": (">=", 0, math.inf),
    "repair.duration_tolerance_s": (">=", 0, math.inf),
    "validate.signal.too_short_s": (">=", 0, math.inf),
    "validate.signal.too_long_s": (">", 0, math.inf),
    "validate.signal.clipped_level": (">", 0, 1),
    "validate.signal.clipped_ratio": (">=", 0, 1),
    "validate.signal.silence_gap_s": (">=", 0, math.inf),
    "validate.signal.rate_low": (">=", 0, math.inf),
    "validate.signal.rate_high": (">=", 0, math.inf),
    "validate.signal.empty_text_chars": (">=", 0, math.inf),
    "validate.signal.duration_outlier_iqr": (">=", 0, math.inf),
    "synthesis.cpm": (">", 0, math.inf),
    "synthesis.tolerance_s": (">=", 0, math.inf),
    "synthesis.silence_gap_s": (">=", 0, math.inf),
    "synthesis.too_short_s": (">=", 0, math.inf),
    "synthesis.lock_timeout_s": (">=", 0, math.inf),
    "embed.batch_size": (">=", 1, math.inf),
    "embed.sample_rate": (">=", 1000, 192000),
}
SECRET = (
    r"(?:passw(?:or)?d|secret|token|credential|connection[_-]?string|(?:api|access|account|private)[_-]?key"
    r"|(?<![a-z])sas(?![a-z]))[\w.-]*"
)
"""What the name of a secret has in it, to its end; without regard to case."""
_SECRET = re.compile(rf"({SECRET})=.*", re.IGNORECASE | re.DOTALL)
_SECRET_FLAG = re.compile(rf"--?[\w.-]*{SECRET}", re.IGNORECASE)
_ROOT = re.compile(r"s3://[A-Za-z0-9][A-Za-z0-9._-]{2,254}(/.*)?", re.DOTALL)
_USER_PASSWORD = re.compile(r"^([\w+.-]+://[^:/@]*):([^@]*)@")
_QUERY_PASSWORD = re.compile(r"([?&](?:password|passwd|pwd|sslpassword|secret|token)=)([^&#]*)", re.IGNORECASE)
_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)([^?]+)(\?.*)?", re.DOTALL)


class Secret(str):
    """A URL that may hold a password from the environment; its `repr` shows it masked."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(masked(self))


@dataclass(frozen=True)
class Entry:
    """One given value: `where` names its place in errors, `base` is the folder its relative paths start from."""

    key: str
    value: Any
    origin: str
    where: str
    base: Path


def masked(text: str) -> str:
    """Return `text` with the password of a URL, if it holds one, replaced by `***`."""
    return _QUERY_PASSWORD.sub(r"\1***", _USER_PASSWORD.sub(r"\1:***@", text))


def safe(text: str) -> str:
    """Return an argument without what looks like a secret: the password of a URL, the value of a secret key."""
    return _SECRET.sub(r"\1=***", provenance.shown(masked(text)))


def safe_setting(key: str, value: Any) -> Any:
    """Return the value of a key as JSON has it, without secrets; that of a key named like a secret is `***`."""
    if re.search(SECRET, key, re.IGNORECASE):
        return "***"
    if isinstance(value, list | tuple):
        return [safe_setting(key, item) for item in value]
    return safe(str(value)) if isinstance(value, str) else value


def safe_words(words: Iterable[str]) -> list[str]:
    """Return the words of a command without secrets; the word behind a flag that is named like one is a secret."""
    said, hidden = list[str](), False
    for word in words:
        said.append("***" if hidden and not word.startswith("--") else safe(word))
        hidden = _SECRET_FLAG.fullmatch(word) is not None
    return said


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the one of `known` (at least one) that resembles `name` most."""
    return difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)[0]


def shown(value: Any) -> str:
    """Return a value as TOML writes it (a string of JSON is one of TOML), passwords masked."""
    if isinstance(value, str):
        return json.dumps(masked(value), ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False, default=str)


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of every leaf of nested dataclasses, but for the gathered ones."""
    for field in fields(node):
        key, value = prefix + field.name, getattr(node, field.name)
        if is_dataclass(value):
            yield from leaves(value, key + ".")
        elif key not in COMPOSITES:
            yield key, value


KEYS: dict[str, Any] = dict(leaves(Settings()))
SECTIONS = sorted({key.rpartition(".")[0] for key in KEYS} | {"beam"})


def variable(key: str) -> str:
    """Return the name of the environment variable of a key or section."""
    return "RESPLICE_" + key.upper().replace(".", "_")


def engines() -> list[str]:
    """Return the names of the installed engines, without importing them."""
    return sorted(entry.name for entry in metadata.entry_points(group="resplice.engines"))


def is_free(key: str) -> bool:
    """Return whether a key that is not in the table may be given: to a splitter, an engine or Beam."""
    section, _, name = key.rpartition(".")
    if not name:
        return False
    if section.startswith(SPEAKERS):
        return name in _SPEAKER
    if key.startswith(MARGIN) or section in ("polish", "beam"):
        return True
    return section != "validate.signal" and section in {f"validate.{engine}" for engine in engines()}


def unknown(key: str, where: str) -> UserError:
    """Return the error about a key that does not exist, naming the nearest one."""
    section = key.rpartition(".")[0]
    if section.startswith("validate.") and section != "validate.signal":
        installed = ", ".join(engines()) or "none"
        return UserError(
            f"unknown section [{section}] in {where}: no such engine is installed (installed: {installed})"
        )
    if section.startswith(SPEAKERS):
        return UserError(f"unknown key {key} in {where}: an engine has {', '.join(_SPEAKER)}")
    if where.startswith("RESPLICE_"):
        return UserError(f"unknown variable {where}; the nearest is {nearest(where, map(variable, KEYS))}")
    siblings = [known for known in KEYS if known.rpartition(".")[0] == section]
    return UserError(f"unknown key {key} in {where}; the nearest is {nearest(key, siblings or KEYS)}")


def _refuse_password(entry: Entry) -> None:
    if not isinstance(entry.value, str) or masked(entry.value) == entry.value:
        return
    if entry.key != "database.url":
        raise UserError(
            f"{entry.key} holds a password in {entry.where}: credentials come from the environment or a role"
        )
    if entry.origin != "environment":
        raise UserError(
            f"database.url holds a password in {entry.where}\n"
            "remedy: leave it out and give RESPLICE_DATABASE_URL, PGPASSWORD or ~/.pgpass"
        )


def checked(entry: Entry) -> Any:
    """Return the entry's value in the key's type, paths made absolute; raise UserError that shows both sides."""
    if entry.key not in KEYS and not is_free(entry.key):
        raise unknown(entry.key, entry.where)
    _refuse_password(entry)
    key, value, default = entry.key, entry.value, KEYS.get(entry.key)
    if key.startswith(MARGIN):
        default = 0.0
    if key.startswith(SPEAKERS):
        default = _SPEAKER[key.rpartition(".")[2]]
    if default is None:
        return absolute(key, value, entry.base)
    wanted, fits = _type(default, value)
    if not fits:
        raise _wrong(entry, wanted)
    if isinstance(default, float):
        value = float(value)
    if isinstance(default, tuple):
        value = tuple(value)
    return absolute(key, _in_range(entry, value), entry.base, entry.where)


def _type(default: Any, value: Any) -> tuple[str, bool]:
    if isinstance(default, int):
        return "an integer", isinstance(value, int) and not isinstance(value, bool)
    if isinstance(default, float):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return "a finite number", number and math.isfinite(value)
    if isinstance(default, tuple):
        return 'a list of strings (["a", "b"])', isinstance(value, list | tuple) and all(
            isinstance(item, str) for item in value
        )
    return "a string", isinstance(value, str)


def _in_range(entry: Entry, value: Any) -> Any:
    key = entry.key
    if key in CHOICES and value not in CHOICES[key]:
        raise _wrong(entry, "one of " + ", ".join(CHOICES[key]))
    if key == "plan.reasons" and not set(value) <= set(PLAN_REASONS):
        raise _wrong(entry, "a list of " + ", ".join(PLAN_REASONS))
    if key == "validate.engines" and not value:
        raise _wrong(entry, "a list of at least one engine")
    if value == "" and key not in _MAY_BE_EMPTY:
        raise _wrong(entry, "a string that is not empty")
    if key in _FUNCTIONS and not re.fullmatch(r"[\w.]+:\w+", value):
        raise _wrong(entry, "a function as package.module:name")
    sign, least, most = _RANGES.get(key, (">=", -math.inf, math.inf))
    if isinstance(value, int | float) and not (least < value <= most or (sign == ">=" and value == least)):
        raise _wrong(entry, f"{sign} {least:g}" + (f" and <= {most:g}" if most < math.inf else ""))
    return value


def _wrong(entry: Entry, wanted: str) -> UserError:
    return UserError(f"{entry.key} must be {wanted}, got {shown(entry.value)} in {entry.where}")


def absolute(key: str, value: Any, base: Path, where: str = "the defaults") -> Any:
    """Return the value with its local path, if the key has one, made absolute from `base`."""
    if key.startswith(SPEAKERS):
        return _speaker_paths(key, value, base)
    if key == "embed.embedder":
        return _model_path(value, base)
    if key in _MODELS:
        return str((base / value).resolve()) if value and isinstance(value, str) else value
    if key in PATHS:
        if "://" not in value and not value.startswith("s3:"):
            return str((base / value).resolve())
        if not _ROOT.fullmatch(value):
            raise UserError(f"{key} must be a folder or s3://bucket/prefix, got {shown(value)} in {where}")
        return value.rstrip("/")
    match = _SQLITE.fullmatch(value) if key == "database.url" else None
    if match and match[2] != ":memory:" and not match[2].startswith("file:"):
        return f"{match[1]}{(base / match[2]).resolve()}{match[3] or ''}"
    return value


def _model_path(value: str, base: Path) -> str:
    """Return an embedder with the local path of its model, if it names one, made absolute."""
    kind, colon, path = value.partition(":")
    return f"{kind}:{base / path}" if kind == "onnx" and path and "://" not in path else kind + colon + path


def _speaker_paths(key: str, value: Any, base: Path) -> Any:
    """Return the path of a model, and of a program that is named by a path, made absolute."""
    if key.endswith(".model"):
        return str((base / value).resolve())
    if key.endswith(".command") and value and "/" in value[0]:
        return (str(base / value[0]), *value[1:])
    return value
