"""The digests of local files, remembered between processes: a folder of 100,000 files is hashed once.

What changed within the last seconds is not remembered, as a clock that ticks slowly could hide its next change.
"""

from __future__ import annotations

import os
import time

from resplice.io.digests import Digests
from resplice.io.local import local_token
from resplice.io.store import Place
from resplice.io.trees import Files
from resplice.transforms import provenance

_SETTLED_S = 2.0


class Memory(Files):
    """What a workspace remembers of the files below some folders. A memory that is damaged is none."""

    def __init__(self, place: Place, *folders: str) -> None:
        super().__init__()
        self.key = f"digests/{provenance.sha256(chr(10).join(folders).encode('utf-8', 'surrogateescape'))[:16]}.json"
        self._kept = Digests(place.store, self.key)

    def file(self, path: str) -> tuple[str, os.stat_result]:
        """Return the SHA-256 of a file and its state from before it was read."""
        stat = os.stat(path)  # noqa: PTH116  called for each of many files
        token = local_token(stat)
        if known := self._kept.of(path).get(token):
            return known, stat
        sha256, stat = super().file(path)
        if time.time() - max(stat.st_mtime, stat.st_ctime) > _SETTLED_S:
            self._kept.learn(path, local_token(stat), sha256)
        return sha256, stat

    def keep(self) -> None:
        """Keep what was learnt for the next process."""
        self._kept.save()
