"""A Flink cluster, asked by its REST interface: what it is, what has become of a job, and how one is ended.

Beam's job server reports a job cancelled that goes on, tells why a job failed only when the cluster has tried it as
often as its restart strategy says, and does not see that a cluster has another version.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from resplice.transforms.records import Unavailable, UserError

PATIENCE_S = 5.0
"""Seconds for one answer."""
CANCEL_S, UNSEEN_S = 30.0, 3.0
"""Seconds in which a job has to be cancelled, and in which one that was submitted has to be seen."""
OVER = frozenset({"FINISHED", "FAILED", "CANCELED"})


def host_of(address: str) -> str:
    """Return the host of HOST:PORT or of a URL, an IPv6 address without its brackets."""
    rest = address.rpartition("://")[2].partition("/")[0]
    return rest[1:].partition("]")[0] if rest.startswith("[") else rest.partition(":")[0]


def here(address: str) -> bool:
    """Return whether HOST:PORT or a URL is on this machine: by its name or one of its addresses; no name is asked for
    elsewhere.
    """
    host = host_of(address)
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host in ("", "localhost", socket.gethostname())
    return ip.is_loopback or host in _own_addresses()


def _own_addresses() -> set[str]:
    with contextlib.suppress(OSError):
        return {str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None)}
    return set()


def opened(url: str, method: str = "GET") -> Any:
    """Open a URL; no proxy leads to this machine."""
    handlers = [urllib.request.ProxyHandler({})] if here(url) else []
    request = urllib.request.Request(url, method=method)
    return urllib.request.build_opener(*handlers).open(request, timeout=PATIENCE_S)


def why(error: Exception) -> str:
    """Return why something cannot be reached."""
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(getattr(reason, "strerror", None) or reason)


@dataclass(frozen=True)
class Overview:
    """What a cluster says of itself: task managers, slots, slots without work, Flink's version."""

    managers: int
    slots: int
    free: int
    version: str


class Cluster:
    """The cluster at an address (`--flink_master`). It raises Unavailable if nothing answers there, UserError if
    something else than Flink does.
    """

    def __init__(self, master: str) -> None:
        self.url = master.rstrip("/") if "://" in master else f"http://{master}"

    def overview(self) -> Overview:
        """Return what the cluster is."""
        told = self._ask("overview")
        try:
            return Overview(told["taskmanagers"], told["slots-total"], told["slots-available"], told["flink-version"])
        except (KeyError, TypeError):
            raise UserError(f"{self.url}/overview answers, but not as a master of Flink does") from None

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
                for job in [job for job, state in found.items() if state not in OVER]:
                    self._ask(f"jobs/{job}?mode=cancel", "PATCH")
                if (found and set(found.values()) <= OVER) or (not found and passed > UNSEEN_S):
                    return True
            time.sleep(0.3)
        return False

    def _ask(self, path: str, method: str = "GET") -> Any:
        url = f"{self.url}/{path}"
        try:
            with opened(url, method) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise UserError(f"{url} answers {error.code} {error.reason}: no master of Flink") from None
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(
                f"{url} cannot be reached: {why(error)}; see --flink_master, or run the same command again"
            ) from None
        except ValueError:
            raise UserError(f"{url} answers, but not as a master of Flink does") from None
