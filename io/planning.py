"""Which videos of one range are affected: the index, the live results and the repaired tars of earlier runs, joined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resplice.io.context import Context
from resplice.io.joined import JoinedRange, VideoView
from resplice.io.tarstate import TRANSCRIBED, TarState, open_tar
from resplice.transforms import audit
from resplice.transforms.affected import OK, Video, better, reasons
from resplice.transforms.records import Reason, Segment, valid_video_id
from resplice.transforms.replace import HISTORY, Tar


class FindAffected:
    """Yield a record for each affected or refused video of a range, and the number of the others.

    Takes (range, {"range": [...], "spills": [Spill], "tars": [(video_id, Tar)]}); `tars` are the repaired tars that the
    base snapshot names.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, joined: tuple[int, dict[str, Iterable[Any]]]) -> Iterator[dict[str, Any]]:
        """Find the affected videos."""
        index, sides = joined
        if not list(sides["range"]):
            return
        repaired: dict[str, Tar] = dict(sides["tars"])
        videos = JoinedRange(self._context, index, sides["spills"])
        healthy = self._healthy(videos, repaired)
        count = int(healthy.sum())
        for video in videos.views(~healthy):
            if not valid_video_id(video.id):
                yield {"video_id": video.id, "refused": Reason.BAD_NAME, "rows": len(video.rows)}
            elif why := self._reasons(video, self._tar(video, repaired.get(video.id))):
                yield _record(video, why)
            else:
                count += 1
        yield {"range": index, "healthy": count}

    def _healthy(self, videos: JoinedRange, repaired: Mapping[str, Tar]) -> np.ndarray:
        """Return which videos are seen to be healthy by column alone: for a settled one with a right tar of its own and
        a status that is no failure, no reason can hold.
        """
        sound = videos.settled.videos & videos.right_tars()
        failed = pa.array(self._context.settings.plan.failed_statuses, pa.string())
        sound &= ~pc.fill_null(pc.is_in(videos.facts["validation_status"], value_set=failed), False).to_numpy()
        ids = videos.ids.to_pylist()
        return np.array(
            [ok and id_ not in repaired and valid_video_id(id_) for ok, id_ in zip(sound, ids, strict=True)], bool
        )

    def _tar(self, video: VideoView, repaired: Tar | None) -> TarState:
        """Return the tar that counts: the one the snapshot names, else the one in the corpus."""
        if repaired is not None:
            return open_tar(self._context.workspace.store, repaired.key, video.id, TRANSCRIBED)
        return TarState(video.facts["transcribed_tar"], content=video.transcribed, infos=video.transcribed_infos)

    def _reasons(self, video: VideoView, tar: TarState) -> list[Reason]:
        faults: set[Reason] = set()
        if tar.state == OK:
            reading = audit.read_names(tar.content, video.rows, video.raw_names)
            faults = audit.faults(tar.content, reading, video.rows, tar.infos or {})
        by_run = any(result.origin != HISTORY for result in video.results)
        facts = Video(video.rows, tar.state, faults, video.facts["validation_status"], statuses(video), by_run)
        return reasons(facts, self._context.settings.plan.failed_statuses)


def statuses(video: VideoView) -> dict[Segment, str]:
    """Return the status that counts of each segment with a live result."""
    found: dict[Segment, str] = {}
    for segment, result in video.by_segment():
        if segment is not None:
            found[segment] = better(found.get(segment), result.status) or result.status
    return found


def _record(video: VideoView, why: Iterable[Reason]) -> dict[str, Any]:
    seconds = [info.duration_s or 0.0 for info in video.raw_infos.values() if info]
    with_rows = {row.segment.original for row in video.rows if row.segment}
    return {
        "video_id": video.id,
        "reasons": [str(reason) for reason in why],
        "rows": len(video.rows),
        "raw_bytes": video.facts["raw_bytes"],
        "audio_s": sum(seconds) if video.facts["raw_tar"] == OK else None,
        "originals_without_rows": len(set(video.raw.flacs) - with_rows),
    }
