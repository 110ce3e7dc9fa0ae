"""What makes vectors: logmel against its definition, ONNX graphs through the real runtime, those of others."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from embedding import RATE, sound
from onnx import TensorProto, helper, numpy_helper

from resplice.io import embedders
from resplice.io.embedders import Choice
from resplice.pipelines import config, identity
from resplice.transforms import cepstra
from resplice.transforms.records import Refusal, UserError
from resplice.transforms.settings import Embed, StoreOptions
from resplice.transforms.windows import unit

DIM, FRAME = 5, 400


def chosen(**settings: Any) -> Choice:
    return embedders.choose(Embed(**settings), StoreOptions())


def one(choice: Choice, audio: np.ndarray) -> np.ndarray:
    return unit(choice.load().embed([audio])[0])


def test_logmel_is_120_numbers_of_length_1_the_same_alone_and_in_a_batch() -> None:
    model = chosen().load()
    audio = [sound(number, 0.3 + number / 7) for number in range(5)]
    together = [vector.tobytes() for vector in model.embed(audio)]
    assert together == [model.embed([each])[0].tobytes() for each in audio]
    assert together[::-1] == [vector.tobytes() for vector in model.embed(audio[::-1])]
    vector = one(chosen(), audio[0])
    assert vector.shape == (cepstra.DIM,) and vector.dtype == np.float32 and np.linalg.norm(vector) == pytest.approx(1)


def reference(audio: np.ndarray) -> np.ndarray:
    """Compute Kaldi's log-mel energies as its documentation has them, in numpy."""
    frames = np.lib.stride_tricks.sliding_window_view(audio.astype(np.float64) * 32768, 400)[::160]
    frames = frames - frames.mean(axis=1, keepdims=True)
    frames = frames - 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
    power = np.abs(np.fft.rfft(frames * window, 512)) ** 2
    mel = lambda hz: 1127.0 * np.log(1.0 + np.asarray(hz) / 700.0)
    edges = np.linspace(mel(20.0), mel(8000.0), 82)
    bins = mel(np.arange(256) * RATE / 512)
    rise = (bins[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins[None]) / (edges[2:] - edges[1:-1])[:, None]
    weights = np.clip(np.minimum(rise, fall), 0.0, None)
    return np.log(np.maximum(power[:, :256] @ weights.T, 1.19209e-07))


def test_logmel_is_what_its_definition_says() -> None:
    audio = sound(1, 0.5)
    model = chosen().load()
    energies = np.concatenate(list(model.energies(audio)))  # type: ignore[attr-defined]
    assert energies.shape == (48, 80)
    assert np.abs(energies - reference(audio)).max() < 0.02
    matrix = cepstra.dct_matrix(80, 80)
    assert np.allclose(matrix.T @ matrix, np.eye(80))
    found = energies.astype(np.float64) @ matrix[:, :24]
    expected = [
        found.mean(0),
        found.std(0),
        (found[1:] - found[:-1]).std(0),
        np.percentile(found, 10, axis=0),
        np.percentile(found, 90, axis=0),
    ]
    assert np.allclose(model.embed([audio])[0], np.concatenate(expected))


def test_a_long_recording_has_the_energies_of_all_of_it_in_blocks() -> None:
    audio = sound(1, 31.7)
    model = chosen().load()
    blocks = list(model.energies(audio))  # type: ignore[attr-defined]
    assert {len(block) for block in blocks[:-1]} == {cepstra.BLOCK} and 0 < len(blocks[-1]) <= cepstra.BLOCK
    whole = np.concatenate(blocks)
    assert whole.shape == ((len(audio) - 400) // 160 + 1, 80)
    assert np.abs(whole - reference(audio)).max() < 0.02
    cut = 12 * 160  # frames begin every 160 samples, so that those behind a cut are the same
    assert np.array_equal(np.concatenate(list(model.energies(audio[cut:]))), whole[12:])  # type: ignore[attr-defined]


def test_what_is_the_same_sound_is_near_and_another_is_far() -> None:
    audio, other = sound(1), sound(2)
    vector = one(chosen(), audio)
    assert vector @ one(chosen(), audio * np.float32(1.4)) > 0.99
    assert vector @ one(chosen(), other) < vector @ one(chosen(), audio * np.float32(1.4))


def graph(path: Path, output: str = "frames", rank: int = 3, scale: float = 1.0, dim: int = DIM) -> dict[str, str]:
    """Write a graph: frames of 400 samples times a matrix, shape [batch, frames, dim]; return the settings for it."""
    weights = np.random.default_rng(3).normal(0, scale, (FRAME, dim)).astype(np.float32)
    nodes = [
        helper.make_node("Shape", ["audio"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["length"]),
        helper.make_node("Div", ["length", "frame"], ["frames_"]),
        helper.make_node("Mul", ["frames_", "frame"], ["end"]),
        helper.make_node("Slice", ["audio", "zero", "end", "one"], ["cut"]),
        helper.make_node("Reshape", ["cut", "to"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weights"], ["product"]),
    ]
    if rank == 3:
        nodes.append(helper.make_node("Identity", ["product"], [output]))
    elif rank == 2:
        nodes.append(helper.make_node("ReduceMean", ["product"], [output], axes=[1], keepdims=0))
    else:
        nodes.append(helper.make_node("Unsqueeze", ["product", "zero"], [output]))
    constants = {
        "one": np.array([1]), "zero": np.array([0]), "frame": np.array([FRAME]), "to": np.array([0, -1, FRAME]),
    }  # fmt: skip
    made = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["batch", "time"])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()]
        + [numpy_helper.from_array(weights, "weights")],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, str(path))
    return {"embedder": f"onnx:{path}", "model_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_an_onnx_graph_gives_pooled_frames_alike_alone_and_in_a_batch(tmp_path: Path) -> None:
    settings = graph(tmp_path / "m.onnx")
    weights = np.random.default_rng(3).normal(0, 1.0, (FRAME, DIM)).astype(np.float32)
    audio = [sound(number, 0.3 + number / 9) for number in range(4)]
    model = chosen(**settings).load()
    together = [vector.tobytes() for vector in model.embed(audio)]
    assert together == [model.embed([each])[0].tobytes() for each in audio]
    frames = audio[0][: len(audio[0]) // FRAME * FRAME].reshape(-1, FRAME) @ weights
    assert np.allclose(model.embed(audio[:1])[0], frames.mean(axis=0), atol=1e-4)
    cls = chosen(**settings, pooling="cls").load()
    assert np.allclose(cls.embed(audio[:1])[0], frames[0], atol=1e-4)


def test_an_output_that_is_pooled_already_is_taken_as_it_is(tmp_path: Path) -> None:
    pooled, frames = (chosen(**graph(tmp_path / f"{rank}.onnx", rank=rank)) for rank in (2, 3))
    assert np.allclose(one(pooled, sound(1)), one(frames, sound(1)), atol=1e-5)


def test_logmel_by_a_flag_sets_aside_the_model_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[embed]\nembedder = "onnx:m.onnx"\npooling = "cls"\n')
    flags = {"embed.embedder": "logmel"}
    assert identity.choice(config.resolve(str(tmp_path / "c.toml"), (), {}, flags)).name == "logmel"
    with pytest.raises(UserError, match="sample_rate is 8000"):
        identity.choice(config.resolve(str(tmp_path / "c.toml"), (), {}, {**flags, "embed.sample_rate": 8000}))


def test_another_pooling_rate_output_or_model_is_another_identity_and_another_place_is_not(tmp_path: Path) -> None:
    first = graph(tmp_path / "a.onnx")
    (tmp_path / "b.onnx").write_bytes((tmp_path / "a.onnx").read_bytes())
    other = graph(tmp_path / "c.onnx", scale=2.0)
    base = chosen(**first).digest
    assert chosen(**{**first, "embedder": f"onnx:{tmp_path}/b.onnx"}).digest == base
    changed = [chosen(**first, pooling="cls"), chosen(**first, sample_rate=24000), chosen(**first, output="frames"),
               chosen(**other)]  # fmt: skip
    assert len({base, *(choice.digest for choice in changed)}) == 5
    assert chosen(**first, sample_rate=24000).load().sample_rate == 24000


def test_a_model_that_is_not_the_pinned_one_refuses_to_start(tmp_path: Path) -> None:
    settings = graph(tmp_path / "m.onnx")
    with pytest.raises(
        UserError, match=f"has the SHA-256 {settings['model_sha256']}, but embed.model_sha256 says {'0' * 64}"
    ):
        chosen(**{**settings, "model_sha256": "0" * 64})
    assert chosen(embedder=settings["embedder"]).digest == chosen(**settings).digest  # without a pin it is what it is
    with pytest.raises(UserError, match=r"there is no model .*gone.onnx"):
        chosen(**{**settings, "embedder": f"onnx:{tmp_path}/gone.onnx"})


def test_a_model_of_another_shape_is_told_with_both_sides(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"output frames has rank 4 .*expected \[batch, frames, dim\] or \[batch, dim\]"
    ):
        one(chosen(**graph(tmp_path / "4.onnx", rank=4)), sound(1))
    with pytest.raises(UserError, match=r"embed.output 'nope' is none of .*: frames"):
        one(chosen(**graph(tmp_path / "3.onnx"), output="nope"), sound(1))
    (tmp_path / "x.onnx").write_bytes(b"no model")
    sha256 = hashlib.sha256(b"no model").hexdigest()
    with pytest.raises(UserError, match=r"is no model that ONNX Runtime .* takes"):
        one(chosen(embedder=f"onnx:{tmp_path}/x.onnx", model_sha256=sha256), sound(1))


def test_a_model_is_loaded_once_a_process_and_not_to_choose_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    loaded = []
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *a, **k: loaded.append(1) or real(*a, **k))
    choice = chosen(**graph(tmp_path / "m.onnx"))
    assert loaded == []
    assert choice.load() is replace(choice).load()
    one(choice, sound(1))
    one(choice, sound(2))
    assert loaded == [1]


def test_a_model_that_is_another_than_when_it_was_chosen_is_not_used(tmp_path: Path) -> None:
    choice = chosen(embedder=graph(tmp_path / "m.onnx")["embedder"])
    graph(tmp_path / "m.onnx", scale=2.0)
    with pytest.raises(UserError, match="is another model than when the run began"):
        choice.load()


@pytest.mark.parametrize("spec", ["nope", "onnx", "logmel:2", ""])
def test_what_is_no_embedder_is_told_with_those_that_are_known(spec: str) -> None:
    with pytest.raises(UserError, match="known: logmel, onnx:PATH"):
        chosen(embedder=spec)


def test_an_extra_that_is_missing_is_named() -> None:
    with pytest.raises(UserError, match=r"no_such_module is not installed: pip install 'resplice\[embed\]'"):
        embedders.needs("embed", "no_such_module")


def test_logmel_refuses_what_is_shorter_than_a_frame() -> None:
    with pytest.raises(Refusal, match="too_short"):
        embedders.LogMel().embed([np.zeros(100, np.float32)])
