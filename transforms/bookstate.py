"""The books that a pipeline.json of any make holds, plain JSON values. What cannot be meant is a UserError.

`phase3.files` has the texts of each book, `phase4.files` its entry (see `transforms.chunks`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from resplice.transforms import chunks
from resplice.transforms.documents import is_text
from resplice.transforms.records import UserError

State = dict[str, Any]
_NAME_MAX = 255  # bytes


def file_ids(where: str, state: State, wanted: Sequence[str]) -> list[str]:
    """Return the books to work on: the wanted ones, or all of phase3. UserError, with the known ones, for another."""
    known = files(state, "phase3")
    if not known:
        raise UserError(f"{where} has no books: phase3.files is empty or missing")
    if strange := [file_id for file_id in wanted if file_id not in known]:
        raise UserError(f"--file-id {strange[0]!r} is no book of phase3 in {where}; known: {', '.join(sorted(known))}")
    found = list(dict.fromkeys(wanted)) or list(known)
    if halves := [file_id for file_id in found if not is_text(file_id)]:
        raise UserError(f"{where}: book {halves[0]!r} has a name that is no UTF-8: give it another one")
    return found


def files(state: State, phase: str) -> dict[str, Any]:
    """Return `files` of a phase, {} where there are none."""
    value = state.get(phase)
    found = value.get("files") if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def made_files(state: State) -> dict[str, Any]:
    """Return `files` of phase4, put there if need be."""
    for name in ("phase4", "files"):
        if state.get(name) is None:
            state[name] = {}
        state = state[name]
        if not isinstance(state, dict):
            raise UserError(f"{name} of pipeline.json must be an object, not a {type(state).__name__}")
    return state


def texts(where: str, state: State, file_id: str) -> list[Any]:
    """Return the paths of the texts of a book, as they stand there: its expected chunks, in order."""
    name = f"{where}: phase3.files[{file_id!r}]"
    book = _optional(files(state, "phase3").get(file_id), dict, name, "an object")
    return _optional(book.get("chunk_paths"), list, f"{name}.chunk_paths", "a list of paths")  # type: ignore[no-any-return]


def entry(where: str, state: State, file_id: str) -> dict[str, Any] | None:
    """Return the entry of a book, None without one."""
    name, found = f"{where}: phase4.files[{file_id!r}]", files(state, "phase4").get(file_id)
    if found is None:
        return None
    _optional(_optional(found, dict, name, "an object").get("chunks"), list, f"{name}.chunks", "a list")
    if not is_path(given := chunks.audio_dir(found, "")):
        raise UserError(f"{name}.artifacts.audio_dir is no path: {given!r}")
    return found  # type: ignore[no-any-return]


def _optional(value: Any, type_: type, name: str, meant: str) -> Any:
    """Return a value of a type, an empty one for null. UserError for one of another type."""
    if not isinstance(value, type_ | None):
        raise UserError(f"{name} must be {meant}, not a {type(value).__name__}")
    return type_() if value is None else value


def is_path(name: Any) -> TypeGuard[str]:
    """Return whether a value can be the path of a file."""
    return isinstance(name, str) and name != "" and "\0" not in name and is_text(name)


def names_a_folder(file_id: str) -> bool:
    """Return whether a book can have a folder of its own name."""
    return is_path(file_id) and file_id not in (".", "..") and "/" not in file_id and len(file_id.encode()) <= _NAME_MAX


def folders(state: State) -> dict[str, str]:
    """Return the folder of the audio of every book that has one, as its entry names it."""
    entries = files(state, "phase4")
    found = {
        file_id: chunks.audio_dir(said if isinstance(said := entries.get(file_id), dict) else None, file_id)
        for file_id in [*files(state, "phase3"), *entries]
    }
    return {file_id: folder for file_id, folder in found.items() if is_path(folder)}


def with_rows(state: State, rows: Iterable[tuple[str, int, Mapping[str, Any]]]) -> State:
    """Return a state with new rows in it: (book, number of the chunk, row)."""
    state = copy.deepcopy(state)
    made: dict[str, dict[int, dict[str, Any]]] = {}
    for file_id, number, row in rows:
        made.setdefault(file_id, {})[number] = dict(row)
    for file_id, new in made.items():
        listed = texts("pipeline.json", state, file_id)
        before = entry("pipeline.json", state, file_id)
        made_files(state)[file_id] = chunks.merged(before, new, max(len(listed), *new))
    return state
