"""The flags of the commands that extract corpora, and of those about sidecars."""

from __future__ import annotations

from dataclasses import dataclass

from resplice.pipelines.flags import Common, JobArgs, flag, workspace


@dataclass(frozen=True, kw_only=True)
class CorpusArgs(JobArgs):
    """Flags of every command that extracts a corpus."""

    run_id: str | None = flag("Name of the run; default: one that the output has for its own.")
    manifest_out: str | None = flag("The sidecar; default: beside the output, its name and .manifest.json.")
    workspace: str | None = workspace()


@dataclass(frozen=True, kw_only=True)
class ToolArgs(CorpusArgs):
    """Flags of the commands that call ffmpeg."""

    cache_dir: str | None = flag("Folder of what was made before; default: cache in the workspace.")
    vmaf_bin: str | None = flag("An ffmpeg with libvmaf; default: that of the package imageio-ffmpeg.")
    timeout: float | None = flag("Seconds that one call of ffmpeg may take; default: 600.")


@dataclass(frozen=True, kw_only=True)
class BviDvc(CorpusArgs):
    """Write cached logs of libvmaf as the rows of a corpus (JSONL), one a clip."""

    cache_dir: str | None = flag("Folder of the logs: <Name>_<W>x<H>_<N>fps_….json.", required=True)
    output: str | None = flag("File to write (.jsonl).", required=True)
    encoder: str = flag("Encoder of the clips; default: libx264.", "libx264")
    preset: str = flag("Its preset; default: fast.", "fast")
    crf: int = flag("Its CRF; default: 35.", 35)
    pix_fmt: str = flag("Pixel format of the clips; default: yuv420p10le.", "yuv420p10le")
    vmaf_model: str = flag("Model of the scores; default: vmaf_v0.6.1.", "vmaf_v0.6.1")
    legacy_defaults: bool = flag("Write what the logs cannot tell as 0 and empty texts, not as null.", False)


@dataclass(frozen=True, kw_only=True)
class KonvidPairs(ToolArgs):
    """Encode each clip of KoNViD-1k and score it against itself: parquet, one row a frame."""

    konvid_root: str | None = flag("Folder that holds KoNViD_1k_videos.", required=True)
    out: str | None = flag("File to write (.parquet).", required=True)
    crf: int = flag("CRF of the encoding, 0 to 51; default: 35.", 35, minimum=0)
    max_clips: int | None = flag("Only the first N clips by name.", minimum=1)
    no_cache: bool = flag("Make every clip, and keep nothing.", False)
    model: str = flag("Model of libvmaf; default: vmaf_v0.6.1.", "vmaf_v0.6.1")


@dataclass(frozen=True, kw_only=True)
class FullFeatures(ToolArgs):
    """Compute every feature of libvmaf for pairs of videos: parquet, one row a frame."""

    data_root: str | None = flag("Folder that holds ref and dis.", required=True)
    out: str | None = flag("File to write (.parquet).", required=True)
    max_pairs: int | None = flag("Only the first N distorted files by name.", minimum=1)
    yuv_size: str | None = flag("Size of raw .yuv files: WxH.")
    codec: str = flag("Codec of the distorted files; default: unknown.", "unknown")


@dataclass(frozen=True, kw_only=True)
class ManifestArgs(Common):
    """Flags of every command about a sidecar."""

    file: str = flag("The sidecar: <artifact>.manifest.json.", "", positional=True)
    run_id: str | None = flag("Name of the run.")
    workspace: str | None = workspace()


@dataclass(frozen=True, kw_only=True)
class ManifestVerify(ManifestArgs):
    """Hash again everything that a sidecar names; exit 4 on a difference."""


@dataclass(frozen=True, kw_only=True)
class ManifestReplay(ManifestArgs):
    """Print the command that made an artifact, or run it again elsewhere and compare; exit 4 on a difference."""

    run: bool = flag("Run it in a scratch workspace and compare what it makes with the artifact.", False)


@dataclass(frozen=True, kw_only=True)
class ManifestExport(ManifestArgs):
    """Print a sidecar in another form."""

    format: str = flag("Form to print; default: in-toto.", "in-toto", choices=("in-toto",))
