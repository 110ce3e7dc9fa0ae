"""Plausible sentences of a given number of characters."""

from __future__ import annotations

import numpy as np

CHARS_PER_S = 14.0

TEXT = (
    "a I we it of in on to so the and you was but how our old new day sea that with they from this have when time year "
    "hand word part place after water where light world again story house small thing north people letter mother "
    "father number answer winter another through because picture between country thought evening morning question "
    "mountain together remember children language sentence important different recording"
)
WORDS = TEXT.split()
BY_LENGTH = {
    length: [word for word in WORDS if len(word) == length] for length in sorted({len(word) for word in WORDS})
}


def sentence(rng: np.random.Generator, chars: int) -> str:
    """Return words of exactly `chars` characters in all, spaces not counted, the last of which is a full stop."""
    words: list[str] = []
    left = max(1, chars) - 1
    while left > 0:
        if left <= 9:
            word = BY_LENGTH[left][int(rng.integers(len(BY_LENGTH[left])))]
        else:
            word = WORDS[int(rng.integers(len(WORDS)))]
        words.append(word)
        left -= len(word)
    return (" ".join(words) + ".").capitalize()


def spoken(rng: np.random.Generator, seconds: float) -> str:
    """Return a sentence that somebody would say in about `seconds`."""
    return sentence(rng, round(seconds * CHARS_PER_S * rng.uniform(0.92, 1.08)))
