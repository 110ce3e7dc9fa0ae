"""ffmpeg with libvmaf: which one, and its calls, each in a killable worker with a time and a limit of memory.

There is no ffprobe: sizes and frames come from decoding. Frames pair by number, as both inputs are read at one rate.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from resplice.io import documents
from resplice.io.pool import borrowed
from resplice.io.trees import Files
from resplice.transforms import vmaf
from resplice.transforms.pairs import is_raw
from resplice.transforms.records import Damage, Reason, Refusal, UserError

MEMORY_MB = 4096
"""MiB of address space for one call, the most that a pair of 2160p needs with room to spare."""
_CALL = "resplice.io.ffmpeg:call"
_QUIET = ("-nostdin", "-hide_banner", "-v", "error", "-xerror", "-y")
_FORMATS = {"yuv": "rawvideo", "y4m": "yuv4mpegpipe", "mp4": "mp4"}
_MODEL = re.compile(r"[A-Za-z0-9_.]+")
_TAIL = 4000
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGBUS)
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_ENDED = 255  # how ffmpeg ends when it was told to by a signal
_TRIAL_S = 60.0
"""Seconds that the trial of a tool may take at least, however short its calls may be."""


@dataclass(frozen=True)
class Tool:
    """One ffmpeg; `name` is what its first line says, `libvmaf` the version that its logs name."""

    path: str
    name: str
    sha256: str
    libvmaf: str
    timeout_s: float

    @property
    def identity(self) -> dict[str, str]:
        """Return what results depend on."""
        return {"ffmpeg": self.name, "libvmaf": self.libvmaf, "sha256": self.sha256}

    def run(self, words: Sequence[str], folder: str) -> None:
        """Make one call in a folder.

        Raises Refusal: engine_failed (with its last line), crashed, interrupted, timeout, out_of_memory.
        """
        with borrowed(self.timeout_s, MEMORY_MB) as sandbox:
            try:
                sandbox.call(_CALL, [self.path, *_QUIET, *words], folder)
            except Refusal as refusal:
                if refusal.reason == Reason.CRASHED and not refusal.detail.startswith("ffmpeg "):
                    raise Refusal(Reason.INTERRUPTED, refusal.detail) from None  # the worker died, not ffmpeg
                raise


@dataclass(frozen=True)
class Video:
    """A file to read; a raw one needs `size` (width, height). `rate`: frames a second to read it at, "" for its own."""

    path: str
    rate: str = ""
    size: tuple[int, int] | None = None

    def words(self) -> list[str]:
        """Return the words that make it an input; nothing but this file is read."""
        form = _FORMATS.get(self.path.rpartition(".")[2].lower(), "mp4")
        words = ["-protocol_whitelist", "file", "-f", form]
        if is_raw(self.path):
            assert self.size is not None
            words += ["-pix_fmt", "yuv420p", "-video_size", "{}x{}".format(*self.size), "-framerate", self.rate or "25"]
        elif self.rate:
            words += ["-r", self.rate]
        return [*words, "-i", f"file:{self.path}"]


def program(given: str | None) -> str:
    """Return the path of the ffmpeg that is meant. UserError without one."""
    if given:
        found = shutil.which(given)
        if found is None:
            raise UserError(f"--vmaf-bin {given}: there is no such program; name an ffmpeg with libvmaf")
        return str(Path(found).absolute())
    try:
        import imageio_ffmpeg
    except ImportError:
        raise UserError(
            "there is no ffmpeg with libvmaf: pip install 'resplice[vmaf]', or name one: --vmaf-bin PROGRAM"
        ) from None
    try:
        return str(Path(imageio_ffmpeg.get_ffmpeg_exe()).absolute())
    except RuntimeError as error:
        raise UserError(f"imageio-ffmpeg has no program here: {error}; name one: --vmaf-bin PROGRAM") from None


def tool(given: str | None, model: str, timeout_s: float, memory: Files) -> Tool:
    """Return the ffmpeg that is meant, tried out with a model. UserError if it cannot do what is needed."""
    path = program(given)
    if not _MODEL.fullmatch(model):
        raise UserError(f"{model!r} is no model: give the name of one that libvmaf has built in, as vmaf_v0.6.1")
    try:
        said = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=_TRIAL_S, errors="replace")
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"{path} cannot be run: {error}; name an ffmpeg with libvmaf: --vmaf-bin PROGRAM") from None
    words = (said.stdout.splitlines() or [""])[0].split()
    name = words[2] if len(words) > 2 and words[:2] == ["ffmpeg", "version"] else ""
    if not name:
        raise UserError(f"{path} is no ffmpeg: -version gives {said.stdout[:80]!r}; name one: --vmaf-bin PROGRAM")
    sha256, _ = memory.file(path)
    return Tool(path, name, sha256, _tried(Tool(path, name, sha256, "", max(timeout_s, _TRIAL_S)), model), timeout_s)


def _tried(found: Tool, model: str) -> str:
    """Return the version of libvmaf in an ffmpeg. UserError if it, or the model, is not there."""
    with scratch() as folder:
        gray = Path(folder, "gray.yuv")
        gray.write_bytes(b"\x80" * (64 * 64 * 3 // 2 * 2))
        video = Video(str(gray), "25", (64, 64))
        try:
            log = _scored(found, video, video, model, "", folder)
            return str(log["version"])
        except (Refusal, Damage, KeyError) as error:
            why = error.detail if isinstance(error, Refusal) else str(error)
            raise UserError(
                f"{found.path} cannot score with libvmaf and the model {model}: {why}\n"
                "remedy: pip install 'resplice[vmaf]', or name an ffmpeg with libvmaf: --vmaf-bin PROGRAM"
            ) from None


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """Give a folder for the files of some calls."""
    with tempfile.TemporaryDirectory(prefix="resplice-vmaf-") as folder:
        yield folder


def call(words: list[str], folder: str) -> None:
    """Run a program in a folder; runs in the killable worker, which is killed with it."""
    with tempfile.TemporaryFile() as told:
        try:
            done = subprocess.run(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=told, stderr=told)
        except OSError as error:
            raise Refusal(Reason.ENGINE_FAILED, f"{words[0]}: {error}") from None
        said = _last_line(told.fileno()).replace(f"{folder}/", "")
    if done.returncode:
        raise _failed(done.returncode, said)


def _failed(code: int, said: str) -> Refusal:
    """Return why a call failed, by the code it ended with and its last line; raise OSError of a full disk.

    What was killed, or ran out of memory or room, may do well the next time; a crash of its own does not.
    """
    number = -code if code < 0 else code - 128  # as a shell tells of a program that died
    if number == signal.SIGKILL:
        return Refusal(Reason.OUT_OF_MEMORY, "ffmpeg died by SIGKILL, which the kernel sends when memory is short")
    if code == 256 - errno.ENOMEM or os.strerror(errno.ENOMEM) in said:
        return Refusal(Reason.OUT_OF_MEMORY, f"ffmpeg {said}")
    if code == 256 - errno.ENOSPC or os.strerror(errno.ENOSPC) in said:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "the folder of temporary files")
    if code == _ENDED or number in _ENDING:
        return Refusal(Reason.INTERRUPTED, "ffmpeg was ended by a signal before it was done")
    if code < 0:
        with contextlib.suppress(ValueError):
            said = f"died by {signal.Signals(number).name}" + (f" ({said})" if said else "")
        return Refusal(Reason.CRASHED if number in _CRASHES else Reason.INTERRUPTED, f"ffmpeg {said}")
    return Refusal(Reason.ENGINE_FAILED, f"ffmpeg ended with {code}: {said or 'it said nothing'}")


def _last_line(file: int) -> str:
    """Return the first of the last lines that a program said: what follows it is what came of it.

    Addresses in it are left out, so that the same failure is told in the same words.
    """
    size = os.fstat(file).st_size
    lines = os.pread(file, _TAIL, max(size - _TAIL, 0)).decode(errors="replace").splitlines()
    kept = [re.sub(r"^(\[[^\]]*\] ?)+| @ 0x[0-9a-f]+", "", line).strip() for line in lines]
    return next((line for line in kept if line), "")


def counted(found: Tool, video: Video) -> tuple[int, int, int]:
    """Decode a video to its end and return (width, height, frames). Raises Refusal unreadable, no_frames, …."""
    if not Path(video.path).stat().st_size:
        raise Refusal(Reason.NO_FRAMES, "the file is empty")
    with scratch() as folder:
        try:
            found.run([*video.words(), "-map", "0:v:0", "-an", "-fps_mode", "passthrough", "-f", "framecrc", "frames"],
                      folder)  # fmt: skip
        except Refusal as refusal:
            if refusal.reason == Reason.ENGINE_FAILED:
                raise Refusal(Reason.UNREADABLE, refusal.detail) from None
            raise
        text = Path(folder, "frames").read_text("ascii", errors="replace")
    size = re.search(r"^#dimensions 0: (\d+)x(\d+)$", text, re.MULTILINE)
    frames = sum(1 for line in text.splitlines() if not line.startswith("#"))
    if not frames or size is None:
        raise Refusal(Reason.NO_FRAMES, "no frame can be decoded")
    return int(size[1]), int(size[2]), frames


def encoded(found: Tool, video: Video, crf: int, folder: str) -> Video:
    """Encode a video as H.264, each of its frames; on one thread, so that the bytes are always the same."""
    x264 = ["-c:v", "libx264", "-preset", "veryfast", "-threads", "1", "-crf", str(crf), "-pix_fmt", "yuv420p"]
    found.run([*video.words(), "-map", "0:v:0", "-an", *x264, "-fps_mode", "passthrough", "-f", "mp4", "encoded.mp4"],
              folder)  # fmt: skip
    return Video(str(Path(folder, "encoded.mp4")), video.rate)


def scored(found: Tool, distorted: Video, reference: Video, *, model: str = "", feature: str = "") -> vmaf.Frames:
    """Score a video against its reference with a model, or with one extractor of libvmaf, and return all frames.

    Raises Refusal: engine_failed, crashed, interrupted, timeout, out_of_memory.
    """
    with scratch() as folder:
        try:
            return vmaf.frames(_scored(found, distorted, reference, model, feature, folder))
        except Damage as damage:
            raise Refusal(Reason.ENGINE_FAILED, f"the log of libvmaf: {damage}") from None


def _scored(
    found: Tool, distorted: Video, reference: Video, model: str, feature: str, folder: str
) -> dict[str, object]:
    options = [f"model=version={model}" if model else "model=", *([f"feature=name={feature}"] if feature else [])]
    scoring = ":".join([*options, "log_fmt=json", "log_path=log.json", "n_threads=1", "shortest=1"])
    chain = f"[0:v:0]format=yuv420p[dis];[1:v:0]format=yuv420p[ref];[dis][ref]libvmaf={scoring}"
    found.run([*distorted.words(), *reference.words(), "-lavfi", chain, "-fps_mode", "passthrough", "-f", "null", "-"],
              folder)  # fmt: skip
    try:
        log = documents.lenient(Path(folder, "log.json").read_bytes())
    except FileNotFoundError:
        raise Refusal(Reason.ENGINE_FAILED, "ffmpeg ended well and wrote no log of libvmaf") from None
    if not isinstance(log, dict):
        raise Damage("log_invalid", "it is no object")
    return log
