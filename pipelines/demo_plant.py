"""What a damage is: how it is planted, and what the contract says of a video that has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from resplice.pipelines.demo_video import Draft

Build = Callable[[Draft], None]

COLLAPSED = ("members_missing", "split_rows", "tar_mismatch", "validation_missing")


@dataclass(frozen=True)
class Damage:
    """One entry of the table: `affected` are the plan's reasons, `refused` is repair's reason (None: validated)."""

    name: str
    affected: tuple[str, ...]
    refused: str | None
    video_id: str
    build: Build


def planter(table: list[Damage]) -> Callable[..., Callable[[Build], Build]]:
    """Return a decorator that enters a function into `table` as the damage of the function's name."""

    def plant(*affected: str, refused: str | None = None, video_id: str = "") -> Callable[[Build], Build]:
        def enter(build: Build) -> Build:
            name = build.__name__
            table.append(Damage(name, affected, refused, video_id or name.replace("_", "-"), build))
            return build

        return enter

    return plant
