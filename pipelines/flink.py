"""The job of a pipeline on a Flink cluster: looked after while it runs, and ended with its command."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from resplice.io.flink import OVER, PATIENCE_S, Cluster
from resplice.pipelines import failures
from resplice.transforms.records import Damage, Unavailable, UserError

POLL_S = 2.0


def check(cluster: Cluster, version: str, parallelism: int, note: Callable[[str], None]) -> None:
    """Raise UserError unless a cluster answers and is of a version; note if it is too small."""
    there = cluster.overview()
    if not there.version.startswith(f"{version}."):
        raise UserError(
            f"the cluster at {cluster.url} runs Flink {there.version}, but --flink_version is {version}: give its"
        )
    if there.slots < parallelism:
        note(
            f"Flink: --parallelism={parallelism}, but {cluster.url} has {there.slots} slots: the job waits until it has"
        )


class Job:
    """The job of a pipeline on a cluster, from before it is submitted: `name` is new, or the user's own."""

    def __init__(self, cluster: Cluster, name: str, note: Callable[[str], None]) -> None:
        self.error: BaseException | None = None
        self._cluster, self._name, self._note = cluster, name, note
        self._others = frozenset(cluster.jobs(name))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def watch(self) -> None:
        """Look after the job until `close`."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(PATIENCE_S)

    def cancel(self) -> None:
        """Cancel the job and wait, for a while, until it has ended."""
        if not self._cluster.cancel(self.found):
            self._note(f"Flink: job {self._name} may still run on {self._cluster.url}: cancel it there")

    def found(self) -> dict[str, str]:
        """Return id and state of the job, once it is there."""
        return {job: state for job, state in self._cluster.jobs(self._name).items() if job not in self._others}

    def _watch(self) -> None:
        told = ""
        while not self._over.wait(POLL_S) and self.error is None:
            with contextlib.suppress(Unavailable):
                for job, state in self.found().items():
                    if state not in OVER and (cause := self._cluster.cause(job)) and cause != told:
                        told = cause
                        self._failed(cause)

    def _failed(self, cause: str) -> None:
        """Tell why the cluster tries the job again; end it where no trial can mend that."""
        original = failures.original_of(cause)
        if isinstance(original, UserError | Damage) and type(original) is not Unavailable:
            self.error = original
            self._cluster.cancel(self.found)
        else:
            self._note(f"Flink tries the job again: {original or failures.first_line(cause)}")
