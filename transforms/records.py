"""The vocabulary that every job shares: reasons, refusals, damage, outcomes."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a unit or a segment could not be done; part of the public contract."""

    # planning
    SPLIT_ROWS = "split_rows"
    TAR_MISSING = "tar_missing"
    TAR_UNREADABLE = "tar_unreadable"
    MEMBERS_MISSING = "members_missing"
    TAR_MISMATCH = "tar_mismatch"
    VALIDATION_FAILED = "validation_failed"
    VALIDATION_MISSING = "validation_missing"
    # repair, pack, validate
    RAW_MISSING = "raw_missing"
    RAW_UNREADABLE = "raw_unreadable"
    DRIFTED = "drifted"
    NO_ROWS = "no_rows"
    BAD_NAME = "bad_name"
    NAME_COLLISION = "name_collision"
    SEGMENT_UNDECODABLE = "segment_undecodable"
    SEGMENT_MISMATCH = "segment_mismatch"
    DURATION_MISMATCH = "duration_mismatch"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    ENGINE_FAILED = "engine_failed"
    EXISTS = "exists"
    NOT_PLANNED = "not_planned"
    DUPLICATE_RESULT = "duplicate_result"
    # synthesize
    MISSING_TEXT = "missing_text"
    EMPTY_TEXT = "empty_text"
    UNDECODABLE_TEXT = "undecodable_text"
    NO_AUDIO = "no_audio"
    UNREADABLE = "unreadable"
    SILENCE_GAP = "silence_gap"
    RMS_TOO_LOW = "rms_too_low"
    RMS_TOO_HIGH = "rms_too_high"
    TOO_QUIET = "too_quiet"
    TOO_SHORT = "too_short"
    # embed
    MISSING = "missing"
    EMPTY = "empty"
    UNDECODABLE = "undecodable"
    UNSUPPORTED = "unsupported"
    NON_FINITE = "non_finite"
    # corpus
    INTERRUPTED = "interrupted"
    NO_FRAMES = "no_frames"
    ODD_SIZE = "odd_size"
    SIZE_UNKNOWN = "size_unknown"
    SIZE_MISMATCH = "size_mismatch"
    NO_REFERENCE = "no_reference"
    # finalize, undo
    CONFLICT = "conflict"
    # documents, in the order in which a row is checked
    INVALID_ROW = "invalid_row"
    NOT_SUCCESSFUL = "not_successful"
    UNSAFE_PATH = "unsafe_path"
    MISSING_RESPONSE_FILE = "missing_response_file"
    UNDECODABLE_RESPONSE = "undecodable_response"
    DUPLICATE_SAME_CONTENT = "duplicate_same_content"
    UNRESOLVED_PARENT = "unresolved_parent"
    UNRESOLVED_TARGET = "unresolved_target"
    ID_COLLISION = "id_collision"
    CONTENT_CHANGED = "content_changed"


class Refusal(Exception):
    """A unit that could not be done. Data, not a bug: it becomes a line of refused.jsonl."""

    def __init__(self, reason: Reason, detail: str = "", segment: str = "") -> None:
        super().__init__(reason, detail, segment)
        self.reason = Reason(reason)
        self.detail = detail
        self.segment = segment

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else str(self.reason)


class Damage(Exception):
    """Untrusted bytes that are not what they claim. `str()` begins with the stable code."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return f"{self.code}: {self.text}" if self.text else self.code


EXIT_NOTE = "exit code "
"""How a traceback, which is all that comes from some workers, tells the exit code of a UserError."""


class UserError(Exception):
    """An error that the user can mend: one or two lines, and the exit code it ends with."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message, exit_code)
        self.add_note(f"{EXIT_NOTE}{exit_code}")
        self.message = message
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.message


DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers of what no unit is to blame for: the run stops, and goes on when there is room."""


class Unavailable(UserError):
    """A place that cannot be reached, though it was tried again for a while: later, the same command goes on."""

    def __init__(self, message: str, exit_code: int = 75) -> None:
        super().__init__(message, exit_code)


class SnapshotLost(Unavailable):
    """The one state of the database that a baseline reads is gone; what was read of it is of no use."""


class Terminated(BaseException):
    """SIGTERM, raised in the main thread; no handler of Exception may hold it up."""


class Exit:
    """Exit codes of every command (see the README)."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INCOMPLETE = 3
    CONFLICT = 4
    AGAIN = 75
    INTERRUPTED = 130


VIDEO_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.:@-]*\Z")


def valid_video_id(video_id: str) -> bool:
    """Return whether `video_id` may name files: the contract's alphabet, no `..`, at most 200 bytes."""
    return bool(VIDEO_ID.match(video_id)) and ".." not in video_id and len(video_id) <= 200


@dataclass(frozen=True, order=True)
class Segment:
    """One audio piece of a video: `index` is None for an unsplit original, else the 0-based split number."""

    original: str
    index: int | None = None

    @property
    def order(self) -> tuple[str, int]:
        """Sort key of stem order: original by code point, then index (the unsplit one first)."""
        return (self.original, -1 if self.index is None else self.index)
