"""The README tells the truth: its commands parse, its table has every command, its proofs are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from resplice.pipelines import cli
from resplice.pipelines.args import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
WRITTEN = [m[1] for m in re.finditer(r"`(resplice [^`]*)`", README)]
SHOWN = [line.split("#")[0].split(">")[0].strip() for line in README.splitlines() if line.startswith("resplice ")]


def command_of(text: str) -> str:
    words = shlex.split(text)[1:]
    return " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]


@pytest.mark.parametrize("text", [text for text in WRITTEN + SHOWN if "COMMAND" not in text])
def test_a_command_of_the_readme_parses(text: str) -> None:
    filled = re.sub(r"\bN\b", "1", text.split(">")[0])
    name = command_of(filled)
    words = shlex.split(filled)[1:]
    args, rest = cli.parse(name, words)
    assert isinstance(args, COMMANDS[name].args) and not rest


def test_every_command_is_in_the_readme() -> None:
    assert {command_of(text) for text in WRITTEN if "COMMAND" not in text} >= set(COMMANDS)


def test_every_proof_of_the_readme_is_there() -> None:
    proofs = set(re.findall(r"`((?:tests|benchmarks)/\w+\.py)`", README))
    assert proofs and all((ROOT / proof).is_file() for proof in proofs)
