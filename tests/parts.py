"""The programs that tests need besides Python packages: each in one exact version, built once into a cache folder.

Run as a script it builds what is missing, with nothing but Python, Go, Java and Maven: it runs before `.venv` is there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

BEAM_SERVER = "2.62.0"
"""The newest Beam whose Flink runner is published as a whole; it serves jobs of the Beam that setup.py names."""

POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>resplice.tests</groupId><artifactId>jobserver</artifactId><version>{BEAM_SERVER}</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.beam</groupId><artifactId>beam-runners-flink-1.19</artifactId><version>{BEAM_SERVER}</version>
    </dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.30</version></dependency>
  </dependencies>
  <build><finalName>jobserver</finalName><plugins><plugin>
    <groupId>org.apache.maven.plugins</groupId><artifactId>maven-shade-plugin</artifactId><version>3.5.1</version>
    <executions><execution><phase>package</phase><goals><goal>shade</goal></goals><configuration>
      <createDependencyReducedPom>false</createDependencyReducedPom>
      <transformers>
        <transformer implementation="org.apache.maven.plugins.shade.resource.ServicesResourceTransformer"/>
        <transformer implementation="org.apache.maven.plugins.shade.resource.ManifestResourceTransformer">
          <mainClass>org.apache.beam.runners.flink.FlinkJobServerDriver</mainClass>
        </transformer>
      </transformers>
      <filters><filter><artifact>*:*</artifact><excludes>
        <exclude>META-INF/*.SF</exclude><exclude>META-INF/*.DSA</exclude><exclude>META-INF/*.RSA</exclude>
      </excludes></filter></filters>
    </configuration></execution></executions>
  </plugin></plugins></build>
</project>
"""


@dataclass(frozen=True)
class Part:
    """One program: its version, the tools that build it, and what makes it in a folder and tells where it is there."""

    version: str
    tools: tuple[str, ...]
    make: Callable[[str, Path], Path]


def cache() -> Path:
    """Return the folder that keeps the programs: RESPLICE_PARTS, else one in the user's cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("RESPLICE_PARTS") or home / "resplice-parts")


def path(name: str) -> Path:
    """Return where the program of a name is, or will be: a version has a folder of its own."""
    return cache() / f"{name}-{PARTS[name].version}" / name


def build(name: str) -> None:
    """Build a program unless it is there; it appears whole or not at all."""
    target = path(name)
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache(), prefix=f".{name}-", ignore_cleanup_errors=True) as folder:
        made = PARTS[name].make(PARTS[name].version, Path(folder))
        try:
            made.replace(target)
        except OSError:  # a folder cannot replace the one that another builder made meanwhile
            if not target.exists():
                raise


def run(*command: str | Path, **environment: str) -> None:
    """Run a tool; RuntimeError with the end of what it said if it fails."""
    done = subprocess.run(
        command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} ended with {done.returncode}:\n{done.stdout[-2000:]}")


def of_go(package: str) -> Callable[[str, Path], Path]:
    """Return what builds a program of Go."""

    def make(version: str, folder: Path) -> Path:
        run("go", "install", f"{package}@{version}", CGO_ENABLED="0", GOBIN=str(folder))
        return folder / package.rpartition("/")[2]

    return make


def flink(version: str, folder: Path) -> Path:
    """Make a folder with the jars of a Flink distribution: they are published as a Python package, too."""
    run(sys.executable, "-m", "venv", folder / "venv")
    pip = [folder / "venv/bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "download", "--no-deps", "--dest", folder, f"apache-flink-libraries=={version}")
    (archive,) = folder.glob("*.tar.gz")
    jars = folder / "jars"
    jars.mkdir()
    with tarfile.open(archive) as source:
        for member in source:
            if "/deps/lib/" in member.name and member.name.endswith(".jar"):
                content = source.extractfile(member)
                assert content
                with content, (jars / Path(member.name).name).open("wb") as target:
                    shutil.copyfileobj(content, target)
    return jars


def jobserver(version: str, folder: Path) -> Path:
    """Make Beam's job server for Flink: the runner and all that it needs in one jar."""
    (folder / "pom.xml").write_text(POM)
    run("mvn", "--batch-mode", "--quiet", "--file", folder / "pom.xml", "package")
    return folder / "target/jobserver.jar"


BEAM = "v2.77.0"
PARTS = {
    "minio": Part("v0.0.0-20260212201848-7aac2a2c5b7c", ("go",), of_go("github.com/minio/minio")),
    "versitygw": Part("v1.8.0", ("go",), of_go("github.com/versity/versitygw/cmd/versitygw")),
    "rclone": Part("v1.75.1", ("go",), of_go("github.com/rclone/rclone")),
    "boot": Part(BEAM, ("go",), of_go("github.com/apache/beam/sdks/v2/python/container")),
    "prism": Part(BEAM, ("go",), of_go("github.com/apache/beam/sdks/v2/go/cmd/prism")),
    "flink": Part("1.19.3", (), flink),
    "jobserver.jar": Part(BEAM_SERVER, ("mvn", "java"), jobserver),
}
"""Name of the program → how it is made. MinIO's version is the last that was published as a module; `boot` is what Beam
starts Python workers with, `flink` a folder of jars.
"""
TOOLS = {
    "go": "https://go.dev/dl",
    "mvn": "Debian: apt install maven",
    "java": "Debian: apt install default-jre-headless",
}


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
    wanted = [name for name in PARTS if not path(name).exists()]
    lacking = {tool: [n for n in wanted if tool in PARTS[n].tools] for tool in TOOLS if not shutil.which(tool)}
    for tool, names in lacking.items():
        if names:
            told = f"{tool} builds {', '.join(names)} and is not on PATH: install it ({TOOLS[tool]})"
            print(f"parts: {told}", file=sys.stderr)
    able = [name for name in wanted if not any(name in names for names in lacking.values())]
    with ThreadPoolExecutor() as pool:
        builds = {name: pool.submit(build, name) for name in able}
    failed = [name for name, done in builds.items() if done.exception()]
    for name in failed:
        print(f"parts: {name} was not built: {builds[name].exception()}", file=sys.stderr)
    return 1 if failed or len(able) < len(wanted) else 0


if __name__ == "__main__":
    sys.exit(main())
