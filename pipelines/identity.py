"""Which vectors are meant: the embedder, its settings and the windows, by the flags and [embed]."""

from __future__ import annotations

import math
from typing import Any

from resplice.io import embedders
from resplice.io.embedders import Choice
from resplice.pipelines.config import Resolved
from resplice.transforms.records import UserError
from resplice.transforms.settings import Embed
from resplice.transforms.windows import LEAST_S, Windows

CANONICAL_S = 120.0
OF_A_MODEL = "model_sha256", "sample_rate", "pooling", "output"
"""The keys of [embed] that only an embedder with a model looks at."""
IDENTITY = "embedder", "windows", *OF_A_MODEL
"""The keys of [embed] on which the identity of a vector depends."""
_ORIGINS = "default", "file", "environment", "flag"


def choice(resolved: Resolved) -> Choice:
    """Return the embedder. UserError for one that cannot be, and for settings of a model where logmel is meant, which
    would be ignored: most likely --embedder was forgotten.
    """
    settings = resolved.settings.embed
    if settings.embedder == embedders.LOGMEL:
        for name in OF_A_MODEL:
            value = getattr(settings, name)
            if value != getattr(Embed(), name) and _rank(resolved, name) >= _rank(resolved, "embedder"):
                raise UserError(
                    f"embed.{name} is {value!r}, but {embedders.LOGMEL} has no model that it would be of: give "
                    f"--embedder, or leave --{name.replace('_', '-')} out"
                )
    return embedders.choose(settings, resolved.settings.store)


def _rank(resolved: Resolved, name: str) -> int:
    """Return how near to the command a key was given: logmel by a flag sets aside what a file says of a model."""
    return _ORIGINS.index(resolved.origin[f"embed.{name}"])


def windows_of(args: Any, text: str) -> Windows:
    """Return the windows; a recording is cut to other seconds than the canonical ones only if that is meant."""
    if args.duration_s is None or args.duration_s == CANONICAL_S:
        return Windows.of(text)
    if not args.allow_noncanonical:
        raise UserError(
            f"--duration-s {args.duration_s:g} is not the canonical {CANONICAL_S:g}: add --allow-noncanonical to embed "
            "the first seconds only, which gives vectors of their own"
        )
    if not LEAST_S <= args.duration_s < math.inf:
        raise UserError(f"--duration-s must be a number of seconds, at least {LEAST_S:g}, got {args.duration_s}")
    return Windows.of(text, args.duration_s)
