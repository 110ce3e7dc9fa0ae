"""A shelf of books for the tests of `synthesize`: texts, pipeline.json, and engines that are espeak-ng, also spoilt.

An engine of a shelf notes each call in `calls`; a file `spoil/ENGINE.STEM` says what it does to the text STEM.txt:
further options of espeak-ng, or `crash`, `hang`, `nothing`, `garbage`, `cut`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parts import missing

from resplice.pipelines.__main__ import main

SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "She had walked along the river for an hour before the rain began.",
    "Nobody in the village could say when the old mill had last turned.",
)
SLOW, QUIET = "-s 60 -g 20", "-a 8"
_ENGINE = """#!/bin/sh
# engine.sh NAME VOICE TEXT WAV
stem=$(basename "$3" .txt)
echo "$1 $2 $stem" >> calls
[ -n "$PACE" ] && sleep "$PACE"
spoil=$(cat "spoil/$1.$stem" 2>/dev/null)
case "$spoil" in
crash) echo "model fell over" >&2; exit 3 ;;
hang) echo $$ > hanging; sleep 1000 & wait; exit 0 ;;
nothing) exit 0 ;;
garbage) echo "no audio at all" > "$4"; exit 0 ;;
esac
voice=$2
case "$voice" in af_* | jim_*) voice=en-us ;; claribel_*) voice=en-gb ;; esac
espeak-ng -v "$voice" -f "$3" -w "$4" $( [ "$spoil" = cut ] || echo "$spoil" )
[ "$spoil" = cut ] && truncate -s 20000 "$4"
exit 0
"""
_CONFIG = """
[synthesis]
tolerance_s = 1.0

[synthesis.engines.kokoro]
command = ["./engine.sh", "kokoro", "{voice}", "{text}", "{wav}"]

[synthesis.engines.xtts]
command = ["./engine.sh", "xtts", "{voice}", "{text}", "{wav}"]
"""


def demand() -> None:
    """Skip the running test without espeak-ng; in CI, which installs it, fail it."""
    if shutil.which("espeak-ng") is None:
        missing("espeak-ng is not here (Debian: apt install espeak-ng)")


def text(number: int) -> str:
    """Return a text of a few sentences, another one for each number."""
    return " ".join([SENTENCES[number % 3]] * (2 + number % 3)) + f" This was number {number}."


@dataclass
class Shelf:
    """A folder with pipeline.json and its books."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, books: Mapping[str, int], config: str = _CONFIG) -> Shelf:
        """Write books with so many chunks each."""
        demand()
        shelf = cls(folder)
        (folder / "spoil").mkdir(parents=True)
        (folder / "engine.sh").write_text(_ENGINE)
        (folder / "engine.sh").chmod(0o755)
        (folder / "resplice.toml").write_text(config)
        files = {}
        for book, count in books.items():
            (folder / "texts" / book).mkdir(parents=True)
            files[book] = {"chunk_paths": [f"texts/{book}/chunk_{n:04d}.txt" for n in range(1, count + 1)]}
            for n in range(1, count + 1):
                shelf.text(book, n).write_text(text(n))
        shelf.write({"phase3": {"files": files}})
        return shelf

    @property
    def path(self) -> Path:
        return self.folder / "pipeline.json"

    def text(self, book: str, number: int) -> Path:
        return self.folder / f"texts/{book}/chunk_{number:04d}.txt"

    def audio(self, book: str, number: int) -> Path:
        return self.folder / f"audio/{book}/chunk_{number:04d}.wav"

    def state(self) -> dict[str, Any]:
        """Return the state, which must be strict JSON."""
        return json.loads(self.path.read_bytes(), parse_constant=_refuse)  # type: ignore[no-any-return]

    def write(self, state: Mapping[str, Any]) -> None:
        self.path.write_text(json.dumps(state))

    def entry(self, book: str = "book") -> dict[str, Any]:
        return self.state()["phase4"]["files"][book]  # type: ignore[no-any-return]

    def change(self, book: str = "book", **values: Any) -> None:
        """Change keys of a book's entry."""
        state = self.state()
        state["phase4"]["files"][book] |= values
        self.write(state)

    def rows(self, book: str = "book") -> dict[str, dict[str, Any]]:
        return {row["chunk_id"]: row for row in self.entry(book)["chunks"]}

    def spoil(self, engine: str, numbers: Iterable[int], how: str) -> None:
        for number in numbers:
            (self.folder / f"spoil/{engine}.chunk_{number:04d}").write_text(how)

    def mend(self) -> None:
        """Let no chunk be spoilt any more."""
        for path in (self.folder / "spoil").iterdir():
            path.unlink()

    def calls(self) -> list[tuple[str, str, str]]:
        """Return the calls of engines since the last time, sorted: (chunk, engine, voice)."""
        log = self.folder / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        found = [tuple(line.split()) for line in lines]
        return sorted((chunk, engine, voice) for engine, voice, chunk in found)

    def called(self) -> list[str]:
        """Return the chunks for which engines were called since the last time, sorted."""
        return [chunk for chunk, _, _ in self.calls()]

    def digests(self, book: str = "book") -> dict[str, str]:
        """Return the digest of each audio file of a book."""
        files = (self.folder / f"audio/{book}").glob("*.wav")
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def command(self, *more: str, run_id: str = "r", engine: str = "kokoro") -> list[str]:
        """Return the arguments of `synthesize`; `book` unless other books are named."""
        named = () if {"--all", "--file-id"} & set(more) else ("--file-id", "book")
        return ["synthesize", "--pipeline-json", "pipeline.json", "--engine", engine, "--run-id", run_id, *named, *more]

    def __call__(self, *more: str, **named: str) -> int:
        """Run the command in this folder and return its exit code."""
        return main(self.command(*more, **named))

    def summary(self, run_id: str = "r") -> dict[str, Any]:
        return json.loads((self.folder / f"resplice-work/runs/{run_id}/synthesize/summary.json").read_text())  # type: ignore[no-any-return]

    def refused(self, run_id: str = "r") -> dict[str, str]:
        """Return the refused chunks and their reasons."""
        path = self.folder / f"resplice-work/runs/{run_id}/synthesize/refused.jsonl"
        return {line["unit"]: line["reason"] for line in map(json.loads, path.read_text().splitlines())}


def ids(numbers: Iterable[int]) -> list[str]:
    return [f"chunk_{number:04d}" for number in numbers]


def program(shelf: Shelf, *more: str, **named: str) -> Sequence[str]:
    """Return the command line of a process of its own."""
    return [sys.executable, "-m", "resplice.pipelines", *shelf.command(*more, **named)]


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is no strict JSON")
