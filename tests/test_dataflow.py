"""Every job as Dataflow would get it, by the dry run of DataflowRunner, which asks nobody; no secret is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import apache_beam
import pytest
from blocks import ROOT
from corpus import Corpus
from test_graphs import BUILDS, HEAVY
from test_packaging import copy, installed, said

from resplice.transforms import checkup
from resplice.transforms.settings import RunOptions

__all__ = ["copy"]
pytestmark = pytest.mark.slow
SECRETS = {
    "AWS_ACCESS_KEY_ID": "Kr0kodil-im-Nil",
    "AWS_SECRET_ACCESS_KEY": "Pyramide/bei+Gizeh",
    "PGPASSWORD": "Sph1nx-ohne-Nase",
    "RESPLICE_DATABASE_URL": "postgresql://reader:Obel1sk@db.example/corpus",
}


@pytest.fixture
def jobs(copy: Path, recovered: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Every job, translated in an environment of its own that has Google's packages, with secrets in its variables."""
    python = installed(tmp_path / "venv", copy)
    google = f"apache-beam[gcp]=={apache_beam.__version__}"
    said(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", google, cwd=tmp_path)
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    config, target = recovered.folder / "resplice.toml", tmp_path / "jobs.json"
    said(python, ROOT / "tests/on_dataflow.py", config, recovered.workspace, target, cwd=tmp_path)
    return json.loads(target.read_text("utf-8"))  # type: ignore[no-any-return]


def test_every_job_is_translated_with_its_image_and_hints_and_without_a_secret(jobs: dict[str, Any]) -> None:
    needed = checkup.needed_mb(1, RunOptions().memory_mb)
    assert jobs.keys() == BUILDS.keys()
    for name, job in jobs.items():
        assert set(job["images"]) == {"registry.example/resplice-dataflow:0.1.0"}, name
        assert job["machine"] == "n2-standard-4"
        assert job["memory"] == ([needed] if name in HEAVY else [])
    shown = {"Obel1sk" if name == "RESPLICE_DATABASE_URL" else secret for name, secret in SECRETS.items()}
    assert len(shown) == 4 and not [
        (name, secret) for name, job in jobs.items() for secret in shown if secret in job["everything"]
    ]
    assert "environment:RESPLICE_DATABASE_URL" in jobs["repair"]["everything"]  # it is looked into what is packed
