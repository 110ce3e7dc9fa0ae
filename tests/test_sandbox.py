"""The killable worker, with real faults: each costs one call, and the next call works."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resplice.io.sandbox as sandbox_module
from resplice.io.sandbox import Sandbox
from resplice.transforms.records import Damage, Reason, Refusal, UserError

GIB = 2**30


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox(timeout_s=20, memory_mb=400) as sandbox:
        yield sandbox


FAULTS = [
    ("abort", (), Reason.CRASHED, "worker died by SIGABRT"),
    ("kill_myself", (signal.SIGSEGV.value,), Reason.CRASHED, "worker died by SIGSEGV"),
    ("kill_myself", (signal.SIGRTMIN + 3,), Reason.CRASHED, f"worker died by signal {signal.SIGRTMIN + 3}"),
    ("kill_myself", (signal.SIGKILL.value,), Reason.OUT_OF_MEMORY, "SIGKILL"),
    ("leave", (0,), Reason.CRASHED, "worker exited with status 0"),
    ("system_exit", (), Reason.CRASHED, "SystemExit: 3"),
    ("allocate_bytes", (8 * GIB,), Reason.OUT_OF_MEMORY, "more than 400 MiB above idle: MemoryError"),
    ("allocate_array", (8 * GIB,), Reason.OUT_OF_MEMORY, "Unable to allocate"),
    ("divide", (), Reason.CRASHED, "ZeroDivisionError: division by zero"),
    ("unpicklable", (), Reason.CRASHED, "<lambda>"),
    ("breaks_when_read", (), Reason.CRASHED, "answer cannot be read: ValueError"),
    ("not_there", (), Reason.CRASHED, "AttributeError"),
    ("echo", (1, 2), Reason.CRASHED, "TypeError"),
]


@pytest.mark.parametrize(("function", "args", "reason", "detail"), FAULTS)
def test_a_fault_is_a_refusal_and_the_next_call_works(
    box: Sandbox, function: str, args: tuple[Any, ...], reason: Reason, detail: str
) -> None:
    with pytest.raises(Refusal) as caught:
        box.call(f"plugins:{function}", *args)
    assert caught.value.reason is reason
    assert detail in caught.value.detail
    assert box.call("plugins:echo", "still here") == "still here"


@pytest.mark.parametrize("function", ["sleep", "spin", "hold_interpreter"])
def test_a_call_without_end_is_killed_and_the_next_call_works(function: str) -> None:
    with Sandbox(timeout_s=0.3, memory_mb=400) as sandbox:
        before = sandbox.call("plugins:pid")
        started = time.monotonic()
        with pytest.raises(Refusal) as caught:
            sandbox.call(f"plugins:{function}", *([60] if function == "sleep" else []))
        assert time.monotonic() - started < 30  # and not the 60 s that the call asks for
        assert (caught.value.reason, caught.value.detail) == (Reason.TIMEOUT, "no answer in 0.3 s")
        assert _gone(before)
        assert sandbox.call("plugins:echo", 1) == 1


def test_a_worker_that_closes_its_pipes_is_a_crash_and_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_module, "CLOSED_S", 0.2)
    with Sandbox(timeout_s=20, memory_mb=400) as sandbox:
        before = sandbox.call("plugins:pid")
        with pytest.raises(Refusal, match="crashed: worker closed its pipe"):
            sandbox.call("plugins:close_all_files")
        assert _gone(before)


def test_a_module_that_is_not_there_is_a_refusal_and_the_next_call_works(box: Sandbox) -> None:
    with pytest.raises(Refusal, match="crashed: ModuleNotFoundError"):
        box.call("no_such_module:f", 1)
    assert box.call("plugins:echo", 1) == 1


@pytest.mark.parametrize(
    ("function", "kind", "args"),
    [
        ("refuse", Refusal, (Reason.SEGMENT_MISMATCH, "two and three", "a_split0")),
        ("damage", Damage, ("flac_md5", "other audio")),
        ("complain", UserError, ("wrong setting", 4)),
    ],
)
def test_the_vocabulary_arrives_as_itself_from_the_same_worker(
    box: Sandbox, function: str, kind: type[Exception], args: tuple[Any, ...]
) -> None:
    before = box.call("plugins:pid")
    with pytest.raises(kind) as caught:
        box.call(f"plugins:{function}")
    assert type(caught.value) is kind
    assert caught.value.args == args
    assert box.call("plugins:pid") == before


def test_a_qualified_name_is_followed(box: Sandbox) -> None:
    assert box.call("plugins:Nested.double", 21) == 42


@pytest.mark.parametrize("value", [bytes(range(256)) * 200_000, np.arange(6_000_000).reshape(-1, 2)])
def test_fifty_megabytes_go_there_and_back(box: Sandbox, value: Any) -> None:
    assert np.array_equal(box.call("plugins:echo", value), value)


def test_an_argument_above_the_limit_is_out_of_memory() -> None:
    with Sandbox(timeout_s=20, memory_mb=64) as sandbox:
        with pytest.raises(Refusal) as caught:
            sandbox.call("plugins:echo", bytes(200 * 2**20))
        assert caught.value.reason is Reason.OUT_OF_MEMORY
        assert sandbox.call("plugins:echo", 1) == 1


def test_a_worker_with_little_memory_serves_functions_that_import_nothing_more() -> None:
    for _ in range(5):
        with Sandbox(timeout_s=20, memory_mb=8) as sandbox:
            assert [sandbox.call("json:dumps", number) for number in range(3)] == ["0", "1", "2"]


def test_memory_counts_above_idle(box: Sandbox) -> None:
    assert box.call("plugins:allocate_bytes", 300 * 2**20) == 300 * 2**20
    with pytest.raises(Refusal, match="out_of_memory"):
        box.call("plugins:allocate_bytes", 450 * 2**20)


def test_a_plugin_that_prints_or_reads_disturbs_nothing(box: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    with Sandbox(timeout_s=20, memory_mb=400) as sandbox:
        assert sandbox.call("plugins:shout", "x" * 10_000) == "done"
        assert sandbox.call("plugins:read_input") == ""
        assert sandbox.call("plugins:echo", 1) == 1
    assert capfd.readouterr().out == ""


def test_the_worker_is_light_and_limited(box: Sandbox) -> None:
    assert box.call("plugins:heavy_modules") == []
    assert box.call("plugins:environment", "OMP_NUM_THREADS") == "1"
    assert box.call("plugins:interrupt_is_ignored") is True
    assert box.call("plugins:core_limit") == 0


def test_one_worker_serves_many_calls_and_is_recycled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_module, "RECYCLE_AFTER", 3)
    with Sandbox(timeout_s=20, memory_mb=400) as sandbox:
        pids = [sandbox.call("plugins:pid") for _ in range(6)]
    assert len(set(pids[:3])) == len(set(pids[3:])) == 1
    assert pids[0] != pids[3]
    assert all(map(_gone, pids))


def test_closing_ends_the_worker_and_a_later_call_starts_another() -> None:
    sandbox = Sandbox(timeout_s=20, memory_mb=400)
    sandbox.close()
    first = sandbox.call("plugins:pid")
    sandbox.close()
    assert _gone(first)
    assert sandbox.call("plugins:pid") != first
    sandbox.close()


def test_threads_work_at_once_each_with_its_own_worker() -> None:
    found: dict[int, int] = {}

    def work(number: int) -> None:
        with Sandbox(timeout_s=20, memory_mb=400) as sandbox:
            sandbox.call("plugins:echo", 0)
            sandbox.call("plugins:sleep", 0.5)
            found[number] = sum(sandbox.call("plugins:echo", value) for value in range(100)) + number

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == {0: 4950, 1: 4951}


PARENT = """
import sys
sys.path[:] = {path!r}
from resplice.io.sandbox import Sandbox
if __name__ != "__main__":
    raise SystemExit("imported again")
