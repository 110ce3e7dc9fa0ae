"""The engine `asr`: how well the text agrees with what a local model hears, by onnx-asr and onnxruntime.

The model is a folder of ONNX files that its path names. None comes with resplice, and nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import onnx_asr
import onnxruntime
from rapidfuzz.distance import Levenshtein

from resplice.io.measuring import Answer, Measuring, Mono, mono, resampled
from resplice.io.models import versioned
from resplice.transforms.agreement import edges, normal
from resplice.transforms.kinds import ASR
from resplice.transforms.records import UserError
from resplice.transforms.signal import Measures, Samples

RATE = 16_000
LEAST_S = 0.1
"""Shorter segments are filled up with silence: models want more than one frame."""
GPUS = ("CUDAExecutionProvider", "ROCMExecutionProvider", "CoreMLExecutionProvider")
Segment = tuple[Samples, int, Mapping[str, Any]]


class Asr(Measuring):
    """Measures of agreement, of normal texts (`resplice.transforms.agreement`), each a rate of edits, 0 = the same.

    `wer` (words), `cer` (characters), `cer_start` and `cer_end` (the first and last 12 characters), and
    `asr_text`, what the model heard. A segment without a text has rates of 0 if nothing was heard either, else 1.

    Settings beside the thresholds: `model` (folder), `kind` (the family of the model as onnx-asr calls it; "" = what
    its config.json says), `quantization` (suffix of its files), `batch` (segments that the model gets at once).
    """

    kind = ASR
    packages = ("onnx-asr", "jiwer", "rapidfuzz", "soxr")
    revision = 2

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        if not self.own["model"]:
            raise UserError("[validate.asr] model is not set: give the folder of a local model; none is downloaded")
        self._folder = Path(self.own["model"])
        if not self._folder.is_dir():
            raise UserError(f"[validate.asr] model = {str(self._folder)!r}: there is no such folder")

    @cached_property
    def version(self) -> str:
        """Return ours, those of the packages and the runtime, where it computes, and the digest of the model.

        This loads the model once, to see that it can.
        """
        assert self._model is not None
        runtime = f"onnxruntime {onnxruntime.__version__} {_providers()[0]}"
        return versioned(f"{super().version}; {runtime}", self._folder)

    @cached_property
    def _model(self) -> Any:
        """Return the model on the GPU that onnxruntime knows, else on one core: workers share the others."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        kind: Any = self.own["kind"] or None
        suffix = self.own["quantization"] or None
        try:
            return onnx_asr.load_model(kind, self._folder, quantization=suffix, sess_options=options,
                                       providers=_providers())  # fmt: skip
        except MemoryError:
            raise
        except Exception as error:
            text = f"[validate.asr] model = {str(self._folder)!r} cannot be loaded: {type(error).__name__}: {error}"
            raise UserError(f"{text}\nGive kind (now {kind or 'that of config.json'!r}) and model that fit") from error

    def measure(self, samples: Samples, rate: int, row: Mapping[str, Any]) -> Measures:
        """Measure one segment."""
        return agreement(str(row.get("transcription") or ""), self._heard([_prepared(samples, rate)])[0])

    def judge_all(self, segments: Sequence[Segment]) -> list[Answer | Exception]:
        """Judge many segments, `batch` of them at once; one that fails is told by its exception."""
        answers: list[Answer | Exception] = []
        for begin in range(0, len(segments), self.own["batch"]):
            answers += self._batch(segments[begin : begin + self.own["batch"]])
        return answers

    def _batch(self, segments: Sequence[Segment]) -> list[Answer | Exception]:
        """Judge one batch; if it fails as a whole, its segments one by one."""
        try:
            heard = self._heard([_prepared(samples, rate) for samples, rate, _ in segments])
            texts = [str(row.get("transcription") or "") for _, _, row in segments]
            return [self.told(agreement(*pair)) for pair in zip(texts, heard, strict=True)]
        except MemoryError:
            raise
        except Exception as error:
            return [error] if len(segments) == 1 else [self._batch([segment])[0] for segment in segments]

    def _heard(self, signals: list[Mono]) -> list[str]:
        heard: list[str] = self._model.recognize(signals, sample_rate=RATE)
        return heard


def _providers() -> list[str]:
    """Return where onnxruntime may compute, the best first."""
    available = onnxruntime.get_available_providers()
    return [name for name in GPUS if name in available] + ["CPUExecutionProvider"]


def _prepared(samples: Samples, rate: int) -> Mono:
    """Return a segment as models take it: mono, at 16 kHz, of a least length."""
    signal = resampled(mono(samples), rate, RATE)
    lacking = int(LEAST_S * RATE) - len(signal)
    return np.pad(signal, (0, lacking)) if lacking > 0 else signal


def agreement(text: str, heard: str) -> Measures:
    """Return the measures of a text and what was heard."""
    reference, hypothesis = normal(text), normal(heard)
    start, end = edges(reference, hypothesis)
    return {
        "wer": _rate(jiwer.wer, reference, hypothesis),
        "cer": _rate(jiwer.cer, reference, hypothesis),
        "cer_start": _rate(_edits, *start),
        "cer_end": _rate(_edits, *end),
        "asr_text": heard,
    }


def _edits(reference: str, hypothesis: str) -> float:
    """Return the edits a character as the texts stand; jiwer would strip an edge that begins or ends with a space."""
    return Levenshtein.distance(reference, hypothesis) / len(reference)


def _rate(of: Any, reference: str, hypothesis: str) -> float:
    """Return a rate of edits; jiwer has none without a reference."""
    return float(of(reference, hypothesis)) if reference else float(bool(hypothesis))
