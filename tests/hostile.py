"""Everything hostile in one table, and the product's own way of refusing it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hostile_flacs
import hostile_jsons
import hostile_parquets
import hostile_tars
import pyarrow as pa

from resplice.io import audio, documents, shards, tars
from resplice.io.local import LocalStore
from resplice.transforms.records import Damage, UserError


@dataclass(frozen=True)
class Case:
    """A file that must be refused with a code; `content`: its bytes, what makes them, or what writes the file."""

    kind: str
    name: str
    code: str
    content: bytes | Callable[..., Any]

    def write(self, folder: Path) -> None:
        """Write the file into an empty folder."""
        path = folder / self.kind
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        elif self.kind in ("tar", "flac"):
            path.write_bytes(self.content())
        else:
            self.content(path)

    def code_found(self, folder: Path) -> str:
        """Read the file as the product reads such files; return the code of the refusal, "" if it is taken."""
        try:
            _READ[self.kind](LocalStore(str(folder)), self.kind)
        except Damage as damage:
            return damage.code
        except UserError as error:
            found = re.search(r"is damaged \((\w+)", str(error))
            return found[1] if found else ""
        return ""


def _read_tar(store: LocalStore, key: str) -> None:
    blob = store.open(key)
    try:
        tars.read_members(blob)
    finally:
        blob.close()


def _read_flac(store: LocalStore, key: str) -> None:
    audio.verify(audio.decode(store.read(key), hostile_flacs.LIMIT))


_READ: dict[str, Callable[[LocalStore, str], object]] = {
    "tar": _read_tar,
    "flac": _read_flac,
    "parquet": lambda store, key: shards.read(store, key, {"video_id": pa.string()}),
    "json": documents.load,
}
_TABLES: dict[str, dict[str, tuple[str, Any]]] = {
    "tar": hostile_tars.DAMAGES,
    "flac": hostile_flacs.DAMAGES,
    "parquet": hostile_parquets.DAMAGES,
    "json": hostile_jsons.DAMAGES,
}
CASES = [Case(kind, name, *of) for kind, table in _TABLES.items() for name, of in table.items()]