Sandbox(timeout_s=600, memory_mb=400).call("plugins:tell_pids_and", {what!r}, {told!r})
"""


@pytest.mark.parametrize("what", ["sleep", "spin"])
def test_no_worker_outlives_a_parent_that_is_killed(tmp_path: Path, what: str) -> None:
    told = tmp_path / "pids"
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(path=sys.path, what=what, told=str(told)))
    parent = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path)
    _until(told.exists, 20)
    pids = [int(pid) for pid in told.read_text().split()]
    assert not any(map(_gone, pids))
    parent.kill()
    parent.wait()
    try:
        _until(lambda: all(map(_gone, pids)), 5)
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_a_worker_that_holds_the_interpreter_ends_after_its_time_without_a_parent() -> None:
    boot = f"import sys; sys.path[:] = {sys.path!r}; from resplice.io import sandboxed"
    command = [sys.executable, "-P", "-c", f"{boot}; sandboxed.GRACE_S = 0.5; sandboxed.serve()", "[]"]
    options = json.dumps({"parent": os.getpid(), "memory_mb": 400})
    call = json.dumps({"function": "plugins:hold_interpreter", "seconds": 0.5, "prepare": False}).encode()
    pipe = subprocess.PIPE
    child = subprocess.Popen([*command, options], stdin=pipe, stdout=pipe, bufsize=0, start_new_session=True)
    with child:
        assert sandbox_module._Exchange(child, [call], 20).answer() == []
        started = time.monotonic()
        with pytest.raises(Refusal, match="worker died by SIGALRM"):
            sandbox_module._Exchange(child, [pickle.dumps(())], 20).answer()
        assert time.monotonic() - started < 15  # and not the 20 s of the exchange


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
