"""The engines that speak: what each is called, the voices it has, and the command that some of them are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from resplice.transforms.records import UserError

COMMAND = "command"
PLACEHOLDERS = ("{voice}", "{text}", "{wav}")


@dataclass(frozen=True)
class Engine:
    """One engine. `kind` says how it is asked: "command" by its command line, any other is an adapter of that name.

    `voices` () are those that the program itself lists. `model` is the local path of an adapter's model, "" for the one
    that its package fetches.
    """

    name: str
    kind: str
    voices: tuple[str, ...]
    default_voice: str
    command: tuple[str, ...] = ()
    model: str = ""

    def words(self, voice: str, text: str, wav: str) -> list[str]:
        """Return the command line that speaks the text file `text` into the file `wav`."""
        values = dict(zip(PLACEHOLDERS, (voice, text, wav), strict=True))
        return [_filled(word, values) for word in self.command]


def _filled(word: str, values: Mapping[str, str]) -> str:
    """Replace the placeholders in one pass, so that a path that holds one is left alone."""
    before, found, rest = min((word.partition(name) for name in values), key=lambda parts: len(parts[0]))
    return before + values[found] + _filled(rest, values) if found else word


BUILT_IN: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine("espeak", COMMAND, (), "en-gb", ("espeak-ng", "-v", "{voice}", "-f", "{text}", "-w", "{wav}")),
        Engine("kokoro", "kokoro", ("af_bella", "af_sarah", "bf_emma", "am_adam", "bm_george"), "af_bella"),
        Engine("xtts", "xtts", ("claribel_dervla", "gracie_wise", "ana_florence", "daisy_studious"), "claribel_dervla"),
    )
}


def engines(tables: Iterable[tuple[str, Mapping[str, object]]]) -> dict[str, Engine]:
    """Return the known engines by name: the built-in ones, and those that `[synthesis.engines.NAME]` define or change.

    Raises UserError for a table that lacks something, or whose default voice is none of its voices.
    """
    known = dict(BUILT_IN)
    for name, table in tables:
        known[name] = _engine(name, table, known.get(name))
    return known


def _engine(name: str, table: Mapping[str, object], before: Engine | None) -> Engine:
    where = f"[synthesis.engines.{name}]"
    voices, command = _strings(table.get("voices")), _strings(table.get("command"))
    if before is None and not (command and voices):
        raise UserError(f"{where} must have a command and voices: there is no built-in engine of this name")
    if command and not all(any(mark in word for word in command) for mark in ("{text}", "{wav}")):
        raise UserError(f"{where} command must hold {{text}} and {{wav}}, got {list(command)}")
    made = before or Engine(name, COMMAND, voices, voices[0])
    if command:
        made = replace(made, kind=COMMAND, command=command)
    if voices:
        made = replace(made, voices=voices, default_voice=voices[0])
    made = replace(made, model=str(table.get("model") or made.model))
    voice = str(table.get("default_voice") or made.default_voice)
    if made.voices and voice not in made.voices:
        raise UserError(f"{where} default_voice must be one of its voices ({', '.join(made.voices)}), got {voice!r}")
    return replace(made, default_voice=voice)


def _strings(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else ()
