"""What `doctor` makes of what its probes found: pure decisions, each a line with its remedy."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from resplice.transforms.records import Exit

PYTHON = ((3, 11), (3, 13))
ENGINES = ("loudness", "vad", "snr", "asr")
"""Engines beside `signal`; each but `snr`, which needs nothing more, is an extra."""
EXTRAS = ("postgres", "embed", "onnx", "av", "vmaf")
IDLE_MB = 100
"""Memory of a worker without work, and of the driver for each thread, in MiB, rounded up."""
DRIVER_MB = 300
TRIED = ("FlinkRunner", "PrismRunner", "PortableRunner")
FILES = 256
FILES_A_WORKER = 32


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    ABSENT = "absent"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """One line of the table. What failed, or may fail, has a remedy."""

    check: str
    state: State
    found: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.state in (State.WARNING, State.FAILED) and not self.remedy:
            raise ValueError(f"{self.check} is {self.state} and has no remedy: {self.found}")


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 2 if something that is required does not work (configuration or environment), else 0."""
    return Exit.USAGE if any(finding.state == State.FAILED for finding in findings) else Exit.DONE


def python(version: Sequence[int]) -> Finding:
    """Judge the version of Python."""
    least, most = PYTHON
    shown = ".".join(map(str, version[:3]))
    if least <= tuple(version[:2]) <= most:
        return Finding("python", State.OK, shown)
    span = f"{least[0]}.{least[1]} to {most[0]}.{most[1]}"
    return Finding("python", State.FAILED, f"{shown}, supported are {span}", f"install one of Python {span}")


def packages(wrong: Mapping[str, str], shown: str) -> Finding:
    """Judge the installed packages: `wrong` maps a requirement to what is there instead."""
    if not wrong:
        return Finding("packages", State.OK, shown)
    found = "; ".join(f"{requirement} is required, {there}" for requirement, there in wrong.items())
    names = " ".join(f"'{requirement}'" for requirement in wrong)
    return Finding("packages", State.FAILED, found, f"pip install {names}")


def runner(name: str, workers: int) -> Finding:
    """Judge the runner that Beam's options name."""
    short = name.rpartition(".")[2]
    short = next((known for known in TRIED if known.lower() in (short.lower(), f"{short}runner".lower())), short)
    if short == "FnApiRunner":
        return Finding("runner", State.OK, f"FnApiRunner, in this process, {workers} at work at once")
    if short in TRIED:
        return Finding("runner", State.OK, f"{short}: its options are understood")
    remedy = f"take one of FnApiRunner, {', '.join(TRIED)}; or try `resplice recover --canary 5` on it"
    return Finding("runner", State.WARNING, f"{short}: resplice was never run on it", remedy)


def needed_mb(workers: int, memory_mb: int) -> int:
    """Return the MiB that a process of Beam needs with its killable workers, of `memory_mb` each, above idle."""
    return DRIVER_MB + workers * (IDLE_MB + memory_mb)


def memory(workers: int, memory_mb: int, total: int) -> Finding:
    """Judge the memory that killable workers may take (MiB each, above idle) against what there is (bytes)."""
    needed = needed_mb(workers, memory_mb)
    found = f"{workers} of at most {memory_mb} MiB above idle: {needed} MiB in all, there are {total >> 20}"
    if needed << 20 <= total:
        return Finding("memory", State.OK, found)
    return Finding("memory", State.WARNING, found, "lower run.workers or run.memory_mb; one segment rarely needs it")


def open_files(soft: int, workers: int) -> Finding:
    """Judge how many files a process may have open (`ulimit -n`)."""
    needed = FILES + FILES_A_WORKER * workers
    if soft < 0 or soft >= needed:
        return Finding("open files", State.OK, "unlimited" if soft < 0 else f"{soft}")
    return Finding("open files", State.WARNING, f"{soft}, {needed} may be needed", f"ulimit -n {needed}")


