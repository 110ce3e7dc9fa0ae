"""The fenced blocks and the commands of README.md and docs/*.md, and a shell that runs them in the order of a document.

A block that follows "`name`:" is the content of that file. `# exit N` behind a command is the exit code it must have.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from resplice.io.pool import close_all
from resplice.pipelines import cli, options
from resplice.pipelines.__main__ import main
from resplice.pipelines.args import COMMANDS

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "deploy" / "README.md"]

_BLOCK = re.compile(r"(?:`([\w./-]+)`:\n\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_STAND_INS = {"N": "1", "ID": "3zde0r6h5tbyx4vy", "R": "run-1", "VIDEO": "video-1", "FILE": "file-1", "DIR": "dir-1"}


@dataclass(frozen=True)
class Block:
    """One fenced block; `file` is the name that stands before it, "" without."""

    language: str
    text: str
    file: str


@dataclass(frozen=True)
class Command:
    """One line of an `sh` block: the words, the variables before them, the file its output goes to, its exit code."""

    text: str
    words: tuple[str, ...]
    variables: Mapping[str, str]
    out: str
    code: int


def blocks(document: Path, *languages: str) -> list[Block]:
    """Return the fenced blocks of a document, in order."""
    found = [Block(m[2], m[3], m[1] or "") for m in _BLOCK.finditer(document.read_text("utf-8"))]
    return [block for block in found if not languages or block.language in languages]


def prose(document: Path) -> str:
    """Return a document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of an `sh` block."""
    for line in block.text.splitlines():
        words = shlex.split(line, comments=True)
        variables = {}
        while words and (match := re.fullmatch(r"([A-Z_]+)=(.*)", words[0])):
            variables[match[1]] = match[2]
            words.pop(0)
        out = words[words.index(">") + 1] if ">" in words else ""
        code = re.search(r"# exit (\d+)", line)
        if words:
            given = words[: words.index(">")] if out else words
            yield Command(line.strip(), tuple(given), variables, out, int(code[1]) if code else 0)


def parse(words: list[str]) -> None:
    """Parse the words behind `resplice` as the command line does; the name of a command alone needs no flags."""
    name = cli.command_name(words)
    assert name, words
    if words == name.split():
        return
    filled = [_STAND_INS.get(word, word) for word in (words[: words.index(">")] if ">" in words else words)]
    args, rest = cli.parse(name, filled)
    assert isinstance(args, COMMANDS[name].args) and (COMMANDS[name].beam or not rest)
    if rest:
        options.beam_argv(rest, {}, 1)


def inline(document: Path) -> list[str]:
    """Return the commands in the running text of a document."""
    found = re.findall(r"`(resplice [^`]*)`", prose(document))
    return [text for text in dict.fromkeys(found) if "COMMAND" not in text]


@dataclass(frozen=True)
class Done:
    """What became of one command: its exit code, and what it printed."""

    command: Command
    code: int
    said: str


@dataclass
class Shell:
    """Run the blocks of documents in a folder. `hooks`: what is done before the resplice command of that name."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    hooks: Mapping[str, Callable[[Path], bool | None]] = field(default_factory=dict)
    after: Callable[[Command, Path], None] = lambda command, folder: None
    done: list[Done] = field(default_factory=list)

    def play(self, document: Path) -> list[tuple[Block, list[Done]]]:
        """Write the named files and run the commands, in order; return what each block did."""
        self.monkeypatch.chdir(self.folder)
        played = []
        for block in blocks(document):
            if block.file:
                self._write(block)
            begin = len(self.done)
            if block.language == "sh":
                for command in commands(block):
                    self.run(command)
            played.append((block, self.done[begin:]))
        return played

    def _write(self, block: Block) -> None:
        path = Path(block.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text("utf-8") + "\n" if path.name == "resplice.toml" and path.exists() else ""
        path.write_text(text + block.text, "utf-8")

    def run(self, command: Command) -> None:
        """Run one command; of a program that is not known here, fail."""
        program, *words = command.words
        run = {"resplice": self._resplice, "cd": self._cd, "python": self._process, "find": self._process,
               "pip": self._pip, "./run_local.sh": self._script}  # fmt: skip
        assert program in run, f"{command.text}: tests/blocks.py does not know how to run {program}"
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            code = run[program](command, words)
        if command.out:
            Path(command.out).write_text(output.getvalue(), "utf-8")
        self.done.append(Done(command, code, output.getvalue()))
        self.after(command, Path.cwd())

    def _resplice(self, command: Command, words: list[str]) -> int:
        name = cli.command_name(words)
        if name in self.hooks and self.hooks[name](Path.cwd()):
            return 0
        for name, value in command.variables.items():
            assert name == "PYTHONPATH"
            self.import_from(Path(value).resolve())
        self.monkeypatch.setattr(sys, "argv", ["resplice", *words])  # sidecars take the command from there
        return main(words)

    def import_from(self, folder: Path) -> None:
        """Let this process and its new workers import from a folder."""
        self.monkeypatch.syspath_prepend(folder)
        sys.path_importer_cache.clear()
        close_all()

    def _cd(self, command: Command, words: list[str]) -> int:
        self.monkeypatch.chdir(words[0])
        return 0

    def _process(self, command: Command, words: list[str]) -> int:
        program = [sys.executable] if command.words[0] == "python" else [command.words[0]]
        done = subprocess.run([*program, *words], capture_output=True, text=True)
        print(done.stdout + done.stderr)
        return done.returncode

    def _pip(self, command: Command, words: list[str]) -> int:
        """Install a folder with a pyproject.toml as pip would: its modules, and its entry points as metadata."""
        install, folder = words
        assert install == "install"
        project = tomllib.loads((Path(folder) / "pyproject.toml").read_text("utf-8"))
        info = Path(folder).resolve() / f"{project['project']['name']}-{project['project']['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['project']['name']}\nVersion: 1\n")
        points = project["project"]["entry-points"]
        lines = [
            line for group, of in points.items() for line in (f"[{group}]", *(f"{k} = {v}" for k, v in of.items()))
        ]
        (info / "entry_points.txt").write_text("\n".join(lines))
        assert all((Path(folder) / f"{module}.py").is_file() for module in project["tool"]["setuptools"]["py-modules"])
        self.import_from(info.parent)
        return 0

    def _script(self, command: Command, words: list[str]) -> int:
        """The script is run by hand: it makes a virtual environment. Here: it is there, and takes these arguments."""
        assert os.access(ROOT / "run_local.sh", os.X_OK)
        assert not words or words[0] == "test"
        return 0
