"""Cutting one original through a plug-in: what it may answer, and what must never become a segment."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from resplice.io import audio, cut
from resplice.transforms.records import Damage, UserError

ME = "test_cut"
RATE = 16_000
NO_LIMIT = 1 << 30
ANSWER: Any = None
__version__ = "module 1"


def sine(frames: int = 3200, channels: int = 1, bits: int = 16) -> np.ndarray[Any, Any]:
    wave = np.sin(np.arange(frames) / 7)[:, None] * np.linspace(0.9, 0.5, channels)
    if bits == 24:
        return (wave * (2**23 - 1)).astype(np.int32) << 8
    return (wave * (2**15 - 1)).astype(np.int16) & (-256 if bits == 8 else -1)


def flac(channels: int = 1, bits: int = 16, frames: int = 3200) -> bytes:
    return audio.encode(sine(frames, channels, bits), RATE, bits)


# Plug-ins


def say(samples: Any, rate: int, **settings: Any) -> Any:
    return ANSWER(samples) if callable(ANSWER) else ANSWER


def show(samples: Any, rate: int, **settings: Any) -> Any:
    seen = sys.modules[ME].__dict__.setdefault("SEEN", [])
    seen.append((samples.dtype.name, samples.shape, rate, settings))
    return []


def silence_in_place(samples: Any, rate: int, **settings: Any) -> Any:
    samples[:] = 0
    return [(0, 1600), (1600, 3200)]


def fail(samples: Any, rate: int, **settings: Any) -> Any:
    raise RuntimeError("no idea")


def json_of(segment: dict[str, Any]) -> bytes:
    return repr(sorted(segment)).encode()


def text_of(segment: dict[str, Any]) -> str:
    return "text"


def nothing_of(segment: dict[str, Any]) -> None:
    return None


show.__version__ = "function 2"  # type: ignore[attr-defined]


def regenerate(answer: Any, data: bytes | None = None) -> cut.Regenerated:
    sys.modules[ME].__dict__["ANSWER"] = answer
    return cut.regenerate(data or flac(), f"{ME}:say", {}, NO_LIMIT)


# Good answers


@pytest.mark.parametrize(("channels", "bits"), [(1, 16), (2, 16), (1, 24), (2, 24), (1, 8)])
def test_pieces_keep_rate_channels_depth_and_every_sample(channels: int, bits: int) -> None:
    original = audio.decode(flac(channels, bits)).samples
    made = regenerate([(0, 1000), (1500, 3200)], flac(channels, bits))
    assert made.rate == RATE
    assert [(c.start, c.end, c.frames) for c in made.cuts] == [(0, 1000, 1000), (1500, 3200, 1700)]
    for piece in made.cuts:
        assert piece.flac is not None
        decoded = audio.decode(piece.flac)
        audio.verify(decoded)
        assert (decoded.rate, decoded.bits, decoded.declared.md5_known) == (RATE, bits, True)
        assert np.array_equal(decoded.samples, original[piece.start : piece.end])


def test_the_untouched_whole_keeps_its_bytes() -> None:
    made = regenerate([(0, 3200)])
    assert [(c.start, c.end, c.frames, c.flac) for c in made.cuts] == [(0, 3200, 3200, None)]


@pytest.mark.parametrize("answer", [[], (), np.zeros((0, 2), int).tolist()])
def test_no_piece_is_an_answer(answer: Any) -> None:
    assert regenerate(answer).cuts == ()


def test_bounds_may_be_numpy_integers() -> None:
    made = regenerate([(np.int64(0), np.int32(100))])
    assert [(c.start, c.end) for c in made.cuts] == [(0, 100)]


def test_a_polish_that_changes_samples_has_no_bounds() -> None:
    made = regenerate(lambda samples: [samples[:1600] // 2, samples[1600:1700]])
    assert [(c.start, c.end, c.frames) for c in made.cuts] == [(None, None, 1600), (None, None, 100)]
    assert made.cuts[0].flac is not None
    assert np.array_equal(audio.decode(made.cuts[0].flac).samples, sine()[:1600] // 2)


def test_the_same_answer_gives_the_same_bytes() -> None:
    assert regenerate([(0, 1000), (1000, 3200)]) == regenerate([(0, 1000), (1000, 3200)])


@pytest.mark.parametrize(("bits", "dtype"), [(8, "int16"), (16, "int16"), (24, "int32")])
def test_a_splitter_gets_integers_of_shape_frames_and_channels_the_rate_and_its_settings(bits: int, dtype: str) -> None:
    sys.modules[ME].__dict__["SEEN"] = []
    cut.regenerate(flac(2, bits), f"{ME}:show", {"pad_s": 0.1, "own": "x"}, NO_LIMIT)
    assert sys.modules[ME].__dict__["SEEN"] == [(dtype, (3200, 2), RATE, {"pad_s": 0.1, "own": "x"})]


# Bad answers


BAD: dict[str, Any] = {
    "nothing": None,
    "a number": 3,
    "a text": "abc",
    "numbers instead of pairs": [0, 100],
    "a pair of one": [(0,)],
    "a triple": [(0, 100, 200)],
    "an empty piece": [(100, 100)],
    "a reversed piece": [(200, 100)],
    "before the beginning": [(-1, 100)],
    "after the end": [(0, 3201)],
    "no numbers": [("a", "b")],
    "digits as text": ["12"],
    "no end": [(0, None)],
    "half samples": [(0.5, 100.7)],
    "not a number": [(0, float("nan"))],
    "for ever": [(0, float("inf"))],
    "floats": lambda samples: [samples.astype(np.float32) / 32768],
    "wider integers": lambda samples: [samples.astype(np.int32)],
    "no samples": lambda samples: [samples[:0]],
    "a single value": lambda samples: [samples[0, 0].reshape(())],
    "too many dimensions": lambda samples: [np.stack([samples, samples])[None]],
    "a good piece, then a bad one": [(0, 100), (100, 99)],
}


@pytest.mark.parametrize("name", BAD)
def test_an_answer_that_is_none_is_an_exception(name: str) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)):
        regenerate(BAD[name])


def test_samples_with_another_number_of_channels_are_an_exception() -> None:
    with pytest.raises(ValueError):
        regenerate(lambda samples: [samples[:, :1]], flac(2))
    with pytest.raises(ValueError):
        regenerate(lambda samples: [np.repeat(samples, 2, axis=1)], flac(1))


def test_a_splitter_that_cuts_cannot_change_what_it_cuts() -> None:
    try:
        made = cut.regenerate(flac(), f"{ME}:silence_in_place", {}, NO_LIMIT)
    except ValueError:
        return  # the samples may be read-only
    assert made.cuts[0].flac is not None
    assert np.array_equal(audio.decode(made.cuts[0].flac).samples, sine()[:1600])


def test_an_exception_of_the_splitter_passes_on() -> None:
    with pytest.raises(RuntimeError, match="no idea"):
        cut.regenerate(flac(), f"{ME}:fail", {}, NO_LIMIT)


# Bad audio


def with_md5(data: bytes, md5: bytes) -> bytes:
    return data[:26] + md5 + data[42:]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "flac_header"),
        (b"RIFF" + bytes(100), "flac_header"),
        (flac()[:-200], "flac_truncated"),
        (with_md5(flac(), b"\x01" * 16), "flac_md5"),
    ],
)
def test_an_original_that_does_not_decode_to_its_own_md5_is_damage(data: bytes, code: str) -> None:
    for call in (lambda: cut.regenerate(data, f"{ME}:say", {}, NO_LIMIT), lambda: cut.check(data, NO_LIMIT)):
        with pytest.raises(Damage) as caught:
            call()
        assert caught.value.code == code


def test_an_original_above_the_limit_is_too_large() -> None:
    with pytest.raises(Damage) as caught:
        cut.check(flac(), 6399)
    assert caught.value.code == "flac_too_large"
    cut.check(flac(), 6400)


def test_an_original_that_does_not_know_its_md5_is_cut() -> None:
    assert len(regenerate([(0, 100)], with_md5(flac(), bytes(16))).cuts) == 1
    cut.check(with_md5(flac(), bytes(16)), NO_LIMIT)


# Loading


@pytest.mark.parametrize(
    "name", ["", "nothing", "no.such.module:f", f"{ME}:no_such_function", f"{ME}:RATE", ":f", "no such module:f"]
)
def test_a_name_that_is_no_function_is_the_users_error(name: str) -> None:
    with pytest.raises(UserError):
        cut.load(name)


def test_the_version_of_a_plug_in_is_its_own_or_its_modules() -> None:
    assert cut.version(f"{ME}:show") == "function 2"
    assert cut.version(f"{ME}:say") == "module 1"
    assert cut.version("resplice.transforms.polish:split") != ""
    assert cut.version("json:dumps") == sys.modules["json"].__dict__.get("__version__", "")


# The JSON writer


def test_a_writer_is_given_each_segment_in_order() -> None:
    assert cut.write_json(f"{ME}:json_of", [{"a": 1}, {"b": 2}]) == [b"['a']", b"['b']"]


@pytest.mark.parametrize("writer", ["text_of", "nothing_of"])
def test_a_writer_that_does_not_return_bytes_is_an_exception(writer: str) -> None:
    with pytest.raises(ValueError, match=writer):
        cut.write_json(f"{ME}:{writer}", [{"a": 1}])
