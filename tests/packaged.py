"""A virtual environment that holds resplice as it is shipped: built into an sdist, from that a wheel, and installed.

Workers of a cluster run in it, so that a module or a file which the package lacks is lacking there, too.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from functools import cache
from pathlib import Path

import parts

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "io", "pipelines", "transforms")


@cache
def python() -> Path:
    """Return its interpreter; it is made once for each state of the sources, and appears whole or not at all."""
    home = parts.cache() / f"packaged-{_digest()}"
    home.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{home}.lock").open("w") as lock:  # a virtual environment cannot be moved to its place
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "ready").exists():
            _make(home)
            (home / "ready").touch()
    return home / "bin/python"


def _digest() -> str:
    files = sorted(path for part in SOURCES for path in [ROOT / part, *(ROOT / part).rglob("*")] if path.is_file())
    sha = hashlib.sha256(f"{sys.prefix} {sys.version}".encode())
    for path in files:
        if "__pycache__" not in path.parts:
            sha.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return sha.hexdigest()[:12]


def _make(home: Path) -> None:
    """Install the wheel of the sdist without its dependencies, which are borrowed from this environment."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.mkdir()
        for part in SOURCES:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, source / part)
        _run(sys.executable, "-m", "build", "--outdir", folder, source)
        (wheel,) = Path(folder).glob("*.whl")
        venv.create(home, with_pip=True, clear=True)
        _run(home / "bin/python", "-m", "pip", "install", "--quiet", "--no-deps", wheel)
    (site,) = home.glob("lib/python*/site-packages")
    # Named in a .pth file, the folder's own .pth files (the editable install of this checkout) are not read.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")


def _run(*command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
