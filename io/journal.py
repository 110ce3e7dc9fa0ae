"""The journal of `finalize`: every intended effect, durable before the first one happens, and what follows from it.

An effect is conditional on the content of its target and leaves a content that the journal names, so that a process
which was killed anywhere, or another one at the same time, finds out from target and journal alone what is left to do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from resplice.io import conditional, documents
from resplice.io.store import Store
from resplice.transforms import provenance
from resplice.transforms.repack import tar_name

TAR, STATUS = "tar", "status"
DONE, TO_DO, CONFLICT = "done", "to do", "conflict"
Key = tuple[str, str]


@dataclass(frozen=True)
class Line:
    """One intended effect: `before` is what `undo` restores, `after` what we write.

    Both are the SHA-256 of a tar (`before` None: there was none) or the value of a status. `token` is the version of
    the tar that `before` was seen in, `original` the name under `finalize/originals/` that keeps it.
    """

    kind: str
    unit: str
    before: str | None
    after: str
    token: str = ""
    original: str = ""
    at: str = ""

    @property
    def key(self) -> Key:
        """Return what the effect is on."""
        return self.kind, self.unit

    def to_json(self) -> dict[str, Any]:
        """Return the line as journal.jsonl holds it."""
        value = {"kind": self.kind, "unit": self.unit, "at": self.at}
        if self.kind == STATUS:
            return {**value, "before": {"value": self.before}, "after": {"value": self.after}}
        before = {"sha256": self.before, "token": self.token}
        return {**value, "before": before, "after": {"sha256": self.after}, "original": self.original}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Line:
        """Make a line from what `to_json` returned."""
        name = "value" if value["kind"] == STATUS else "sha256"
        return cls(value["kind"], value["unit"], value["before"][name], value["after"][name],
                   value["before"].get("token", ""), value.get("original", ""), value["at"])  # fmt: skip


@dataclass(frozen=True)
class Now:
    """What a target is at this moment: its content, a tar's token; `gone` if the videos table has no such video."""

    content: str | None
    token: str = ""
    gone: bool = False


@dataclass(frozen=True)
class Wanted:
    """What a target shall become, and what the baseline saw: a tar's token (None: no tar), or a status."""

    kind: str
    unit: str
    after: str
    baseline: str | None

    @property
    def key(self) -> Key:
        """Return what the effect is on."""
        return self.kind, self.unit


@dataclass(frozen=True)
class Effect:
    """Change the target of a line from the content `found` to `after`; with `undo` to `before`."""

    line: Line
    found: str | None
    undo: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the effect as JSON can say it."""
        return {"line": self.line.to_json(), "found": self.found, "undo": self.undo}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Effect:
        """Make an effect from what `to_json` returned."""
        return cls(Line.from_json(value["line"]), value["found"], value["undo"])

    @property
    def to(self) -> str | None:
        """Return the content that the target shall get."""
        return self.line.before if self.undo else self.line.after


@dataclass(frozen=True)
class Decision:
    """What is to be said of one target: DONE, TO_DO (with the effect) or CONFLICT (with both sides)."""

    state: str
    effect: Effect | None = None
    detail: str = ""


def decide(wanted: Wanted, now: Now, lines: Sequence[Line]) -> Decision:
    """Decide what finalize does with a target: only what the baseline saw, or the journal knows, may be replaced."""
    if now.gone:
        return _conflict(wanted.kind, now, f"the baseline saw {_shown(wanted.kind, wanted.baseline)}")
    if now.content == wanted.after:
        return Decision(DONE)
    known = next((line for line in reversed(lines) if now.content in (line.before, line.after)), None)
    if known:
        line = replace(known, after=wanted.after, at=provenance.now())
        return Decision(TO_DO, Effect(line, now.content))
    seen = (now.token or None) if wanted.kind == TAR else now.content
    if seen != wanted.baseline:
        return _conflict(wanted.kind, now, f"the baseline saw {_shown(wanted.kind, wanted.baseline, token=True)}")
    line = Line(wanted.kind, wanted.unit, now.content, wanted.after, now.token, at=provenance.now())
    if wanted.kind == TAR and now.content is not None:
        line = replace(line, original=_original(wanted.unit, now.content, lines))
    return Decision(TO_DO, Effect(line, now.content))


def decide_undo(now: Now, lines: Sequence[Line]) -> Decision:
    """Decide what undo does with a target: only what we wrote is restored."""
    for line in reversed(lines):
        if not now.gone and now.content == line.after:
            return Decision(TO_DO, Effect(line, now.content, undo=True))
    if not now.gone and any(now.content == line.before for line in lines):
        return Decision(DONE)
    return _conflict(lines[-1].kind, now, f"finalize wrote {_shown(lines[-1].kind, lines[-1].after)}")


def _original(video: str, sha256: str, lines: Sequence[Line]) -> str:
    """Return the name that keeps a tar; one that came later, after the baseline was refreshed, gets another one."""
    name = tar_name(video)
    taken = any(line.original == name and line.before != sha256 for line in lines)
    return tar_name(f"{video}.{sha256[:12]}") if taken else name


def _conflict(kind: str, now: Now, other: str) -> Decision:
    if kind == TAR:
        state = f"the tar is {_shown(kind, now.content)} of version {now.token}" if now.token else "there is no tar"
    else:
        state = "the video is not in the table" if now.gone else f"validation_status is {_shown(kind, now.content)}"
    return Decision(CONFLICT, None, f"{state}, {other}; it is left as it is")


def _shown(kind: str, content: str | None, token: bool = False) -> str:
    if kind == STATUS:
        return "null" if content is None else repr(content)
    return "none" if content is None else f"{'version' if token else 'sha256'} {content}"


def load(store: Store, key: str) -> dict[Key, list[Line]]:
    """Return the lines of a journal by target, in order; {} if there is none."""
    found: dict[Key, list[Line]] = defaultdict(list)
    for line in _parsed(store, key, store.read(key)) if store.head(key) else ():
        found[line.key].append(line)
    return dict(found)


def append(store: Store, key: str, lines: Iterable[Line]) -> None:
    """Add lines, but for those that are the last of their target already; by compare-and-set, so that none is lost."""
    wanted = list(lines)

    def added(data: bytes) -> bytes:
        last = {line.key: line for line in _parsed(store, key, data)}
        new = [line for line in wanted if not (line.key in last and _same(last[line.key], line))]
        return data + provenance.jsonl(line.to_json() for line in new)

    conditional.update(store, key, added)


def _parsed(store: Store, key: str, data: bytes) -> Iterator[Line]:
    return (Line.from_json(value) for value in documents.lines(store, key, data))


def _same(one: Line, other: Line) -> bool:
    return replace(one, at="", token="") == replace(other, at="", token="")
