"""The demo corpus in a bucket: the same commands as in a folder, and what they leave there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from servers import Server

from resplice.io import documents
from resplice.io.store import Place, Store
from resplice.pipelines.__main__ import main
from resplice.transforms.settings import StoreOptions

ROOTS = ("raw", "transcribed", "validation", "workspace")


@dataclass(frozen=True)
class InBucket:
    """A demo corpus whose roots are below a prefix of a bucket, but for those in `local`; its database is a file."""

    folder: Path
    bucket: str
    options: StoreOptions
    local: tuple[str, ...] = ()
    work: Path = Path()

    def __call__(self, command: str, *options: str, run_id: str | None = "r") -> int:
        """Run a resplice command in this process; return its exit code."""
        run = [] if run_id is None else [f"--run-id={run_id}"]
        return main([*command.split(), f"--config={self.folder / 'resplice.toml'}", *self.settings, *run, "--quiet",
                     *options])  # fmt: skip

    @property
    def settings(self) -> list[str]:
        """Return the options that tell where the corpus is."""
        sets = {f"corpus.{root}": self.url(root) for root in ROOTS}
        sets |= {"store.endpoint_url": self.options.endpoint_url, "store.region": self.options.region}
        return [f"--set={key}={value}" for key, value in sets.items()]

    def url(self, root: str) -> str:
        """Return where a root is."""
        if root in self.local:
            return str(self.work if root == "workspace" else self.folder / root)
        return f"s3://{self.bucket}/the corpus/{root}"

    def store(self, root: str = "workspace") -> Store:
        """Return the store of a root."""
        return Place(self.url(root), options=self.options).store

    def json(self, name: str, run_id: str = "r") -> Any:
        """Return a document of a run."""
        return documents.load(self.store(), f"runs/{run_id}/{name}")

    def digests(self, prefix: str, suffix: str = "", root: str = "workspace") -> dict[str, str]:
        """Return the SHA-256 of the objects below a prefix."""
        store = self.store(root)
        keys = [head.key for head in store.list(prefix) if head.key.endswith(suffix)]
        return {key: hashlib.sha256(store.read(key)).hexdigest() for key in keys}

    def download(self, folder: Path) -> Path:
        """Copy the workspace into a folder, and return that."""
        store = self.store()
        for head in store.list():
            path = folder / head.key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(store.read(head.key))
        return folder

    def table(self, name: str, run_id: str = "r") -> list[dict[str, Any]]:
        """Return the rows of a parquet file of a run."""
        data = self.store().read(f"runs/{run_id}/{name}")
        import pyarrow as pa

        return pq.read_table(pa.BufferReader(data)).to_pylist()  # type: ignore[no-any-return]


def upload(folder: Path, server: Server, options: StoreOptions, **more: Any) -> InBucket:
    """Put the tars and shards of a demo corpus into a fresh bucket."""
    corpus = InBucket(folder, server.bucket(), options, **more)
    for root in set(ROOTS) - {"workspace", *corpus.local}:
        store = corpus.store(root)
        for file in sorted((folder / root).rglob("*")):
            if file.is_file():
                assert store.create(file.relative_to(folder / root).as_posix(), file)
    return corpus
