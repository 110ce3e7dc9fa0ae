"""The recovery of the demo corpus on a real Flink cluster, with its tars in MinIO and its rows in PostgreSQL, by hand.

    .venv/bin/python tests/on_flink.py              recover in this process and on Flink, compare, stop everything
    .venv/bin/python tests/on_flink.py EXTERNAL     the same with worker pools
    .venv/bin/python tests/on_flink.py --keep       start all, print how to submit a job, and wait for Ctrl-C

It is also what the tests of Flink stand on: `standing` starts the places, `differences` compares two recoveries.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flink
import postgres
import recovering
import servers
from bucketed import InBucket, upload

from resplice.transforms.settings import StoreOptions

DATABASE = "corpus"


@dataclass(frozen=True)
class Places:
    """A demo corpus, the S3 server for its tars, and the database server that holds its rows."""

    demo: Path
    minio: servers.Server
    database: postgres.Postgres

    @property
    def secrets(self) -> dict[str, str]:
        """Return what a process that works on the corpus has to find in its environment."""
        return {
            "AWS_ACCESS_KEY_ID": self.minio.access_key,
            "AWS_SECRET_ACCESS_KEY": self.minio.secret_key,
            "RESPLICE_DATABASE_URL": self.database.url(DATABASE, postgres.WRITER, scheme="postgresql+psycopg"),
        }

    def corpus(self) -> InBucket:
        """Return the corpus in a bucket of its own, with an empty workspace."""
        return upload(self.demo, self.minio, StoreOptions(self.minio.endpoint, "us-east-1"))

    def without_tar(self) -> list[str]:
        """Return ids of videos that have a raw tar and no transcribed one."""
        raw = {path.name.removesuffix(".tar") for path in (self.demo / "raw").glob("*.tar")}
        return sorted(
            raw - {path.name.removesuffix("_transcribed.tar") for path in (self.demo / "transcribed").iterdir()}
        )


@contextmanager
def standing(folder: Path) -> Iterator[Places]:
    """Start MinIO and PostgreSQL with the smallest demo corpus."""
    demo = recovering.demo(folder / "demo").root
    with ExitStack() as stack:
        minio = stack.enter_context(servers.running("minio", folder / "minio"))
        database = stack.enter_context(postgres.server())
        with database.database(DATABASE) as owner:
            postgres.load(owner, demo / "corpus.sqlite")
            yield Places(demo, minio, database)


@contextmanager
def surroundings(values: Mapping[str, str]) -> Iterator[None]:
    """Put values into the environment for a while."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def made(corpus: InBucket) -> dict[str, Any]:
    """Return what the runs of a corpus have left in its bucket, but for moments and the name of the bucket."""
    with tempfile.TemporaryDirectory() as folder:
        return recovering.outcome(corpus.download(Path(folder)))


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return the names of what is in one of two outcomes alone, or not the same in both."""
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


def compared(places: Places, cluster: flink.Cluster) -> int:
    """Recover the corpus here and on the cluster; tell what differs, and return the exit code."""
    here, there = places.corpus(), places.corpus()
    for title, corpus, options in (("in this process", here, ["--workers=2"]), ("on Flink", there, cluster.options)):
        began = time.monotonic()
        code = corpus("recover", "--yes", *options)
        print(f"recovery {title}: exit {code} in {time.monotonic() - began:.1f} s\n", flush=True)
    jobs = cluster.jobs()
    print(f"{len(jobs)} jobs on Flink: {', '.join(job['state'] for job in jobs)}")
    expected = made(here)
    different = differences(expected, made(there))
    print(f"{len(expected)} objects in the workspace, {len(different)} differ: {different or 'none'}")
    return 1 if different or not expected else 0


def told(places: Places, cluster: flink.Cluster) -> None:
    """Print how to submit a job to what runs, and wait."""
    corpus = places.corpus()
    command = [str(Path(sys.executable).parent / "resplice"), "{}", "--config", str(corpus.folder / "resplice.toml"),
               *corpus.settings, "--run-id", "by-hand"]  # fmt: skip
    print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in places.secrets.items()))
    print(shlex.join(command).format("recover") + " --yes " + shlex.join(cluster.options))
    print(shlex.join(command).format("status") + " --follow")
    print(f"Flink: http://{cluster.address}   Ctrl-C stops everything", flush=True)
    while True:
        time.sleep(3600)


def main() -> int:
    """Run the comparison, or wait, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment", nargs="?", choices=flink.ENVIRONMENTS, default=flink.PROCESS)
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="resplice-flink-"))
    try:
        with (
            standing(folder) as places,
            surroundings(places.secrets),
            flink.cluster(folder / "flink", args.environment, places.secrets) as cluster,
        ):
            count = f"{len(cluster.managers)} task managers of {cluster.slots} slots"
            print(f"Flink at http://{cluster.address}: {count}, workers: {cluster.environment}", flush=True)
            if args.keep:
                told(places, cluster)
            return compared(places, cluster)
    except KeyboardInterrupt:
        return 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
