import hashlib
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hostile_flacs import (
    ANONYMOUS,
    DAMAGES,
    FLAC,
    FRAMES,
    LIMIT,
    RATE,
    SAMPLES,
    frame_starts,
    noise,
    with_count,
    with_head,
)  # fmt: skip
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from resplice.io.audio import Audio, Samples, decode, encode, pcm_md5, verify
from resplice.transforms.flac import HEAD, StreamInfo, parse_streaminfo
from resplice.transforms.records import Damage


def code_of(data: bytes, max_bytes: int | None = None) -> str:
    with pytest.raises(Damage) as caught:
        verify(decode(data, max_bytes))
    return caught.value.code


@pytest.mark.parametrize(("code", "data"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_named_by_its_code(code: str, data: bytes | Callable[[], bytes]) -> None:
    assert code_of(data() if callable(data) else data, LIMIT) == code


def test_the_table_of_damages_is_made_of_a_right_flac() -> None:
    audio = decode(FLAC)
    verify(audio)
    np.testing.assert_array_equal(audio.samples, SAMPLES)
    assert audio.samples.dtype == np.int16
    assert (audio.rate, audio.bits, audio.frames) == (RATE, 16, FRAMES)
    assert audio.declared == StreamInfo(RATE, 1, 16, FRAMES, audio.md5)


@pytest.mark.parametrize("data", [FLAC, ANONYMOUS], ids=["MD5", "no MD5"])
def test_every_truncation_is_found(data: bytes) -> None:
    cuts = [*range(HEAD + 100), *range(HEAD, len(data), 997), *frame_starts()]
    assert {code_of(data[:cut]) for cut in cuts} == {"flac_header", "flac_truncated"}


@settings(deadline=None)
@given(st.data())
def test_every_flipped_bit_of_the_audio_is_found(data: st.DataObject) -> None:
    position = data.draw(st.integers(FLAC.index(b"\xff\xf8"), len(FLAC) - 1))
    flipped = with_head(FLAC, position, FLAC[position] ^ 1 << data.draw(st.integers(0, 7)))
    assert code_of(flipped) in ("flac_truncated", "flac_md5")


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_a_right_header_before_arbitrary_bytes_is_damage(rest: bytes) -> None:
    assert code_of(FLAC[:HEAD] + rest) in ("flac_truncated", "flac_md5")


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_arbitrary_bytes_have_no_flac_header(data: bytes) -> None:
    assert code_of(data) == "flac_header"


@pytest.mark.parametrize("samples", [0, FRAMES // 2, FRAMES - 1, FRAMES + 1, 2**36 - 1])
def test_decoding_goes_to_the_real_end_whatever_the_header_says(samples: int) -> None:
    audio = decode(with_count(FLAC, samples))
    np.testing.assert_array_equal(audio.samples, SAMPLES)
    assert audio.declared.samples == samples


def test_an_unknown_count_and_md5_are_not_judged() -> None:
    verify(decode(with_count(FLAC, 0)))
    verify(decode(ANONYMOUS))
    verify(decode(with_count(ANONYMOUS, 0)))


def test_a_declared_length_allocates_nothing() -> None:
    lie = with_count(FLAC, 2**36 - 1)
    tracemalloc.start()
    try:
        decode(lie)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**21


def test_the_cap_holds_for_the_declared_and_for_the_decoded_size() -> None:
    size = FRAMES * 2
    assert decode(FLAC, size).frames == FRAMES
    assert code_of(FLAC, size - 1) == "flac_too_large"
    assert code_of(with_count(FLAC, 2**36 - 1), size) == "flac_too_large"
    assert code_of(with_count(FLAC, 0), size - 1) == "flac_too_large"
    assert code_of(with_count(FLAC, 10), size - 1) == "flac_too_large"


@st.composite
def recordings(draw: st.DrawFn) -> tuple[Samples, int, int]:
    bits = draw(st.sampled_from([8, 16, 24]))
    rate = draw(st.sampled_from([8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000]))
    frames = draw(st.one_of(st.integers(1, 40), st.sampled_from([1152, 4096, 16_384, 16_385, 40_000])))
    return noise(frames, draw(st.integers(1, 2)), bits, draw(st.integers(0, 99))), rate, bits


@settings(deadline=None)
@given(recordings())
def test_what_is_encoded_is_decoded_bit_for_bit_and_declared(recording: tuple[Samples, int, int]) -> None:
    samples, rate, bits = recording
    data = encode(samples, rate, bits)
    audio = decode(data)
    verify(audio)
    np.testing.assert_array_equal(audio.samples, samples)
    assert audio.samples.dtype == samples.dtype
    declared = StreamInfo(rate, samples.shape[1], bits, len(samples), pcm_md5(samples, bits))
    assert parse_streaminfo(data) == audio.declared == declared
    assert encode(samples, rate, bits) == data


@pytest.mark.parametrize("bits", [8, 16, 24])
def test_the_extremes_of_each_depth_have_the_same_level(bits: int) -> None:
    dtype: type[np.int16] | type[np.int32] = np.int32 if bits == 24 else np.int16
    width = np.dtype(dtype).itemsize * 8
    samples: NDArray[Any] = np.array([[-(2 ** (width - 1))], [2 ** (width - 2)], [0]], dtype)
    levels = decode(encode(samples, RATE, bits)).samples / 2 ** (width - 1)
    assert levels.ravel().tolist() == [-1.0, 0.5, 0.0]


def test_the_pcm_is_hashed_as_flac_packs_it() -> None:
    samples: NDArray[np.int32] = np.array([[0x01020300, -256], [0x7FFFFF00, -(2**31)]], np.int32)
    packed = bytes.fromhex("030201 ffffff ffff7f 000080")
    assert pcm_md5(samples, 24) == hashlib.md5(packed).hexdigest()


def test_slices_and_reversed_views_are_encoded_like_copies() -> None:
    samples = noise(3000, 2)
    for view in (samples[100:2000], samples[::-1], samples[:, ::-1], np.asfortranarray(samples)):
        copy = np.ascontiguousarray(view)
        assert encode(view, RATE, 16) == encode(copy, RATE, 16)
        assert pcm_md5(view, 16) == pcm_md5(copy, 16)


@pytest.mark.parametrize(
    ("samples", "rate", "bits", "text"),
    [
        (noise(9).astype(np.float32), RATE, 16, "float32 with 16 bits"),
        (noise(9), RATE, 24, "int16 with 24 bits"),
        (noise(9, bits=24), RATE, 16, "int32 with 16 bits"),
        (noise(9), RATE, 12, "int16 with 12 bits"),
        (noise(0), RATE, 16, "shape"),
        (noise(9)[:, 0], RATE, 16, "shape"),
        (noise(9, 9), RATE, 16, "9 channels"),
        (noise(9), 0, 16, "0 Hz"),
        (noise(9), 100_003, 16, "100003 Hz"),
    ],
)
def test_what_flac_cannot_hold_is_refused_with_the_numbers(samples: Samples, rate: int, bits: int, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        encode(samples, rate, bits)


def test_streaminfo_tells_the_duration_or_that_it_is_unknown() -> None:
    info = parse_streaminfo(FLAC[:HEAD])
    assert (info.duration_s, info.md5_known) == (FRAMES / RATE, True)
    unknown = parse_streaminfo(with_count(ANONYMOUS, 0))
    assert (unknown.duration_s, unknown.md5_known) == (None, False)


def test_streaminfo_holds_every_field_to_its_limit() -> None:
    packed = 0xFFFFF << 44 | 7 << 41 | 31 << 36 | 2**36 - 1
    head = FLAC[:18] + packed.to_bytes(8, "big") + bytes(range(16))
    assert parse_streaminfo(head) == StreamInfo(2**20 - 1, 8, 32, 2**36 - 1, bytes(range(16)).hex())


@pytest.mark.parametrize("bits", [1, 3])
def test_a_depth_that_flac_forbids_is_damage(bits: int) -> None:
    packed = RATE << 44 | bits - 1 << 36
    with pytest.raises(Damage, match=f"flac_header: declares {RATE} Hz and {bits} bits"):
        parse_streaminfo(FLAC[:18] + packed.to_bytes(8, "big") + bytes(16))


def test_the_last_metadata_block_flag_is_no_damage() -> None:
    assert parse_streaminfo(with_head(FLAC, 4, 0x80)) == parse_streaminfo(FLAC)


def test_verify_judges_the_count_before_the_md5() -> None:
    audio = Audio(SAMPLES[:-1], RATE, 16, parse_streaminfo(FLAC), "1" * 32)
    with pytest.raises(Damage, match="flac_truncated: 19999 samples decoded, 20000 declared"):
        verify(audio)
