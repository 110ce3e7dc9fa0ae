"""A Flink cluster, asked by its REST interface: what Beam's job server does not tell of a job, and how to end one.

Beam's job server reports a job cancelled that goes on, tells why a job failed only when the cluster has tried it as
often as its restart strategy says, and does not see that a cluster has another version.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

from resplice.pipelines import failures
from resplice.transforms.records import Damage, Unavailable, UserError

ANSWER_S = 10.0
"""Seconds that the cluster has for one answer."""
POLL_S = 2.0
CANCEL_S, UNSEEN_S = 30.0, 3.0
"""Seconds in which a job has to be cancelled, and in which one that was submitted has to be seen."""
_OVER = frozenset({"FINISHED", "FAILED", "CANCELED"})


class Cluster:
    """The cluster at an address (`--flink_master`)."""

    def __init__(self, master: str) -> None:
        self.url = master.rstrip("/") if "://" in master else f"http://{master}"

    @property
    def here(self) -> bool:
        """Return whether the cluster's address is one of this machine."""
        host = urllib.parse.urlsplit(self.url).hostname or ""
        with contextlib.suppress(OSError):
            addresses = {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
            own = {str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None)}
            return any(ipaddress.ip_address(a).is_loopback or a in own for a in addresses)
        return False

    def check(self, version: str, parallelism: int, note: Callable[[str], None]) -> None:
        """Raise UserError unless the cluster answers and is of a version; note if it is too small."""
        found = str(self._ask("config")["flink-version"])
        if not found.startswith(f"{version}."):
            raise UserError(f"the cluster at {self.url} runs Flink {found}, but --flink_version is {version}: give its")
        slots = int(self._ask("overview")["slots-total"])
        if slots < parallelism:
            note(f"Flink: --parallelism={parallelism}, but {self.url} has {slots} slots: the job waits until it has")

    def jobs(self, name: str) -> dict[str, str]:
        """Return id and state of every job of a name."""
        return {job["jid"]: job["state"] for job in self._ask("jobs/overview")["jobs"] if job["name"] == name}

    def cause(self, job: str) -> str:
        """Return the text of what a job failed from last; "": it has not failed."""
        answer = self._ask(f"jobs/{job}/exceptions?maxExceptions=1")
        history = answer.get("exceptionHistory", {}).get("entries", [])
        return str(history[0]["stacktrace"] if history else answer.get("root-exception") or "")

    def cancel(self, jobs: Callable[[], dict[str, str]]) -> bool:
        """Cancel jobs until all have ended; return whether they have. One just submitted may not be seen at once."""
        began = time.monotonic()
        while (passed := time.monotonic() - began) < CANCEL_S:
            with contextlib.suppress(Unavailable):
                found = jobs()
                for job in [job for job, state in found.items() if state not in _OVER]:
                    self._ask(f"jobs/{job}?mode=cancel", "PATCH")
                if (found and set(found.values()) <= _OVER) or (not found and passed > UNSEEN_S):
                    return True
            time.sleep(0.3)
        return False

    def _ask(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(f"{self.url}/{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
                return json.load(answer)
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", None) or error
            raise Unavailable(
                f"the Flink cluster at {self.url} does not answer ({why}): see --flink_master, or run the same command "
                "again"
            ) from None


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
            self._thread.join(ANSWER_S)

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
                    if state not in _OVER and (cause := self._cluster.cause(job)) and cause != told:
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
