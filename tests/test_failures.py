"""The error of a worker, from the text that a runner makes of it."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable

import pytest

from resplice.pipelines import failures
from resplice.transforms.records import Damage, SnapshotLost, Terminated, Unavailable, UserError

FRAMES = "\n\n\tat org.apache.flink.runtime.taskmanager.Task.run(Task.java:566)\n\t... 1 more\n"


def bare(error: BaseException) -> str:
    try:
        raise error
    except BaseException:
        return traceback.format_exc()


def on_flink(error: BaseException) -> str:
    """Return what a cluster tells of an error: the traceback twice, in Java's own."""
    cause = f"java.lang.RuntimeException: Error received from SDK harness for instruction 4: {bare(error)}{FRAMES}"
    return f"java.util.concurrent.ExecutionException: {cause}Caused by: {cause}"


def on_prism(error: BaseException) -> str:
    return f"instruction failed: {bare(error)}"


def raised(error: BaseException) -> BaseException:
    """Return an error as a step of a pipeline raises it: with the error before it, and the step's name."""
    try:
        try:
            raise KeyError("the cause")
        except KeyError:
            raise error from None
    except BaseException as caught:
        step = " [while running 'Rebuild/Video-ptransform-12']"
        if isinstance(caught, UserError | Damage):
            return type(caught)(caught.args[0] + step, *caught.args[1:])
        return RuntimeError(traceback.format_exception_only(caught)[-1].strip() + step)


@pytest.mark.parametrize("told", [bare, on_flink, on_prism])
@pytest.mark.parametrize(
    "error",
    [
        UserError("corpus.raw: there is no folder /raw; set it"),
        UserError("the plan is not the one\nremedy: plan again", 4),
        Unavailable(
            "s3://b at http://h: no answer in 10 tries (it cannot be connected to): run the same command again"
        ),
        SnapshotLost("the database was restarted"),
        Damage("cut", "the member ends at byte 12: 14 were expected"),
        Damage("empty"),
    ],
    ids=lambda error: f"{type(error).__name__} {error}"[:30],
)
def test_an_error_of_ours_is_the_same_with_its_exit_code(
    told: Callable[[BaseException], str], error: UserError | Damage
) -> None:
    made = failures.original_of(told(raised(error)))
    assert type(made) is type(error) and str(made) == str(error)
    assert getattr(made, "exit_code", None) == getattr(error, "exit_code", None)


@pytest.mark.parametrize("told", [bare, on_flink, on_prism])
def test_what_the_system_or_a_signal_raised_is_the_same(told: Callable[[BaseException], str]) -> None:
    full = failures.original_of(told(raised(OSError(errno.ENOSPC, "No space left on device", "/tmp/x"))))
    assert isinstance(full, OSError) and (full.errno, full.filename) == (errno.ENOSPC, "/tmp/x")
    assert isinstance(failures.original_of(told(raised(MemoryError()))), MemoryError)
    assert isinstance(failures.original_of(told(Terminated())), Terminated)


def test_workers_without_resplice_are_told_with_the_remedy() -> None:
    made = failures.original_of(on_flink(RuntimeError("ModuleNotFoundError: No module named 'resplice'")))
    assert isinstance(made, UserError) and str(made) == failures.NOT_INSTALLED


@pytest.mark.parametrize("told", [bare, on_flink, on_prism])
def test_any_other_error_is_a_failure_of_the_job(told: Callable[[BaseException], str]) -> None:
    assert failures.original_of(told(raised(ValueError("a bug: UserError: is in the text")))) is None
