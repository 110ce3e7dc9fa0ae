"""Thresholds over measures: a reason is one rule, the same for one segment and for columns of a million of them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resplice.transforms.records import UserError

MARGIN = "margin_"
BELOW, ABOVE = "below", "above"
PASSED, FAILED, UNSURE = "passed", "failed", "unsure"
if TYPE_CHECKING:  # the settings need rules, and must load quickly
    import numpy as np
    import numpy.typing as npt

    Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rule:
    """A reason that holds where a measure is below or above the threshold that `setting` names.

    `needs` is a measure without which (0 or less) there is nothing to compare: silence of no length has no rate.
    """

    reason: str
    measure: str
    fails: str
    setting: str
    needs: str = ""

    def holds(self, measures: Mapping[str, Any], threshold: float) -> Any:
        """Return whether it holds: a bool for measures that are numbers, an array for arrays; it does not for NaN."""
        value = measures[self.measure]
        beyond = value < threshold if self.fails == BELOW else value > threshold
        return beyond & (measures[self.needs] > 0) if self.needs else beyond


@dataclass(frozen=True)
class Kind:
    """An engine of this package as data: its rules, and its settings with their defaults.

    `thresholds` decide over stored measures, `measuring` change what is measured, `places` change neither (where a
    model is, how many segments go to it at once). `goes_on`: it has the setting `passes`.
    `probabilities` are settings above 0 and at most 1.
    """

    name: str
    rules: tuple[Rule, ...]
    thresholds: Mapping[str, float]
    measuring: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, Any] = field(default_factory=dict)
    goes_on: bool = True
    probabilities: tuple[str, ...] = ()

    @property
    def margins(self) -> list[str]:
        """Return the settings that tell how far from its threshold a measure is in doubt."""
        compared = {rule.setting for rule in self.rules}
        return [MARGIN + name for name in self.thresholds if name in compared]

    @property
    def known(self) -> list[str]:
        """Return the names of all settings."""
        further = ["passes"] if self.goes_on else []
        return [*self.thresholds, *self.measuring, *self.margins, *self.places, *further]

    def decider(self, given: Mapping[str, Any]) -> Decider:
        """Return what decides by the settings given, the others having their defaults."""
        thresholds = {name: given.get(name, value) for name, value in self.thresholds.items()}
        margins = {key.removeprefix(MARGIN): value for key, value in given.items() if key.startswith(MARGIN)}
        return Decider(self.rules, thresholds, margins, bool(given.get("passes", True)))

    def own(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that are no thresholds, the defaults filled in."""
        return {name: given.get(name, value) for name, value in {**self.measuring, **self.places}.items()}

    def check(self, given: Mapping[str, Any]) -> None:
        """Raise UserError for a setting that there is not, and for a value that it cannot have."""
        for key, value in given.items():
            self._check(f"[validate.{self.name}] {key}", key, value)

    def _check(self, where: str, key: str, value: Any) -> None:
        if key not in self.known:
            near = difflib.get_close_matches(key, self.known, n=1, cutoff=0)[0]
            raise UserError(f"{where} is not a setting; the nearest known one is {near}")
        default = {**self.measuring, **self.places, "passes": True}.get(key, 0.0)
        if isinstance(default, bool | str) or default is None:
            if not isinstance(value, bool if isinstance(default, bool) else str):
                raise UserError(f"{where} = {value!r}: give {'true or false' if default is True else 'a string'}")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"{where} = {value!r}: give a finite number")
        elif isinstance(default, int) and (not isinstance(value, int) or value < 1):
            raise UserError(f"{where} = {value!r}: give a whole number of at least 1")
        elif key.startswith(MARGIN) and value < 0:
            raise UserError(f"{where} = {value!r}: a margin is at least 0")
        elif key in self.probabilities and not 0 < value <= 1:
            raise UserError(f"{where} = {value!r}: a probability is above 0 and at most 1")


@dataclass(frozen=True)
class Decider:
    """Rules with their thresholds. `margins` are distances >= 0 in the unit of the threshold: a reason that holds at
    threshold - margin or at threshold + margin, but not at both, is in doubt, and so is one whose measure is missing.
    `passes` False: what has no reason goes on to the next engine.
    """

    rules: tuple[Rule, ...]
    thresholds: Mapping[str, float]
    margins: Mapping[str, float]
    passes: bool = True

    @property
    def measures(self) -> list[str]:
        """Return the names of the measures that decide."""
        return sorted({name for rule in self.rules for name in (rule.measure, rule.needs) if name})

    def decide(self, measures: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Return passed, failed or unsure, and the reasons that hold; a measure that is absent or None is missing."""
        known = {name: math.nan if (value := measures.get(name)) is None else value for name in self.measures}
        held = [rule.reason for rule in self.rules if self.holds(rule, known)]
        doubts = {rule.reason for rule in self.rules if self.doubtful(rule, known)}
        if set(held) - doubts:
            return FAILED, held
        return (UNSURE if doubts or not self.passes else PASSED), held

    def columns(self, measures: Mapping[str, npt.NDArray[np.float64]]) -> tuple[Bools, Bools, Bools]:
        """Decide for many segments: a float64 array of each measure, NaN where it is missing.

        Returns:
            Who failed and who is unsure (the rest passed), shape (n,), and which reasons hold, shape (n, rules).
        """
        import numpy as np

        held = np.stack([self.holds(rule, measures) for rule in self.rules], axis=1)
        doubts = np.stack([self.doubtful(rule, measures) for rule in self.rules], axis=1)
        failed = (held & ~doubts).any(axis=1)
        unsure = ~failed & (doubts.any(axis=1) if self.passes else np.ones(len(failed), np.bool_))
        return failed, unsure, held

    def holds(self, rule: Rule, measures: Mapping[str, Any], shift: float = 0.0) -> Any:
        """Return whether a rule holds if its threshold were `shift` higher."""
        return rule.holds(measures, self.thresholds[rule.setting] + shift)

    def doubtful(self, rule: Rule, measures: Mapping[str, Any]) -> Any:
        """Return whether a rule holds within its margin alone, or cannot be told."""
        margin = self.margins.get(rule.setting, 0.0)
        value = measures[rule.measure]
        return (self.holds(rule, measures, -margin) ^ self.holds(rule, measures, margin)) | (value != value)


def reasons_of(kinds: Iterable[Kind]) -> list[str]:
    """Return the reasons that engines can have, in the order of their rules."""
    return [rule.reason for kind in kinds for rule in kind.rules]
