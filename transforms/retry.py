"""What to do again: decided from a unit's latest outcome, whether its inputs are the same, and `--retry`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from resplice.transforms import chunks
from resplice.transforms.chunks import Entry
from resplice.transforms.records import UserError
from resplice.transforms.voices import BUILT_IN, Engine

NONE, FAILED, ALL = "none", "failed", "all"


def again(outcome: str | None, retry: str, unchanged: bool) -> bool:
    """Return whether a unit is worked on: `outcome` is its latest one (None, "done" or "refused"), `unchanged` says
    that an artifact of its very fingerprint is there, whatever was refused since.
    """
    if outcome is None or retry == ALL:
        return True
    return not unchanged and not (outcome == "refused" and retry == NONE)


def result_again(status: str | None, retry: str) -> bool:
    """Return whether a segment of an unchanged video is judged again: without a result, or with an `error`."""
    return status is None or retry == ALL or (status == "error" and retry != NONE)


def collect_failed_chunks(
    entry: Entry | None, texts: Sequence[str], listing: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Return the chunks of one book that are to do, (chunk_id, reason), in numeric order: the expected − the valid.

    Args:
        entry: `phase4.files[id]` of pipeline.json; None if there is none.
        texts: one string for each expected chunk, in order: the SHA-256 of its text file's bytes (hex), or what is
            wrong with it: `missing_text`, `empty_text`, `undecodable_text`.
        listing: what the audio that the rows name is, by `audio_path` just as the row has it: "" for a good file,
            `empty_audio` or `unreadable`. A path that is not in it is no file (`missing_audio`).

    A reason is one of these, `no_row`, `text_changed`, or of a row that failed its `validation_reason` ("failed"
    without one that is a word); any other status than success and failed is `not_made`.
    """
    rows = chunks.rows_of(entry, len(texts))
    found = ((number, chunks.why(rows.get(number), text, listing)) for number, text in enumerate(texts, 1))
    return [(chunks.chunk_id(number), reason) for number, reason in found if reason]


def fallback_voice(engine: str, engines: Mapping[str, Engine] = BUILT_IN) -> str:
    """Return the voice with which an engine stands in for another: its own default, never the other's or a clone.

    `engines` are those that are known; UserError, which names them, for any other.
    """
    if engine not in engines:
        raise UserError(f"unknown engine {engine!r}: it must be one of {', '.join(sorted(engines))}")
    return engines[engine].default_voice


def route(reason: str, retry: str, engine: str, fallback: str | None) -> tuple[str, ...]:
    """Return the engines that are asked for a chunk, in order, until one makes it; each is asked once.

    `reason` is what `collect_failed_chunks` said of it, "" of a valid chunk that is made anew. A chunk that an engine
    failed goes straight to the fallback; any other goes to the primary first. () leaves it as it is.
    """
    if reason in chunks.BAD_TEXTS:
        return ()
    both = (engine, fallback) if fallback else (engine,)
    if retry == ALL or not chunks.of_an_engine(reason):
        return both
    return () if retry == NONE else both[-1:]
