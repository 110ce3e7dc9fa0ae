import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

sys.path.insert(0, str(Path(__file__).parent))
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell started the tests in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the processes that they start are to hear Ctrl-C

import servers
from corpus import Corpus
from finalizing import World, make, plain
from postgres import Base, Postgres, server
from proxy import Proxy

from resplice.pipelines import demo

_NUMBERS = itertools.count(1)
hypothesis_settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("busy")  # a busy machine is no finding

os.environ["AWS_EC2_METADATA_DISABLED"] = "true"  # no test asks the network for credentials, or finds the user's own
for _name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
    os.environ.pop(_name, None)
os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.environ["AWS_CONFIG_FILE"] = os.devnull


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo corpus that tests only read."""
    folder = tmp_path_factory.mktemp("corpus") / "demo"
    demo.write(demo.Args(str(folder)))
    return folder


@pytest.fixture(scope="session")
def recovered(demo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The demo corpus after a whole recovery under the run id `r`; tests only read it."""
    corpus = Corpus(demo_folder, tmp_path_factory.mktemp("recovered") / "workspace")
    assert corpus("recover", "--yes") == 0
    return corpus


@pytest.fixture
def fresh(demo_folder: Path, tmp_path: Path) -> Corpus:
    """The demo corpus with an empty workspace."""
    return Corpus(demo_folder, tmp_path / "workspace")


@pytest.fixture
def again(recovered: Corpus, tmp_path: Path) -> Corpus:
    """A copy of the recovered workspace, to go on with."""
    shutil.copytree(recovered.workspace, tmp_path / "workspace")
    return Corpus(recovered.folder, tmp_path / "workspace")


@pytest.fixture
def planned(recovered: Corpus, tmp_path: Path) -> Callable[[], Corpus]:
    """Make a workspace that holds the baseline and the plan of run `r`, and nothing after."""

    def make() -> Corpus:
        for stage in ("baseline", "plan"):
            shutil.copytree(recovered.path(stage), tmp_path / "workspace/runs/r" / stage)
        return Corpus(recovered.folder, tmp_path / "workspace")

    return make


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A small world that is verified and can be finalized."""
    return make(tmp_path)


@pytest.fixture
def on_beam() -> None:
    """Run the pipelines of finalize on Beam."""


@pytest.fixture
def plain_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Call the workers of finalize themselves where a test does not ask for Beam."""
    if "on_beam" not in request.fixturenames:
        plain(monkeypatch)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of this process of the tests; skipped where there are no programs of it, unless CI=true."""
    with server() as started:
        yield started


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Base]:
    """An empty database of a name of its own."""
    name = f"corpus_{next(_NUMBERS)}"
    with postgres.database(name) as owner:
        yield Base(postgres, name, owner)


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """The durable S3 server; tests share it, each with buckets of its own. One that kills a server starts its own."""
    with servers.running("minio", tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """The quick S3 server, shared as `minio` is."""
    with servers.running("moto", tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """The S3 server of another make, shared as `minio` is."""
    with servers.running("versitygw", tmp_path_factory.mktemp("versitygw")) as server:
        yield server


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """The S3 server that ignores every condition, shared as `minio` is."""
    with servers.running("rclone", tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(scope="session")
def proxied() -> Iterator[Callable[[servers.Server], Proxy]]:
    """Give the proxy before a server, without rules and faults; tests share it as they share the server."""
    started: dict[str, Proxy] = {}

    def give(server: servers.Server) -> Proxy:
        if server.endpoint not in started:
            started[server.endpoint] = stack.enter_context(Proxy(server.endpoint))
        started[server.endpoint].reset()
        return started[server.endpoint]

    with ExitStack() as stack:
        yield give
