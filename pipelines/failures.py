"""What a worker's error was before Beam wrapped it: Beam keeps the text of a traceback, and not always the class."""

from __future__ import annotations

import re

from resplice.transforms.records import SnapshotLost, Terminated, Unavailable, UserError

_WHERE = re.compile(r"\s*\[while running '[^']*'\]\s*\Z")
_ERRNO = re.compile(r"\[Errno (\d+)\] ([^:]*)(?:: '(.*)')?")
_OURS = {kind.__name__: kind for kind in (UserError, Unavailable, SnapshotLost)}
_SYSTEM = frozenset({"OSError", "PermissionError", "FileNotFoundError", "IsADirectoryError", "NotADirectoryError"})


def original(error: BaseException) -> BaseException | None:
    """Return the error that a worker raised, made anew: UserError, a system error, MemoryError, an interruption.

    None: it is none of these, and a failure of the job.
    """
    text = _WHERE.sub("", str(error))
    if isinstance(error, UserError):
        return type(error)(_WHERE.sub("", str(error.args[0])), error.exit_code)
    for line in reversed([line.strip() for line in text.splitlines() if line.strip()]):
        if (made := _made(line)) is not None:
            return made
        if line.startswith(("File ", "Traceback")):
            break
    return None


def _made(line: str) -> BaseException | None:
    kind, _, text = line.partition(":")
    name, text = kind.rpartition(".")[2], text.strip()
    if name in _OURS:
        return _OURS[name](text)
    if name == "KeyboardInterrupt":
        return KeyboardInterrupt()
    if name == "Terminated":
        return Terminated()
    if name == "MemoryError":
        return MemoryError(text)
    if name in _SYSTEM and (number := _ERRNO.match(text)):
        return OSError(int(number[1]), number[2], number[3])
    return None
