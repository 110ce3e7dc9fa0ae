"""The current rows of a folder of embeddings as a folder of their own: what was replaced is dropped.

A file holds the vectors of one embedder and windows; its metadata say so, and of which writing they are, so that the
new folder can be embedded into, too.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from resplice.io import shards, sidecars, vectors
from resplice.io.local import LocalStore, sync_folder
from resplice.io.store import Place
from resplice.transforms.records import UserError

_ROWS = 100_000


@dataclass(frozen=True)
class Compacted:
    """How many files and rows are current, and how many rows of the shards are not."""

    files: int
    rows: int
    dropped: int


class Shards:
    """The shards of a folder of embeddings, as they are now. UserError if there is none."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._indexes = vectors.indexes(place.store)
        self.keys, self.foreign = self._indexes[0].shards, self._indexes[0].foreign
        if not self.keys:
            others = f" ({', '.join(self.foreign[:5])} is none)" if self.foreign else ""
            raise UserError(f"there is no shard of embed in {place.url}{others}; give what embed wrote to --out")

    def count(self) -> Compacted:
        """Return what `write` would write."""
        return self._compacted([len(table) for _, table in self._files()])

    def write(self, folder: Path) -> Compacted:
        """Write the current rows into a new folder beside its place and rename it. UserError if `folder` is neither
        empty, nor not there, nor holds just these rows already.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = folder.parent / f".resplice-tmp-{uuid.uuid4().hex}"
        scratch.mkdir()
        try:
            rows = []
            for number, (metadata, table) in enumerate(self._files()):
                data = shards.encode(table, metadata)
                LocalStore(str(scratch)).create(f"part-{number:05d}.parquet", data)
                rows.append(len(table))
            try:
                scratch.rename(folder)
            except OSError:
                if _tree(folder) != _tree(scratch):
                    raise UserError(f"--to {folder} is not empty; name a new folder") from None
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return self._compacted(rows)

    def _compacted(self, rows: list[int]) -> Compacted:
        total = 0
        for key in self.keys:
            with shards.open_file(self._place.store, key) as file:
                total += file.metadata.num_rows
        return Compacted(len(rows), sum(rows), total - sum(rows))

    def _files(self) -> Iterator[tuple[Mapping[str, str], pa.Table]]:
        """Yield the rows of shards that are alike together, some hundred thousand at most, with their metadata."""
        waiting: dict[tuple[str, ...], list[pa.Table]] = {}
        for _, table in vectors.current(self._place.store, self._indexes):
            told = {name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items()}
            kind = (*(f"{name}={value}" for name, value in sorted(told.items())), str(table.schema.remove_metadata()))
            waiting.setdefault(kind, []).append(table)
            if sum(len(each) for each in waiting[kind]) >= _ROWS:
                yield told, pa.concat_tables(waiting.pop(kind))
        for tables in waiting.values():
            metadata = {name.decode(): value.decode() for name, value in (tables[0].schema.metadata or {}).items()}
            yield metadata, pa.concat_tables(tables)


def _tree(folder: Path) -> str:
    return str(sidecars.described_folder(folder, ours=True)["tree_sha256"])
