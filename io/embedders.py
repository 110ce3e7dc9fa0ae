"""What makes a vector of audio: `logmel`, `onnx:PATH`, and those of others by the entry point `resplice.embedders`.

An embedder never sees more than the windows it is given, so that a vector depends on nothing else.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from resplice.io import sidecars
from resplice.io.walk import absolute, located
from resplice.transforms import cepstra, paths, provenance
from resplice.transforms.records import DISK_FULL, Reason, Refusal, UserError
from resplice.transforms.settings import Embed, StoreOptions

GROUP = "resplice.embedders"
LOGMEL, ONNX = "logmel", "onnx"
_FED = 1 << 14
"""Samples that the filter bank gets at a time."""
_PARTS: dict[str, Any] = {"name": str, "digest": str, "sample_rate": int, "embed": Callable}
Audio = NDArray[np.float32]


class Embedder(Protocol):
    """A model that is loaded. `sample_rate` in Hz is that of the audio it takes.

    The factory of an entry point is called with the text behind `NAME:` and the settings [embed]; `digest` must change
    whenever the vectors do, and telling it must need no model. What takes long or much to load may be loaded by a
    method `load()`: it is called before anything is embedded, and `run.timeout_s` and `run.memory_mb` do not hold
    for it.
    """

    name: str
    digest: str
    sample_rate: int

    def embed(self, windows: Sequence[Audio]) -> Sequence[NDArray[np.floating]]:
        """Return a vector, shape (dim,), for each window: mono float32, shape (samples,), in [-1, 1], at least 0.1 s,
        read-only.

        What comes of a window must not depend on the others. Any exception, a crash and a hang refuse the windows; the
        recordings that they are of are tried again one by one.
        """
        ...


@dataclass(frozen=True)
class Choice:
    """An embedder as workers get it: the setting that names it, its identity, and how it is loaded."""

    spec: str
    settings: Embed
    options: StoreOptions
    name: str
    digest: str
    sample_rate: int

    @functools.lru_cache(maxsize=1)  # noqa: B019 - one a process
    def load(self) -> Embedder:
        """Return the embedder, loaded once a process. UserError for a model that cannot be used."""
        made = _make(self.spec, self.settings, self.options)
        if made.digest != self.digest:
            raise UserError(f"{self.name} is another model than when the run began: restore it, or start a new run")
        if hasattr(made, "load"):
            made.load()
        return made


def infer(choice: Choice, windows: Sequence[Audio]) -> list[NDArray[np.floating]]:
    """Return the vectors of windows; for a worker process that can be killed, which `Choice.load` prepared.

    Refusal `crashed` for anything that the model raises of them.
    """
    model = choice.load()
    try:
        found = [np.asarray(vector) for vector in model.embed(windows)]
    except (UserError, Refusal, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        raise Refusal(Reason.CRASHED, f"{type(error).__name__}: {error}") from None
    if len(found) != len(windows):
        raise Refusal(Reason.CRASHED, f"{model.name} gave {len(found)} vectors for {len(windows)} windows")
    for vector in found:
        if vector.ndim != 1 or not len(vector) or vector.dtype.kind not in "fiu":
            what = f"{vector.dtype} of shape {list(vector.shape)}"
            raise Refusal(Reason.CRASHED, f"{model.name} gave {what} for a window, not numbers of shape [dim]")
    return found


def choose(settings: Embed, options: StoreOptions) -> Choice:
    """Return the embedder that [embed] names, with its digest; no model is loaded.

    UserError for one that there is not, or fails, one whose extra is missing, and a model that is not the pinned one.
    """
    made = _make(settings.embedder, settings, options)
    return Choice(settings.embedder, settings, options, made.name, made.digest, made.sample_rate)


def _make(spec: str, settings: Embed, options: StoreOptions) -> Embedder:
    kind, _, argument = spec.partition(":")
    if kind == LOGMEL and not argument:
        return LogMel()
    if kind == ONNX and argument:
        return Onnx(argument, settings, options)
    found = metadata.entry_points(group=GROUP, name=kind)
    if not found:
        names = sorted(entry.name for entry in metadata.entry_points(group=GROUP))
        known = ", ".join([LOGMEL, f"{ONNX}:PATH", *names])
        raise UserError(f"embed.embedder {spec!r} is no embedder; known: {known}")
    return _foreign(next(iter(found)), argument, settings)


def _foreign(entry: metadata.EntryPoint, argument: str, settings: Embed) -> Embedder:
    """Return what the factory of an entry point makes. UserError that names it if it fails, or makes no embedder."""
    named = f"embed.embedder: {entry.name} = {entry.value} of the entry points {GROUP}"
    try:
        made = entry.load()(argument, asdict(settings))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{named} failed: {type(error).__name__}: {_line(error)}") from error
    if missing := [name for name, kind in _PARTS.items() if not isinstance(getattr(made, name, None), kind)]:
        wanted = getattr(_PARTS[missing[0]], "__name__", "method")
        raise UserError(f"{named} made a {type(made).__name__} whose {missing[0]} is no {wanted}")
    return made  # type: ignore[no-any-return]


def needs(extra: str, *modules: str) -> None:
    """Raise UserError unless the modules of an extra are installed; none is imported."""
    if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
        raise UserError(f"{missing[0]} is not installed: pip install 'resplice[{extra}]'")


class LogMel:
    """Statistics of the mel cepstra of a recording: 120 numbers, without a model.

    80 log-mel bands of Kaldi's defaults (25 ms Povey windows every 10 ms, pre-emphasis 0.97, mean removed, 20 Hz to
    8 kHz) at dither 0 by kaldi-native-fbank, the samples times 32768, as Kaldi has them; then `cepstra.statistics`.
    It tells near-duplicates, channels, speakers and drift; it tells nothing of what is said or played.
    """

    name = LOGMEL
    sample_rate = 16000

    def __init__(self) -> None:
        needs("embed", "kaldi_native_fbank", "soxr")
        facts = {"bands": cepstra.BANDS, "coefficients": cepstra.COEFFICIENTS, "rate": self.sample_rate}
        self.digest = provenance.sha256(provenance.line({LOGMEL: 1, **facts}).encode())

    @functools.cached_property
    def _options(self) -> Any:
        import kaldi_native_fbank

        options = kaldi_native_fbank.FbankOptions()
        options.frame_opts.samp_freq = self.sample_rate
        options.frame_opts.dither = 0.0
        options.mel_opts.num_bins = cepstra.BANDS
        return options

    def embed(self, windows: Sequence[Audio]) -> list[NDArray[np.float64]]:
        """Return the statistics of each window, shape (120,). Refusal `too_short` for less than a frame."""
        return [self._one(window) for window in windows]

    def _one(self, window: Audio) -> NDArray[np.float64]:
        blocks = list(map(cepstra.cepstra, self.energies(window)))
        if not blocks:
            raise Refusal(Reason.TOO_SHORT, f"{len(window)} samples are less than a frame of 25 ms")
        return cepstra.statistics(np.concatenate(blocks))

    def energies(self, window: Audio) -> Iterator[NDArray[np.float32]]:
        """Yield the log-mel energies of a window in blocks, shape (frames, 80): of an hour they would be 115 MB."""
        import kaldi_native_fbank

        fbank, done = kaldi_native_fbank.OnlineFbank(self._options), 0
        for at in range(0, len(window), _FED):
            fbank.accept_waveform(self.sample_rate, window[at : at + _FED] * np.float32(32768))
            if last := at + _FED >= len(window):
                fbank.input_finished()
            ready: int = fbank.num_frames_ready
            while done + (0 if last else cepstra.BLOCK - 1) < ready:
                end = min(done + cepstra.BLOCK, ready)
                yield np.array([fbank.get_frame(number) for number in range(done, end)])
                fbank.pop(end - done)
                done = end


class Onnx:
    """A model in ONNX: float32 [batch, time], not normalised → [batch, frames, dim], which is pooled, or [batch, dim].

    A window is computed by itself (a batch of one, without padding), on one thread: kernels may add up in another order
    in a larger batch, and a vector must not depend on its neighbours.
    """

    def __init__(self, path: str, settings: Embed, options: StoreOptions) -> None:
        needs("onnx", "onnxruntime")
        needs("embed", "soxr")
        self._settings = settings
        self._place, self._key = located(paths.escaped(absolute(path)), options)
        self._where = path
        sha256 = self._pinned(settings.model_sha256)
        self.name = f"{ONNX}:{path.rstrip('/').rpartition('/')[2]}"
        self.sample_rate = settings.sample_rate
        facts = {"model": sha256, "pooling": settings.pooling, "output": settings.output, "rate": self.sample_rate}
        self.digest = provenance.sha256(provenance.line({ONNX: 1, **facts}).encode())

    def _pinned(self, wanted: str) -> str:
        """Return the SHA-256 of the model. UserError if there is none, or if it is another than the pinned one."""
        try:
            found = sidecars.digest(self._place.store, self._key)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise UserError(
                f"embed.embedder: there is no model {self._where}; give onnx:PATH of an .onnx file"
            ) from None
        if wanted and found != wanted.lower():
            raise UserError(
                f"{self._where} has the SHA-256 {found}, but embed.model_sha256 says {wanted}: restore the model"
            )
        return found

    def load(self) -> None:
        """Load the model. UserError unless it can be used."""
        self._session  # noqa: B018

    @functools.cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        model = self._place.path(self._key) if self._place.local else self._place.store.read(self._key)
        try:
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of many types, all of the runtime
            raise UserError(
                f"{self._where} is no model that ONNX Runtime {onnxruntime.__version__} takes: {_line(error)}"
            ) from None
        self._check(session)
        return session

    def _check(self, session: Any) -> None:
        """Raise UserError unless the model takes and gives what it must."""
        inputs, outputs = session.get_inputs(), {output.name: output for output in session.get_outputs()}
        ranks = [(each.name, len(each.shape), each.type) for each in inputs]
        if len(inputs) != 1 or ranks[0][1:] != (2, "tensor(float)"):
            told = ", ".join(f"{name} {kind} of rank {rank}" for name, rank, kind in ranks) or "none"
            raise UserError(f"{self._where} must have one input, float32 [batch, time]; it has: {told}")
        if self._settings.output and self._settings.output not in outputs:
            raise UserError(f"embed.output {self._settings.output!r} is none of {self._where}: {', '.join(outputs)}")
        output = outputs[self._settings.output or next(iter(outputs))]
        if output.shape and len(output.shape) not in (2, 3):
            raise self._wrong_rank(output.name, output.shape)

    def _wrong_rank(self, name: str, shape: Sequence[Any]) -> UserError:
        return UserError(
            f"{self._where}: output {name} has rank {len(shape)} {list(shape)}, expected [batch, frames, dim] or "
            "[batch, dim]; name another with --output"
        )

    def embed(self, windows: Sequence[Audio]) -> list[NDArray[np.float32]]:
        """Return the pooled output for each window, shape (dim,)."""
        return [self._one(window) for window in windows]

    def _one(self, window: Audio) -> NDArray[np.float32]:
        session = self._session
        name = self._settings.output or session.get_outputs()[0].name
        (output,) = session.run([name], {session.get_inputs()[0].name: window[None, :]})
        if output.ndim not in (2, 3) or output.shape[0] != 1:
            raise self._wrong_rank(name, output.shape)
        made: Audio = output[0]
        return made if output.ndim == 2 else _pooled(made, self._settings.pooling)


def _pooled(frames: NDArray[np.float32], pooling: str) -> NDArray[np.float32]:
    """Return one vector of frames, shape (frames, dim): their mean, or the first. No frame is of padding."""
    if not len(frames):
        raise ValueError("the model gave no frames: the window is too short for it")
    found: Audio = frames[0] if pooling == "cls" else frames.mean(axis=0, dtype=np.float64).astype(np.float32)
    return found


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
