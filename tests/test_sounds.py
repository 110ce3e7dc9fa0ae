"""Decoding: a recording that was cut off, or has a hole, is told from one that is whole."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from embedding import sound

from resplice.io import sounds
from resplice.transforms.records import Reason, Refusal

CUT: dict[str, Callable[[bytes], bytes]] = {
    "first half": lambda data: data[: len(data) // 2],
    "without the end": lambda data: data[:-2000],
    "zeros in the middle": lambda data: data[: len(data) // 2] + bytes(12000) + data[len(data) // 2 + 12000 :],
}
WHOLE = [
    ("MP3", "MPEG_LAYER_III", "VARIABLE"),
    ("MP3", "MPEG_LAYER_III", "CONSTANT"),
    ("OGG", "VORBIS", None),
    ("OGG", "OPUS", None),
]


def encoded(kind: str, subtype: str, mode: str | None, rate: int, channels: int, seconds: float = 4.0) -> bytes:
    data, audio = io.BytesIO(), np.stack([sound(1, seconds, rate)] * channels, axis=1)
    more = {} if mode is None else {"bitrate_mode": mode}
    soundfile.write(data, audio, rate, format=kind, subtype=subtype, **more)
    return data.getvalue()


@pytest.mark.parametrize(("kind", "subtype", "mode"), WHOLE)
@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_whole_recording_is_decoded_to_its_end(
    kind: str, subtype: str, mode: str | None, rate: int, channels: int
) -> None:
    if subtype == "OPUS":
        rate = {22050: 24000, 44100: 8000}.get(rate, rate)  # it knows no others
    data = encoded(kind, subtype, mode, rate, channels)
    for more in (b"", b"TAG".ljust(128, b"\0")):
        assert sounds.decode(data + more, f"a.{kind.lower()}", 16000).duration_s == 4.0


@pytest.mark.parametrize("cut", CUT.values(), ids=CUT)
@pytest.mark.parametrize(("kind", "subtype", "mode"), WHOLE)
def test_one_that_lacks_a_part_is_undecodable(
    kind: str, subtype: str, mode: str | None, cut: Callable[[bytes], bytes]
) -> None:
    data = cut(encoded(kind, subtype, mode, 48000, 2))
    with pytest.raises(Refusal) as caught:
        sounds.decode(data, f"a.{kind.lower()}", 16000)
    assert caught.value.reason == Reason.UNDECODABLE


def test_a_tag_before_an_mp3_is_passed_over_and_one_that_tells_no_length_is_taken_as_it_is() -> None:
    data = encoded(*WHOLE[1], 44100, 2)
    tag = b"ID3\4\0\0" + bytes((0, 4, 0, 10)) + bytes(4 << 14 | 10)  # 65,546 bytes, as of a cover
    assert sounds.decode(tag + data, "a.mp3", 16000).duration_s == 4.0
    with pytest.raises(Refusal, match="its header says"):
        sounds.decode(tag + data[: len(data) // 2], "a.mp3", 16000)
    frame = data.find(b"\xff\xfb", 4)  # the frame behind the one that tells the length
    assert sounds.decode(data[frame : len(data) // 2], "a.mp3", 16000).duration_s > 0.3
