"""deploy/ fits the project: linters take it, versions are those of setup.py, secrets reach the pools alone."""

from __future__ import annotations

import fnmatch
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import apache_beam
import pytest
import setuptools
import yaml
from apache_beam.options.pipeline_options import FlinkRunnerOptions
from blocks import ROOT, blocks, commands
from packaging.specifiers import SpecifierSet

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
README = (DEPLOY / "README.md").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
NODES = ("1", "2")


@pytest.fixture(scope="module")
def packaging() -> dict[str, Any]:
    """What setup.py gives to setuptools."""
    given: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(setuptools, "setup", lambda **arguments: given.update(arguments))
        runpy.run_path(str(ROOT / "setup.py"))
    return given


def linted(program: str, *arguments: str | Path) -> str:
    done = subprocess.run([Path(sys.executable).with_name(program), *arguments], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_the_dockerfile_is_taken_by_hadolint_and_a_worse_one_is_not(tmp_path: Path) -> None:
    assert linted("hadolint", DEPLOY / "Dockerfile") == ""
    worse = tmp_path / "Dockerfile"
    worse.write_text(DOCKERFILE.replace("WORKDIR /source", "WORKDIR source"))
    assert "DL3000" in linted("hadolint", worse)


def test_the_compose_file_is_taken_by_its_schema_and_a_worse_one_is_not(tmp_path: Path) -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    assert linted("check-jsonschema", *schema, DEPLOY / "compose.yaml") == ""
    worse = tmp_path / "compose.yaml"
    worse.write_text((DEPLOY / "compose.yaml").read_text("utf-8").replace("network_mode:", "network_mod:"))
    assert "network_mod" in linted("check-jsonschema", *schema, worse)


def test_versions_are_those_of_the_package(packaging: dict[str, Any]) -> None:
    [beam] = re.findall(r"^ARG BEAM=(\S+)$", DOCKERFILE, re.MULTILINE)
    [required] = [each for each in packaging["install_requires"] if each.startswith("apache-beam")]
    assert beam in SpecifierSet(required.removeprefix("apache-beam")) and beam == apache_beam.__version__
    pythons = re.findall(r"^FROM (?:python:|apache/beam_python)(\d\.\d+)", DOCKERFILE, re.MULTILINE)
    assert len(pythons) == 2 and len(set(pythons)) == 1
    assert f"{pythons[0]}.0" in SpecifierSet(packaging["python_requires"])
    assert f"(the image: {pythons[0]})" in README and f"({beam})" in README
    assert set(re.findall(r"container@v([\d.]+\d)|prism@v([\d.]+\d)", README)) == {(beam, ""), ("", beam)}
    assert set(re.findall(r"job-server-([\d.]+\d)\.jar", README)) == {beam}
    assert packaging["extras_require"]["dataflow"] == [required.replace("apache-beam", "apache-beam[gcp]")]


def test_flinks_versions_are_those_that_beam_knows() -> None:
    known = FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS
    assert f"{', '.join(known[:-1])} and {known[-1]}, which is its default" in README
    assert COMPOSE["x-flink"]["image"] == f"flink:${{FLINK_VERSION:-{known[-1]}}}-java17"
    assert set(re.findall(r"--flink_version=(\S+)", README)) == {known[-1]}


def test_what_the_image_is_built_from_is_all_that_the_package_needs(packaging: dict[str, Any]) -> None:
    sources = {word for line in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()}
    needed = {
        "setup.py",
        "pyproject.toml",
        "README.md",
        *packaging["license_files"],
        *packaging["package_dir"].values(),
    }
    assert sources == needed and all((ROOT / each).exists() for each in sources)
    rules = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").split()
    assert rules[0] == "*" and {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == sources
    assert not any(fnmatch.fnmatch(each, rule) for rule in rules[1:] if not rule.startswith("!") for each in sources)


def test_the_stages_are_those_that_are_named_and_a_pool_is_not_root() -> None:
    stages = re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.MULTILINE)
    assert stages == ["build", "dataflow", "pool"]
    assert set(re.findall(r"--target (\w+)", DOCKERFILE + README)) <= set(stages)
    pool = DOCKERFILE.partition(" AS pool\n")[2]
    [user] = re.findall(r"^USER (\d+)$", pool, re.MULTILINE)
    assert int(user) and f"useradd --uid {user}" in pool and f"chown -R {user} " in README
    assert 'ENTRYPOINT ["/opt/apache/beam/boot"]' in DOCKERFILE.partition(" AS pool\n")[0]
    [started] = re.findall(r"^ENTRYPOINT (.*)$", pool, re.MULTILINE)
    assert f"{' '.join(json.loads(started))} --service_port=50000" in README


def test_each_task_manager_has_a_pool_in_its_network() -> None:
    names = {f"{kind}-{node}" for kind in ("node", "taskmanager", "pool") for node in NODES}
    assert set(SERVICES) == {"jobmanager", *names}
    for node in NODES:
        manager, pool = SERVICES[f"taskmanager-{node}"], SERVICES[f"pool-{node}"]
        assert manager["network_mode"] == pool["network_mode"] == f"service:node-{node}"
        assert set(manager["depends_on"]) == {"jobmanager", f"pool-{node}"}
        assert pool["build"]["target"] == "pool" and (DEPLOY / pool["build"]["context"] / "setup.py").is_file()
        assert (DEPLOY / pool["build"]["context"] / pool["build"]["dockerfile"]).is_file()
        assert "localhost/50000" in " ".join(pool["healthcheck"]["test"])
    shown = [c.words for block in blocks(DEPLOY / "README.md", "sh") for c in commands(block)]
    assert {word for words in shown for word in words if word.startswith("--environment_config=l")} == {
        "--environment_config=localhost:50000"
    }


def test_every_service_restarts_and_all_that_answer_are_watched() -> None:
    assert all(service["restart"] == "unless-stopped" for service in SERVICES.values())
    assert all("healthcheck" in service for name, service in SERVICES.items() if not name.startswith("node-"))
    assert SERVICES["jobmanager"]["ports"] == ["127.0.0.1:8081:8081"]


def test_credentials_are_files_that_the_pools_alone_get() -> None:
    with_secrets = {name for name, service in SERVICES.items() if service.get("secrets")}
    assert with_secrets == {f"pool-{node}" for node in NODES}
    assert all(set(each) == {"file"} for each in COMPOSE["secrets"].values())
    for name, service in SERVICES.items():
        given = service.get("environment", {})
        assert not re.search("PASSWORD|SECRET|TOKEN|ACCESS_KEY", json.dumps(given)), name
    pool = SERVICES["pool-1"]
    mounted = {f"/run/secrets/{name}" for name in pool["secrets"]}
    assert mounted == set(pool["environment"].values())
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
