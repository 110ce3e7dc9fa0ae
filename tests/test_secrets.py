"""A password of the database is read from the environment by each worker; nothing carries or prints it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from resplice.io.database import FROM_ENVIRONMENT
from resplice.pipelines import launch
from resplice.pipelines.args import Inspect
from resplice.pipelines.config import resolve


def test_the_context_of_workers_has_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    url = "postgresql://reader:open-sesame@127.0.0.1:5432/corpus"
    resolved = resolve(None, [], {"RESPLICE_DATABASE_URL": url})
    context = launch.context(Inspect(video="v"), resolved)
    assert context.settings.database.url == FROM_ENVIRONMENT
    assert b"open-sesame" not in pickle.dumps(context)


def test_a_url_without_a_password_reaches_workers_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    resolved = resolve(None, [], {"RESPLICE_DATABASE_URL": "sqlite:///corpus.sqlite"})
    context = launch.context(Inspect(video="v"), resolved)
    assert str(context.settings.database.url).endswith("/corpus.sqlite")
