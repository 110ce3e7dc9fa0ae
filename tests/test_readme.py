"""README and docs tell the truth: commands parse, flags, proofs and links are there, every command is in the table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from blocks import DOCUMENTS, ROOT, Command, blocks, commands, inline, parse, prose

from resplice.pipelines import cli, options
from resplice.pipelines.args import COMMANDS

README = ROOT / "README.md"
SHOWN = [
    (document, command) for document in DOCUMENTS for block in blocks(document, "sh") for command in commands(block)
]
OF_SYSTEM = {"docker", "gcloud", "go", "install", "java", "mkdir", "sudo"}
PROGRAMS = {"resplice", "./run_local.sh", "cd", "python", "pip", "find", *OF_SYSTEM}


@pytest.mark.parametrize("command", [pytest.param(c, id=f"{d.name}: {c.text}") for d, c in SHOWN])
def test_a_command_that_is_shown_parses(command: Command) -> None:
    program, *words = command.words
    assert program in PROGRAMS
    if program == "resplice":
        parse(words)
    elif program == "./run_local.sh":
        assert (ROOT / program).is_file() and words[:1] in ([], ["test"])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_command_in_the_running_text_parses(document: Path) -> None:
    for text in inline(document):
        parse(text.split()[1:])


def test_every_command_is_in_the_table_of_the_readme() -> None:
    table = "\n".join(line for line in README.read_text("utf-8").splitlines() if line.startswith("| `resplice"))
    named = {cli.command_name(text.split()[1:]) for text in re.findall(r"`(resplice [^`]*)`", table)}
    assert named - {""} == set(COMMANDS)


KNOWN = {flag for command in COMMANDS.values() for flag in cli.own_flags(command.args)}
OF_ALL = {"--help", "--version"}
OF_BEAM = set(options._parser().actions) | {"--option", "--keep"}
OF_OTHERS = {"--build", "--detach", "--file", "--tag", "--target", "--wait", "--service_port", "--flink-master",
             "--job-port", "--artifact-port", "--expansion-port"}  # fmt: skip
"""Flags of Docker, of Beam's worker pool and of its job server."""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_flag_that_is_mentioned_exists(document: Path) -> None:
    shown = "\n".join(block.text for block in blocks(document, "sh", "text"))
    mentioned = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", prose(document) + shown))
    assert mentioned - KNOWN - OF_ALL - OF_BEAM - (OF_OTHERS if document.parent.name == "deploy" else set()) == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_and_benchmark_that_is_named_is_there(document: Path) -> None:
    for folder, file, name in re.findall(r"(tests|benchmarks)/(\w+\.py)(?:::(\w+))?", document.read_text("utf-8")):
        path = ROOT / folder / file
        assert path.is_file(), path
        assert not name or f"def {name}(" in path.read_text("utf-8"), f"{file}::{name}"


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if path.name == "crashes.md"], ids=["crashes.md"])
def test_slow_is_said_of_just_the_slow_tests(document: Path) -> None:
    for file, name, slow in re.findall(r"`tests/(\w+\.py)::(\w+)`( \(slow\))?", document.read_text("utf-8")):
        text = (ROOT / "tests" / file).read_text("utf-8")
        decorators = text[: text.index(f"def {name}(")].rpartition("\n\n")[2]
        assert ("@pytest.mark.slow" in decorators) == bool(slow), name


def test_the_guarantees_name_a_test_each() -> None:
    section = README.read_text("utf-8").partition("\n## Guarantees")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    assert rows and all(re.search(r"`(tests|benchmarks)/\w+\.py", row) for row in rows)


def slug(heading: str) -> str:
    """Return the anchor of a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_resolves(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
            assert anchor in map(slug, headings), target
