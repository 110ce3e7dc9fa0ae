"""Many tars at once: the same answers in the same order, and no error gets lost in a thread."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest
from test_tars import write

from resplice.io.local import LocalBlob, LocalStore
from resplice.io.store import Head
from resplice.io.tarstate import RAW, TRANSCRIBED, Side, TarState, open_sides

VIDEOS = [f"v{number}" for number in range(40)]
EVERY = {video: Head(f"{video}.tar", 0, "") for video in VIDEOS}


class Distant(LocalStore):
    """A store that is worth four threads; the first four tars are opened only when all of them are asked for."""

    connections = 4

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.together = threading.Barrier(4)

    def open(self, key: str, head: Head | None = None) -> LocalBlob:
        if key in ("v0.tar", "v1.tar", "v2.tar", "v3.tar"):
            self.together.wait(timeout=60)
        if key == "broken.tar":
            raise OSError(errno.EIO, "input/output error")
        return super().open(key, head)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    for number, video in enumerate(VIDEOS[:-1]):  # the last one has no tar
        tar = write({f"{video}/segments/{i}.flac": b"x" for i in range(number)})
        (tmp_path / f"{video}.tar").write_bytes(tar[: len(tar) - 1024 * (number % 7 == 6)])
    return str(tmp_path)


def test_several_connections_find_the_same_in_the_same_order(folder: str) -> None:
    near = list(open_sides(VIDEOS, Side(RAW, LocalStore(folder), EVERY)))
    far = list(open_sides(VIDEOS, Side(RAW, Distant(folder), EVERY)))
    assert far == near
    assert [len(tar.content.flacs) for (tar,) in near[:8]] == [0, 1, 2, 3, 4, 5, 0, 7]
    assert {tar.state for (tar,) in near} == {"ok", "unreadable", "missing"}


def test_a_video_without_a_key_has_no_tar_on_that_side(folder: str) -> None:
    store = LocalStore(folder)
    found = list(open_sides(["v1", "v2"], Side(RAW, store, {"v2": EVERY["v2"]}), Side(TRANSCRIBED, store, {})))
    assert [(raw.state, tar) for raw, tar in found] == [("missing", TarState()), ("ok", TarState())]


def test_an_error_of_the_store_ends_the_reading(folder: str) -> None:
    store = Distant(folder)
    keys = {**EVERY, "v5": Head("broken.tar", 0, "")}
    with pytest.raises(OSError, match="input/output"):
        list(open_sides(VIDEOS, Side(RAW, store, keys)))
