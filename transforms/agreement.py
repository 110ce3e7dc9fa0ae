"""Texts as they are compared with what was heard: what does not sound is left out."""

from __future__ import annotations

import unicodedata

EDGE = 12
"""Characters at each end that are compared on their own: a text that lost or gained one word there differs there."""


def normal(text: str) -> str:
    """Return a text without case, punctuation and symbols (an apostrophe within a word stays), one space between words.

    Compatibility forms are one (NFKC). Numbers stay as they are written.
    """
    folded = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    kept = (character if _sounds(character) else " " for character in folded)
    return " ".join(word.strip("'") for word in "".join(kept).split() if word.strip("'"))


def _sounds(character: str) -> bool:
    return character == "'" or unicodedata.category(character)[0] in "LMN"


def edges(reference: str, heard: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return the first and the last `EDGE` characters of two normal texts, each as (reference, heard)."""
    return (reference[:EDGE], heard[:EDGE]), (reference[-EDGE:], heard[-EDGE:])
