"""The canary: which few videos to try first, and what they say of all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from hashlib import sha256


def spread(reasons: Mapping[str, Sequence[str]], count: int) -> list[str]:
    """Return up to `count` videos, sorted: in turn one of each reason, the rarest reason first, each time the first by
    the SHA-256 of its id that is not chosen yet.
    """
    by_reason: dict[str, list[str]] = {}
    for video in sorted(reasons, key=lambda video: sha256(video.encode()).digest(), reverse=True):
        for reason in reasons[video]:
            by_reason.setdefault(reason, []).append(video)
    queues = [by_reason[reason] for reason in sorted(by_reason, key=lambda reason: (len(by_reason[reason]), reason))]
    chosen: set[str] = set()
    while len(chosen) < count and any(queues):
        for queue in queues:
            while queue and queue[-1] in chosen:
                queue.pop()
            if queue and len(chosen) < count:
                chosen.add(queue.pop())
    return sorted(chosen)


def upper_bound(refused: int, tried: int) -> float:
    """Return the upper end of the two-sided 95 % Wilson score interval of a share (Wilson 1927, JASA 22, 209-212)."""
    if not tried:
        return 1.0
    z = 1.959963984540054
    share = refused / tried
    middle = share + z * z / (2 * tried)
    spread_ = z * math.sqrt(share * (1 - share) / tried + z * z / (4 * tried * tried))
    return min(1.0, (middle + spread_) / (1 + z * z / tried))
