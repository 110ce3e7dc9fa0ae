"""What a worker's error was before Beam wrapped it: Beam keeps the text of a traceback, and not always the class."""

from __future__ import annotations

import re

from resplice.transforms.records import EXIT_NOTE, Damage, SnapshotLost, Terminated, Unavailable, UserError

_WHERE = re.compile(r"\s*\[while running '[^']*'\]")
_ERRNO = re.compile(r"\[Errno (\d+)\] ([^:]*)(?:: '(.*)')?")
_OURS = {kind.__name__: kind for kind in (UserError, Unavailable, SnapshotLost)}
_SYSTEM = frozenset({"OSError", "PermissionError", "FileNotFoundError", "IsADirectoryError", "NotADirectoryError"})
_PACKAGE = re.compile(r"ModuleNotFoundError: No module named '?resplice")
NOT_INSTALLED = (
    "the workers have no resplice: install the same version of it in their environment (--environment_type and "
    "--environment_config name it)"
)


def original(error: BaseException) -> BaseException | None:
    """Return the error that a worker raised, made anew; None if it is none that has a meaning of its own.

    Those are UserError, Damage, system errors, MemoryError and interruptions; any other is a failure of the job.
    """
    if isinstance(error, UserError):
        return type(error)(_WHERE.sub("", str(error.args[0])), error.exit_code)
    return original_of(str(error))


def original_of(text: str) -> BaseException | None:
    """Return the same from the text of a traceback, around which a runner may have put others of its own."""
    lines = [line.strip() for line in _WHERE.sub("", text).splitlines()]
    for at in reversed(range(len(lines))):
        if (made := _made(lines[at:])) is not None:
            return made
        if lines[at].startswith(("File ", "Traceback")):
            break
    return UserError(NOT_INSTALLED) if _PACKAGE.search(text) else None


def first_line(text: str) -> str:
    """Return the first line of a text that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "no message")


def last_line(error: BaseException) -> str:
    """Return the last line of an error that says something."""
    return first_line("\n".join(reversed(str(error).splitlines())))


def _made(lines: list[str]) -> BaseException | None:
    kind, _, text = lines[0].partition(":")
    name, text = kind.rpartition(".")[2], text.strip()
    if name == "RuntimeError":  # Beam's, around one that it could not make anew
        return _made([text, *lines[1:]])
    if name in _OURS:
        return _ours(name, [text, *lines[1:]])
    if name == "KeyboardInterrupt":
        return KeyboardInterrupt()
    if name == "Terminated":
        return Terminated()
    if name == "MemoryError":
        return MemoryError(text)
    if name == "Damage":
        code, _, more = text.partition(": ")
        return Damage(code, more)
    if name in _SYSTEM and (number := _ERRNO.match(text)):
        return OSError(int(number[1]), number[2], number[3])
    return None


def _ours(name: str, lines: list[str]) -> UserError:
    """Return an error of ours from its message, one or more lines, and the note of its exit code that follows."""
    for at, line in enumerate(lines):
        if line.startswith(EXIT_NOTE):
            return _OURS[name]("\n".join(lines[:at]), int(line.removeprefix(EXIT_NOTE)))
    return _OURS[name](lines[0])
