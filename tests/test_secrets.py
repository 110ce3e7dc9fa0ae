"""A password of the database is read from the environment by each worker; nothing carries or prints it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from resplice.io.database import FROM_ENVIRONMENT
from resplice.pipelines import launch, options
from resplice.pipelines.args import Inspect
from resplice.pipelines.config import resolve
from resplice.transforms.records import UserError


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


SECRET = '{"command": "boot", "env": {"AWS_SECRET_ACCESS_KEY": "Kr0kodil"}}'
URL = '{"command": "boot", "env": {"RESPLICE_DATABASE_URL": "postgresql://r:Kr0kodil@h/c"}}'


@pytest.mark.parametrize(
    "tokens",
    [
        ["--s3_secret_access_key=Kr0kodil"],
        [f"--environment_config={SECRET}"],
        ["--environment_config", SECRET],
        [f"--environment_config={URL}"],
        ["--environment_options=password=Kr0kodil"],
    ],
)
def test_a_credential_in_options_of_beam_is_refused_and_not_shown(tokens: list[str]) -> None:
    with pytest.raises(UserError, match="would put a credential into the job graph") as refused:
        options.beam_argv(tokens, {}, 1)
    assert "Kr0kodil" not in str(refused.value)


def test_an_environment_of_workers_without_credentials_passes() -> None:
    given = '--environment_config={"command": "/opt/boot", "env": {"PATH": "/opt/venv/bin:/usr/bin"}}'
    assert given in options.beam_argv([given, "--environment_type=PROCESS"], {}, 1)
