"""The programs that tests need besides Python packages: each in one exact version, built once into a cache folder.

Run as a script it builds what is missing, with nothing but Python and Go: it runs before `.venv` is there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

MODULES = {
    "minio": ("github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c"),
    "versitygw": ("github.com/versity/versitygw/cmd/versitygw", "v1.8.0"),
    "rclone": ("github.com/rclone/rclone", "v1.75.1"),
}
"""Name of the program → its Go package and version. MinIO's version is the last that was published as a module."""


def cache() -> Path:
    """Return the folder that keeps the programs: RESPLICE_PARTS, else one in the user's cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("RESPLICE_PARTS") or home / "resplice-parts")


def path(name: str) -> Path:
    """Return where the program of a name is, or will be: a version has a folder of its own."""
    return cache() / f"{name}-{MODULES[name][1]}" / name


def build(name: str) -> None:
    """Build a program unless it is there; it appears whole or not at all."""
    target = path(name)
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    package, version = MODULES[name]
    with tempfile.TemporaryDirectory(dir=cache()) as folder:
        subprocess.run(
            ["go", "install", f"{package}@{version}"],
            env={**os.environ, "CGO_ENABLED": "0", "GOBIN": folder},
            stdin=subprocess.DEVNULL,
            check=True,
        )
        (Path(folder) / name).replace(target)


def demand(name: str) -> Path:
    """Return the path of a program; without it the test is skipped, or fails where it has to be there."""
    if not path(name).exists():
        missing(f"{name} is not in {cache()}: .ci/parts builds it")
    return path(name)


def missing(reason: str) -> NoReturn:
    """Skip the running test for want of a part; in CI, which has them all, fail it."""
    import pytest  # the script runs without it

    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def main() -> int:
    """Build all that is missing, side by side, and return the exit code."""
    wanted = [name for name in MODULES if not path(name).exists()]
    if wanted and not shutil.which("go"):
        print(
            f"parts: Go builds {', '.join(wanted)} and is not on PATH: install it (https://go.dev/dl)", file=sys.stderr
        )
        return 1
    with ThreadPoolExecutor() as pool:
        builds = {name: pool.submit(build, name) for name in wanted}
    failed = [name for name, done in builds.items() if done.exception()]
    for name in failed:
        print(f"parts: {name} was not built: {builds[name].exception()}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
