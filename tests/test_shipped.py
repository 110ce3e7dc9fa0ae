"""What Beam ships for --setup_file=./setup.py is what workers run: installed elsewhere, in processes of their own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from corpus import Corpus
from processes import PATIENCE, Group, free_port
from test_packaging import STAGE, copy, installed, said

from resplice.io import clusters

__all__ = ["copy"]
pytestmark = pytest.mark.slow
BEAM = "apache_beam.runners"
IMPORTED = ("io/rebuild", "io/judging", "io/inventory", "io/merging", "transforms/verdict")
"""Modules that workers import, and that nothing does before there is work."""


@contextmanager
def serving(folder: Path, python: Path, module: str, option: str, probe: Callable[[str], str]) -> Iterator[str]:
    """Run a module of Beam as a server, in a folder where nothing of this checkout is; give its address."""
    port, log = free_port(), folder / f"{module}.log"
    environment = {"PATH": f"{python.parent}:{os.environ['PATH']}", "HOME": str(folder), "TMPDIR": str(folder)}
    with log.open("wb") as output:
        group = Group([str(python), "-m", module, f"{option}={port}"], cwd=folder, env=environment, stdout=output,
                      stderr=output)  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while probe(f"localhost:{port}") and time.monotonic() < deadline:
            time.sleep(0.2)
        assert probe(f"localhost:{port}") == "", log.read_text("utf-8")
        yield f"localhost:{port}"
    finally:
        group.end()


def compiled(site: Path) -> set[str]:
    """Return the modules of an installed resplice that some process imported: pip compiled none."""
    found = site.rglob("resplice/**/__pycache__/*.pyc")
    return {f"{path.parent.parent.name}/{path.name.split('.')[0]}" for path in found}


def test_workers_of_another_environment_run_what_the_stager_packed(
    copy: Path, recovered: Corpus, tmp_path: Path
) -> None:
    (tmp_path / "staged").mkdir()
    said(sys.executable, "-c", STAGE, tmp_path / "staged", cwd=copy)
    [archive] = (tmp_path / "staged").rglob("*.tar.gz")
    python = installed(tmp_path / "venv", "--no-compile", archive)
    [site] = (tmp_path / "venv/lib").glob("python*/site-packages")
    assert compiled(site) == set()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with (
        serving(elsewhere, python, f"{BEAM}.worker.worker_pool_main", "--service_port", clusters.pool) as pool,
        serving(elsewhere, python, f"{BEAM}.portability.local_job_service_main", "--port", clusters.job_server) as jobs,
    ):
        there = Corpus(recovered.folder, tmp_path / "workspace")
        assert there("recover", "--yes", "--runner=PortableRunner", f"--job_endpoint={jobs}",
                     "--environment_type=EXTERNAL", f"--environment_config={pool}") == 0  # fmt: skip
    assert set(IMPORTED) <= compiled(site)
    for name in ("repair/transcribed", "validate/shards"):
        assert artifacts(there.path(name)) == artifacts(recovered.path(name)) != {}
    for name in ("baseline/videos.parquet", "verify/coverage.parquet"):
        assert there.path(name).read_bytes() == recovered.path(name).read_bytes()


def artifacts(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder without their sidecars, which tell times."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(".manifest.json")}
