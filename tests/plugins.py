"""Functions and engines that worker processes import by name in the tests: well-behaved ones, and every kind of bad."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from resplice.transforms.records import Damage, Reason, Refusal, UserError


def echo(value: Any) -> Any:
    return value


def pid() -> int:
    return os.getpid()


class Nested:
    @staticmethod
    def double(value: int) -> int:
        return 2 * value


def abort() -> NoReturn:
    os.abort()


def kill_myself(number: int) -> None:
    os.kill(os.getpid(), number)


def leave(status: int) -> NoReturn:
    os._exit(status)


def close_all_files() -> None:
    os.closerange(0, 100)
    time.sleep(60)


def system_exit() -> NoReturn:
    sys.exit(3)


def sleep(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


def spin() -> NoReturn:
    while True:
        pass


def hold_interpreter() -> int:
    return sum(range(10**15))  # one call into C that never lets another thread run


def allocate_bytes(size: int) -> int:
    return len(bytearray(size))


def allocate_array(size: int) -> int:
    return len(np.ones(size, dtype=np.uint8))


def divide() -> float:
    return 1 / 0


def unpicklable() -> Any:
    return lambda: None


def breaks_when_read() -> Any:
    return _BreaksWhenRead()


class _BreaksWhenRead:
    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("no number",)


def shout(text: str) -> str:
    print(text)
    os.write(1, text.encode())
    return "done"


def read_input() -> str:
    return sys.stdin.read()


def refuse() -> NoReturn:
    raise Refusal(Reason.SEGMENT_MISMATCH, "two and three", "a_split0")


def damage() -> NoReturn:
    raise Damage("flac_md5", "other audio")


def complain() -> NoReturn:
    raise UserError("wrong setting", 4)


def heavy_modules() -> list[str]:
    return sorted(sys.modules.keys() & {"apache_beam", "sqlalchemy", "boto3", "pyarrow"})


def environment(name: str) -> str | None:
    return os.environ.get(name)


def interrupt_is_ignored() -> bool:
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def core_limit() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_CORE)[0]


def tell_pids_and(what: str, path: str) -> None:
    """Write the ids of this process and of a child it starts, then never return."""
    started = subprocess.Popen(["sleep", "600"])
    Path(path + ".part").write_text(f"{os.getpid()} {started.pid}")
    Path(path + ".part").rename(path)
    if what == "sleep":
        time.sleep(600)
    spin()


class Scripted:
    """An engine that answers as its settings tell; `calls` counts how often one was made."""

    name = "scripted"
    version = "7"
    made = 0

    def __init__(self, status: str = "passed", reasons: Any = (), measures: Any = (), raises: str = "") -> None:
        Scripted.made += 1
        self.answer = (status, reasons if isinstance(reasons, str) else list(reasons), dict(measures))
        self.raises = raises

    def judge(self, samples: Any, rate: int, row: dict[str, Any]) -> Any:
        if self.raises == "memory":
            raise MemoryError
        if self.raises == "abort":
            os.abort()
        if self.raises == "write":
            samples[0] = 0
        if self.raises == "short":
            return "passed"
        if self.raises:
            raise RuntimeError(self.raises)
        row.clear()
        return self.answer


class Poisoned:
    """An engine that does what the text of a segment says, and leaves all others to the next."""

    name = "poisoned"
    version = "1"

    def judge(self, samples: Any, rate: int, row: dict[str, Any]) -> Any:
        if row["transcription"] == "abort":
            os.abort()
        if row["transcription"] == "hang":
            time.sleep(600)
        return "unsure", [], {"level": float("nan") if row["transcription"] == "nan" else 0.5}