def room(folder: str, free: int, needed: int, why: str, certain: bool) -> Finding:
    """Judge the room for repaired tars: `needed` bytes, an upper bound unless it is `certain`."""
    found = f"{shown(free)} free in {folder}; {why}: {shown(needed)}"
    if free >= needed:
        return Finding("disk", State.OK, found)
    remedy = "free some, set corpus.workspace to a larger disk, or go in waves (`plan --limit N`)"
    return Finding("disk", State.FAILED if certain else State.WARNING, found, remedy)


def root(check: str, url: str, held: bool) -> Finding:
    """Judge a root in an object store, where one that holds nothing is not told from one that is misspelt."""
    if held:
        return Finding(check, State.OK, url)
    return Finding(check, State.WARNING, f"there is no object below {url}", f"set {check} to the one that you mean")


def store(faults: Sequence[str], of_large: Sequence[str]) -> list[Finding]:
    """Judge a store by what it does not honour, for any object and for large ones."""
    if faults:
        remedy = "publish on a store that honours conditional writes: a local folder, S3, R2, MinIO"
        return [Finding("store", State.FAILED, "not safe to publish on: " + "; ".join(faults), remedy)]
    found = "create-only and conditional writes, read after write, lists: all honoured"
    if not of_large:
        return [Finding("store", State.OK, found)]
    remedy = "publish on it, but leave `finalize --tars` and anything that matters to another store"
    return [Finding("store", State.WARNING, f"{found}; but of large objects: {'; '.join(of_large)}", remedy)]


def temporary(folder: str, free: int, video: int, workers: int) -> Finding:
    """Judge the room for temporary files: each worker spools one video (bytes), and writes its tar from there."""
    needed = workers * video
    found = f"{shown(free)} free in {folder}; {workers} at work on the largest of the tars looked at: {shown(needed)}"
    if free >= needed:
        return Finding("temporary", State.OK, found)
    return Finding("temporary", State.WARNING, found, "set TMPDIR to a folder with more room")


def shown(size: int) -> str:
    """Return bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def indexes(missing: Collection[tuple[str, str]]) -> Finding:
    """Judge the indexes of the database: (table, column) pairs that have none."""
    if not missing:
        return Finding("indexes", State.OK, "both tables are indexed by video")
    found = ", ".join(f"{table} has none that begins with {column}" for table, column in missing)
    remedy = "; ".join(
        f"CREATE INDEX {table.replace('.', '_')}_by_video ON {table} ({column})" for table, column in missing
    )
    return Finding("indexes", State.WARNING, f"{found}: baseline and repair read by video", remedy)


def statuses(found: Collection[str | None], whole: bool, wanted: Collection[str]) -> Finding:
    """Judge the statuses of the videos table, of which the `whole` or the first rows were read."""
    there = ", ".join(sorted("null" if status is None else repr(status) for status in found)) or "none"
    where = "" if whole else " among the first rows"
    if not whole or not found or set(wanted) & set(found):
        return Finding("statuses", State.OK, f"{there}{where}")
    listed = ", ".join(map(repr, wanted))
    return Finding("statuses", State.WARNING, f"{there}; none of plan.failed_statuses ({listed})",
                   "set plan.failed_statuses to the spelling of your table, if it has failed videos")  # fmt: skip


def missing_engine(name: str, provided: Collection[str]) -> Finding:
    """Judge an engine that [validate] names and that is not installed: it is skipped, and told."""
    check = f"engine {name}"
    if name in provided:
        return Finding(check, State.ABSENT, "configured, and not installed: skipped", f"pip install 'resplice[{name}]'")
    return Finding(check, State.ABSENT, "configured, and not installed: skipped",
                   "install the package that registers it in resplice.engines, or leave it out")  # fmt: skip


def optional(installed: Collection[str], provided: Collection[str]) -> list[Finding]:
    """Tell which optional engines can be named, and which engines and extras are absent."""
    there = ", ".join(name for name in ENGINES if name in installed)
    findings = [Finding("optional engines", State.OK, f"{there}: installed")] if there else []
    for check, names in (("optional engines", ENGINES), ("optional extras", EXTRAS)):
        absent = [name for name in names if name not in installed]
        if here := ",".join(name for name in absent if name in provided):
            remedy = f"if you want them: pip install 'resplice[{here}]'"
            findings.append(Finding(check, State.ABSENT, f"{here}: not installed", remedy))
    return findings
