"""The configuration as frozen dataclasses: one class a section, defaults as the contract prints them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Corpus:
    """Roots of the corpus: folders or s3://bucket/prefix."""

    raw: str = "raw"
    transcribed: str = "transcribed"
    validation: str = "validation"
    workspace: str = "workspace"


@dataclass(frozen=True)
class Columns:
    """Names of the columns of the rows table (ours = theirs); `duration_s` may be "" (the table has none)."""

    id: str = "id"
    video_id: str = "video_id"
    segment_file: str = "segment_file"
    transcription: str = "transcription"
    language: str = "language"
    duration_s: str = "duration_s"
    created_at: str = "created_at"


@dataclass(frozen=True)
class VideoColumns:
    """Names of the columns of the videos table."""

    video_id: str = "video_id"
    status: str = "status"
    validation_status: str = "validation_status"
    updated_at: str = "updated_at"


@dataclass(frozen=True)
class Database:
    """The database: a SQLAlchemy URL without a password, and the names of tables and columns."""

    url: str = "sqlite:///corpus.sqlite"
    rows_table: str = "transcription_results"
    videos_table: str = "videos"
    columns: Columns = field(default_factory=Columns)
    video_columns: VideoColumns = field(default_factory=VideoColumns)


@dataclass(frozen=True)
class History:
    """How a historical validation shard tells its status."""

    status_column: str = "status"
    passed: tuple[str, ...] = ("passed",)
    failed: tuple[str, ...] = ("failed",)
    error: tuple[str, ...] = ("error",)


@dataclass(frozen=True)
class StoreOptions:
    """Options of every s3:// root."""

    endpoint_url: str = ""
    region: str = "auto"
    addressing: str = "auto"
    checksum: str = "when_supported"


@dataclass(frozen=True)
class RunOptions:
    """How a stage works: cores, retries, limits of the killable worker."""

    workers: int = 1
    retry: str = "failed"
    max_refused: float = 1.0
    timeout_s: float = 60.0
    memory_mb: int = 1024


@dataclass(frozen=True)
class Plan:
    """Which reasons are planned."""

    failed_statuses: tuple[str, ...] = ("validation_failed",)
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Polish:
    """The splitter and its settings; `extra` holds further keys of a foreign splitter."""

    splitter: str = "resplice.transforms.polish:split"
    silence_dbfs: float = -40.0
    pad_s: float = 0.1
    max_segment_s: float = 15.0
    min_silence_s: float = 0.3
    extra: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Repair:
    """How a repaired tar must agree with the rows, and who writes its JSON."""

    duration_tolerance_s: float = 0.05
    originals_without_rows: str = "refuse"
    json: str = "resplice.transforms.repack:segment_json"


@dataclass(frozen=True)
class SignalThresholds:
    """Thresholds of the built-in engine: seconds, dBFS (absolute), ratios in [0, 1], characters per second."""

    too_short_s: float = 0.3
    too_long_s: float = 30.0
    silent_dbfs: float = -60.0
    too_quiet_dbfs: float = -45.0
    clipped_level: float = 0.999
    clipped_ratio: float = 0.01
    silence_gap_s: float = 3.0
    silence_gap_dbfs: float = -50.0
    rate_low: float = 1.0
    rate_high: float = 40.0
    empty_text_chars: int = 2
    duration_outlier_iqr: float = 3.0


@dataclass(frozen=True)
class Validate:
    """The engine chain; `engine_settings` holds `[validate.NAME]` of each further installed engine."""

    engines: tuple[str, ...] = ("signal",)
    signal: SignalThresholds = field(default_factory=SignalThresholds)
    engine_settings: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = ()


@dataclass(frozen=True)
class Merge:
    """What happens to the old results of a planned video without new ones."""

    on_missing: str = "drop"


@dataclass(frozen=True)
class Finalize:
    """The status that a fully validated video gets."""

    validated_status: str = "validated"


@dataclass(frozen=True)
class Synthesis:
    """What a spoken chunk must be: characters a minute, seconds, absolute dBFS; `engines` are the tables of engines.

    `lock_timeout_s` is how long a process waits for another one that has the same pipeline.json.
    """

    cpm: float = 875.0
    tolerance_s: float = 20.0
    silence_gap_s: float = 2.0
    level: str = "acx"
    rms_min_dbfs: float = -23.0
    rms_max_dbfs: float = -18.0
    too_short_s: float = 0.3
    lock_timeout_s: float = 10.0
    engines: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = ()


@dataclass(frozen=True)
class Embed:
    """What makes a vector, of which windows; `model_sha256`, `sample_rate` (Hz), `pooling` and `output` are of a model.

    `batch_size` is how many windows an embedder is given at once.
    """

    embedder: str = "logmel"
    windows: str = "full"
    batch_size: int = 1
    model_sha256: str = ""
    sample_rate: int = 16000
    pooling: str = "mean"
    output: str = ""


@dataclass(frozen=True)
class Settings:
    """All sections of resplice.toml. `beam` is passed to Beam as given."""

    corpus: Corpus = field(default_factory=Corpus)
    database: Database = field(default_factory=Database)
    history: History = field(default_factory=History)
    store: StoreOptions = field(default_factory=StoreOptions)
    run: RunOptions = field(default_factory=RunOptions)
    plan: Plan = field(default_factory=Plan)
    polish: Polish = field(default_factory=Polish)
    repair: Repair = field(default_factory=Repair)
    validate: Validate = field(default_factory=Validate)
    merge: Merge = field(default_factory=Merge)
    finalize: Finalize = field(default_factory=Finalize)
    synthesis: Synthesis = field(default_factory=Synthesis)
    embed: Embed = field(default_factory=Embed)
    beam: tuple[tuple[str, Any], ...] = (("runner", "FnApiRunner"),)


CHOICES: dict[str, tuple[str, ...]] = {
    "store.addressing": ("auto", "path", "virtual"),
    "store.checksum": ("when_supported", "when_required"),
    "run.retry": ("none", "failed", "all"),
    "repair.originals_without_rows": ("refuse", "leave_out"),
    "merge.on_missing": ("drop", "keep"),
    "synthesis.level": ("acx", "legacy"),
    "embed.pooling": ("mean", "cls"),
}
