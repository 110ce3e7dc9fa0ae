"""doctor before a real Flink session cluster: what fits is ok, and each thing that does not is told with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resplice.pipelines import doctor
from resplice.pipelines.args import Doctor
from resplice.transforms.checkup import Finding, State

pytestmark = pytest.mark.slow
OF_RUNNERS = ("runner", "java", "job server", "flink", "parallelism", "workers", "shared")


@pytest.fixture(scope="module", params=["EXTERNAL", "PROCESS"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A session cluster whose workers start in the way that is named."""
    import flink  # where Flink is not at hand, only these tests miss it

    with flink.cluster(tmp_path_factory.mktemp("flink"), request.param, {}) as started:
        yield started


def examined(folder: Path, tokens: list[str]) -> dict[str, Finding]:
    found = doctor.examine(Doctor(config=str(folder / "resplice.toml")), tokens)
    return {finding.check: finding for finding in found if finding.check in OF_RUNNERS}


def test_a_cluster_that_fits_is_ok(cluster: Any, demo_folder: Path) -> None:
    found = examined(demo_folder, cluster.options)
    assert {check: finding.state for check, finding in found.items()} == dict.fromkeys(
        ("runner", "java", "job server", "flink", "parallelism", "workers"), State.OK
    )
    assert "Flink 1.19.3" in found["flink"].found


def test_what_does_not_fit_is_told_with_its_remedy(cluster: Any, demo_folder: Path) -> None:
    fitting = ("--flink_version", "--parallelism")
    tokens = [token for token in cluster.options if not token.startswith(fitting)]
    found = examined(demo_folder, [*tokens, "--flink_version=2.2", "--parallelism=64"])
    assert found["flink"].state == State.FAILED and found["flink"].remedy == "give --flink_version=1.19"
    assert found["parallelism"].state == State.WARNING and "start task managers" in found["parallelism"].remedy


def test_workers_that_would_not_start_are_found(cluster: Any, demo_folder: Path, tmp_path: Path) -> None:
    nowhere = {"EXTERNAL": "127.0.0.1:1", "PROCESS": f'{{"command": "{tmp_path}/boot"}}'}[cluster.environment]
    tokens = [token for token in cluster.options if not token.startswith("--environment_config")]
    found = examined(demo_folder, [*tokens, f"--environment_config={nowhere}"])
    assert found["workers"].state == State.FAILED and found["workers"].remedy


def test_a_master_that_is_gone_is_found(cluster: Any, demo_folder: Path) -> None:
    tokens = [token for token in cluster.options if not token.startswith("--flink_master")]
    found = examined(demo_folder, [*tokens, "--flink_master=127.0.0.1:1"])
    assert found["flink"].state == State.FAILED and "Connection refused" in found["flink"].found
