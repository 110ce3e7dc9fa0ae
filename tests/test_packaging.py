"""What is built is what is installed: wheel, editable install and sdist in clean virtual environments."""

import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "io", "pipelines", "transforms")
LAYERS = ("io", "pipelines", "transforms")
PROBE = """
import importlib.metadata, pathlib, resplice.io.engines, resplice.pipelines.config, resplice.transforms.records
import io; assert io.StringIO
files = [module.__file__ for module in (resplice.io.engines, resplice.pipelines.config, resplice.transforms.records)]
print(*(pathlib.Path(file).resolve().parent.parent for file in files))
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    target = tmp_path / "source"
    target.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, target)
    return target


def said(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def installed(folder: Path, *what: str | Path) -> Path:
    """Install without dependencies and borrow this environment's: fetching Beam anew would take minutes."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    said(python, "-m", "pip", "install", "--quiet", "--no-deps", *what, cwd=folder)
    site = Path(said(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    # After pip, lest it take this environment's resplice for one to replace. Written as .pth, the folder's own .pth
    # files (the editable install of this checkout) are not read.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def check(python: Path, home: str, cwd: Path) -> None:
    command = python.parent / "resplice"
    assert said(command, "--version", cwd=cwd).strip() == metadata.version("resplice")
    assert said(command, "config", "--example", cwd=cwd) == (ROOT / "pipelines" / "resplice.toml").read_text()
    roots = said(python, "-c", PROBE, cwd=cwd).split()
    assert len(roots) == 3 and all(home in root for root in roots), roots
    licence = "from importlib import metadata; print([f for f in metadata.files('resplice') if 'LICENSE' in str(f)])"
    assert "LICENSE" in said(python, "-c", licence, cwd=cwd)


LISTED = "from importlib import metadata; print(*(file.as_posix() for file in metadata.files('resplice')), sep='\\n')"


def whole(python: Path, cwd: Path) -> None:
    """Check that the installed files are all modules, templates and settings of this checkout, and no other."""
    files = {name for name in said(python, "-c", LISTED, cwd=cwd).splitlines() if name.startswith("resplice/")}
    kept = {f"resplice/{path.relative_to(ROOT).as_posix()}" for layer in LAYERS for path in (ROOT / layer).rglob("*.*")}
    assert {name for name in files if "__pycache__" not in name} == {name for name in kept if "__pycache__" not in name}


def test_a_plain_install_runs_from_its_own_folder(copy: Path, tmp_path: Path) -> None:
    python = installed(tmp_path / "venv", copy)
    shutil.rmtree(copy)
    check(python, "site-packages", tmp_path)


def test_an_editable_install_runs_from_the_checkout(copy: Path, tmp_path: Path) -> None:
    check(installed(tmp_path / "venv", "-e", copy), str(copy), tmp_path)


def test_the_source_distribution_holds_all_that_an_install_needs(copy: Path, tmp_path: Path) -> None:
    said(sys.executable, "-m", "build", "--sdist", "--outdir", tmp_path / "dist", copy, cwd=tmp_path)
    [archive] = (tmp_path / "dist").glob("*.tar.gz")
    shutil.rmtree(copy)
    python = installed(tmp_path / "venv", archive)
    check(python, "site-packages", tmp_path)
    whole(python, tmp_path)


STAGE = """
import sys
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.stager import Stager
options = PipelineOptions(["--setup_file=./setup.py", "--sdk_location=container"])
print(*(artifact.role_payload for artifact in Stager.create_job_resources(options, sys.argv[1])), sep="\\n")
"""


def test_beams_own_stager_packs_what_a_worker_can_install(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "staged").mkdir()
    said(sys.executable, "-c", STAGE, tmp_path / "staged", cwd=copy)
    [archive] = (tmp_path / "staged").rglob("*.tar.gz")
    python = installed(tmp_path / "venv", archive)
    check(python, "site-packages", tmp_path)
    whole(python, tmp_path)
