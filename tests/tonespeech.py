"""A language of tones and a model that hears it: a tiny ONNX graph for the real runtime, and the audio to go with it.

Every letter is a tone of 0.1 s between two pauses; the graph has the shape of a NeMo CTC model, and its one matrix
tells the mel bands of the tones apart.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

RATE = 16_000
LETTERS = "abcdefgh "
BANDS = 80
STEP = 7
"""Mel bands from one letter's to the next one's: a tone leaks into its neighbours."""
_LETTER_S = _PAUSE_S = 0.1


def frequency(letter: str) -> float:
    """Return the frequency of a letter's tone: the middle of its mel band (Slaney's scale, 80 bands up to 8 kHz)."""
    return float(_mel_to_hz((_band(letter) + 1) * _hz_to_mel(RATE / 2) / (BANDS + 1)))


def _band(letter: str) -> int:
    return 8 + STEP * LETTERS.index(letter)


def _hz_to_mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)


def _mel_to_hz(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * np.exp((mel - 15) * np.log(6.4) / 27)


def say(text: str, rate: int = RATE, lead_s: float = 0.3) -> npt.NDArray[np.int16]:
    """Return the text as tones: int16, shape (frames, 1), between two pauses of `lead_s`."""
    rest, pause = np.zeros(int(lead_s * rate)), np.zeros(int(_PAUSE_S * rate))
    times = np.arange(int(_LETTER_S * rate)) / rate
    tones = [part for letter in text for part in (0.5 * np.sin(2 * np.pi * frequency(letter) * times), pause)]
    signal = np.concatenate([rest, *tones, rest]) + np.random.default_rng(0).normal(0, 1e-4, len(rest) * 2 + sum(
        map(len, tones)))  # fmt: skip
    return (signal * 32767).astype(np.int16)[:, None]


def build(folder: Path) -> Path:
    """Write the model and its vocabulary; return the folder."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((BANDS, len(LETTERS) + 1), np.float32)
    for number, letter in enumerate(LETTERS):
        weights[_band(letter), number] = 1.0
    bias = np.zeros(len(LETTERS) + 1, np.float32)
    bias[-1] = 2.0  # the blank: what no tone exceeds (in standard deviations of its band) is silence
    nodes = [
        helper.make_node("Transpose", ["audio_signal"], ["frames"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["frames", "weights"], ["heard"]),
        helper.make_node("Add", ["heard", "bias"], ["scores"]),
        helper.make_node("LogSoftmax", ["scores"], ["logprobs"], axis=-1),
    ]
    inputs = [
        helper.make_tensor_value_info("audio_signal", TensorProto.FLOAT, ["n", BANDS, "t"]),
        helper.make_tensor_value_info("length", TensorProto.INT64, ["n"]),
    ]
    outputs = [helper.make_tensor_value_info("logprobs", TensorProto.FLOAT, ["n", "t", len(LETTERS) + 1])]
    constants = [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")]
    graph = helper.make_graph(nodes, "tones", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    names = [*("▁" if letter == " " else letter for letter in LETTERS), "<blk>"]
    (folder / "vocab.txt").write_text("".join(f"{name} {number}\n" for number, name in enumerate(names)), "utf-8")
    config = {"model_type": "nemo-conformer-ctc", "features_size": BANDS, "subsampling_factor": 1}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
