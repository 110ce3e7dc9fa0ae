"""What every worker of a run knows: the run, the settings, and the places."""

from __future__ import annotations

from dataclasses import dataclass

from resplice.io.rows import Rows
from resplice.io.store import Place
from resplice.transforms.provenance import Run
from resplice.transforms.settings import Settings


@dataclass(frozen=True)
class Context:
    """One process of a run. Picklable; stores and engines are opened where they are used."""

    run: Run
    settings: Settings
    scratch: str = ""

    def _place(self, url: str) -> Place:
        scratch = f"{self.scratch}/{url.strip('/').replace('/', '_')}" if self.scratch else ""
        return Place(url, scratch, self.settings.store)

    @property
    def workspace(self) -> Place:
        """Return the root of runs, snapshots and objects."""
        return self._place(self.settings.corpus.workspace)

    @property
    def raw(self) -> Place:
        """Return the root of the raw tars."""
        return self._place(self.settings.corpus.raw)

    @property
    def transcribed(self) -> Place:
        """Return the root of the transcribed tars."""
        return self._place(self.settings.corpus.transcribed)

    @property
    def validation(self) -> Place:
        """Return the root of the historical validation shards."""
        return self._place(self.settings.corpus.validation)

    @property
    def rows(self) -> Rows:
        """Return the reader of the user's database."""
        return Rows(self.settings.database)

    def rows_at(self, snapshot: str) -> Rows:
        """Return the reader of one state of the user's database (see `Rows.frozen`)."""
        return Rows(self.settings.database, snapshot)

    def stage(self, name: str) -> str:
        """Return the key prefix of a stage of this run in the workspace."""
        return f"runs/{self.run.id}/{name}"

    def passing(self, stage: str) -> str:
        """Return where this process keeps what its stage needs only while it works."""
        return f"{self.stage(stage)}/live/{self.run.seq:04d}"
