import itertools
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell started the tests in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the processes that they start are to hear Ctrl-C

from corpus import Corpus
from finalizing import World, make, plain
from postgres import Base, Postgres, server

from resplice.pipelines import demo

_NUMBERS = itertools.count(1)


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
