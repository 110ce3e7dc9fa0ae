"""Cost of `resplice repair --workers 2` on an object store over HTTP, against a local folder.

    python benchmarks/objects.py [--quick] [--hours 6] [--rounds 5] [--server minio]

The corpus is that of `repair.py`. Its raw tars stand in a local folder and in a bucket of a real S3 server on this
machine (`.ci/parts` builds it), and so does the workspace. Each round repairs all of it once on each side, every second
round the other way round; a side's figure is the median of its rounds, clocked as in `repair.py`: seconds inside the
command, and seconds of CPU of its processes together, without the server's. The server runs on the same cores, so that
the seconds of a machine of its own would be fewer.

In the end the tars of both sides must have the same bytes, else exit 1. The largest memory of the command's processes is
printed for a corpus of a quarter of the size, too: it must not grow with the corpus.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import io
import logging
import multiprocessing
import os
import resource
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import repair

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import servers

from resplice.io import pool
from resplice.io.store import Place, Store
from resplice.pipelines.__main__ import main as resplice_main
from resplice.transforms.settings import StoreOptions

SIDES = ("folder", "bucket")
RAW = "raw"
MOST_CPU, LEAST_SPEED = 1.4, 0.5


class Took(NamedTuple):
    """What one repair took: seconds, seconds of CPU of its processes, and the largest resident size of one in bytes."""

    seconds: float
    cpu_s: float
    peak: int


class Bucket(NamedTuple):
    """Where the bucket is."""

    name: str
    options: StoreOptions

    def root(self, folder: str) -> Store:
        """Return the store of a folder in it."""
        return Place(f"s3://{self.name}/{folder}", options=self.options).store


def arguments(side: str, bucket: Bucket, run: str) -> list[str]:
    """Return the options of every command of a side."""
    given = ["--config", "resplice.toml", "--run-id", run, "--quiet", f"--set=corpus.workspace=workspace-{side}"]
    if side == "bucket":
        values = {
            "corpus.raw": f"s3://{bucket.name}/{RAW}",
            "corpus.workspace": f"s3://{bucket.name}/workspace",
            "store.endpoint_url": bucket.options.endpoint_url,
            "store.region": bucket.options.region,
        }
        given += [f"--set={key}={value}" for key, value in values.items()]
    return given


def silently(argv: list[str]) -> None:
    """Run a command; SystemExit unless it ends well."""
    with contextlib.redirect_stdout(io.StringIO()):
        if code := resplice_main(argv):
            raise SystemExit(f"{argv[0]} ended with {code}")


def clocked(root: Path, argv: list[str]) -> Took:
    """Clock one repair in this process, which does nothing else."""
    logging.disable(logging.WARNING)  # Beam misses Google's libraries
    for module in (*repair.LOADED_LATE, "resplice.io.s3"):
        importlib.import_module(module)
    logging.disable(logging.NOTSET)
    os.chdir(root)
    took = repair.clock(lambda: silently(argv), pool.close_all)
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Took(took.seconds, took.cpu_s, max(peaks) * 1024)


def alone(function: Callable[..., Any], *args: Any) -> Any:
    """Return what a function returns in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *args).result()


def planned(root: Path, side: str, bucket: Bucket) -> None:
    """Make baseline and plan of a side."""
    os.chdir(root)
    for stage in ("baseline", "plan"):
        silently([stage, *arguments(side, bucket, "bench")])


def measure(root: Path, bucket: Bucket, rounds: int) -> dict[str, list[Took]]:
    """Return what each round of each side took."""
    took: dict[str, list[Took]] = {side: [] for side in SIDES}
    for number in range(rounds):
        for side in SIDES[:: -1 if number % 2 else 1]:
            clear(root, bucket)
            os.sync()
            command = ["repair", *arguments(side, bucket, "bench"), f"--workers={repair.WORKERS}"]
            took[side].append(alone(clocked, root, command))
        print(f"round {number + 1}: " + ", ".join(f"{s} {t[-1].seconds:.2f} s" for s, t in took.items()), flush=True)
    return took


def clear(root: Path, bucket: Bucket) -> None:
    """Remove what repairs have made on both sides."""
    shutil.rmtree(root / "workspace-folder/runs/bench/repair", ignore_errors=True)
    store = bucket.root("workspace")
    for head in list(store.list("runs/bench/repair/")):
        store.delete(head.key)


def digests(store: Store) -> dict[str, str]:
    """Return the SHA-256 of each repaired tar."""
    keys = [head.key for head in store.list("runs/bench/repair/transcribed/") if head.key.endswith(".tar")]
    return {key: hashlib.sha256(store.read(key)).hexdigest() for key in keys}


@contextlib.contextmanager
def serving(name: str, folder: Path) -> Iterator[Bucket]:
    """Start a server, put its credentials into the environment, and give a bucket."""
    folder.mkdir()
    with servers.running(name, folder) as server:
        os.environ.update(AWS_ACCESS_KEY_ID=server.access_key, AWS_SECRET_ACCESS_KEY=server.secret_key)
        yield Bucket(server.bucket(), StoreOptions(server.endpoint, "us-east-1"))


def compare(server: str, hours: float, different: int, rounds: int) -> dict[str, list[Took]]:
    """Build a corpus, measure both sides, and see that they made the same."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        seconds, _ = repair.build(root, hours, different)
        print(f"{seconds / 3600:.2f} h of audio in {len(list((root / RAW).iterdir()))} videos", flush=True)
        with serving(server, root / "server") as bucket:
            raw = bucket.root(RAW)
            for tar in (root / RAW).iterdir():
                raw.create(tar.name, tar)
            for side in SIDES:
                alone(planned, root, side, bucket)
            took = measure(root, bucket, rounds)
            clear(root, bucket)
            for side in SIDES:
                alone(clocked, root, ["repair", *arguments(side, bucket, "bench"), f"--workers={repair.WORKERS}"])
            local, remote = digests(Place(str(root / "workspace-folder")).store), digests(bucket.root("workspace"))
            if not local or local != remote:
                raise SystemExit("the two sides made different tars")
            print(f"both sides made the same bytes of {len(local)} tars")
    return took


def main() -> int:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=6.0, help="audio in the corpus (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default %(default)s)")
    parser.add_argument("--server", default="minio", choices=("minio", "versitygw"), help="(default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one round of some minutes of audio: no figure to trust")
    args = parser.parse_args()
    size = (repair.QUICK_HOURS, repair.QUICK_DIFFERENT) if args.quick else (args.hours, repair.DIFFERENT)
    took = compare(args.server, *size, 1 if args.quick else args.rounds)
    medians = {side: Took(*map(statistics.median, zip(*each, strict=True))) for side, each in took.items()}
    for side, (seconds, cpu, peak) in medians.items():
        print(f"{side:7} {seconds:6.2f} s  {cpu:6.2f} s of CPU  at most {peak / 1e6:.0f} MB in one process")
    speed = medians["folder"].seconds / medians["bucket"].seconds
    cpu = medians["bucket"].cpu_s / medians["folder"].cpu_s
    print(f"the bucket costs {cpu:.2f} of the folder's CPU (at most {MOST_CPU}) at {speed:.2f} of its speed "
          f"(at least {LEAST_SPEED})")  # fmt: skip
    if not args.quick:
        small = compare(args.server, args.hours / 4, repair.DIFFERENT, 1)["bucket"][0]
        print(f"memory on the bucket: {medians['bucket'].peak / 1e6:.0f} MB, "
              f"{small.peak / 1e6:.0f} MB with a quarter of the corpus")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
