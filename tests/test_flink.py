"""The recovery on a real Flink cluster, on Prism and in Flink's local mode: it makes what one process makes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flink
import on_flink
import parts
import psutil
import pytest
import soundfile
from apache_beam.runners.portability.portable_runner import JobServiceHandle
from backfilling import Folder, draft, essay, evaluation
from bucketed import InBucket
from corpus import Corpus
from embedding import RATE, sound
from flink import Cluster
from on_flink import Places, differences, made
from postgres import PASSWORDS, WRITER
from processes import PATIENCE
from recovering import outcome, tree
from test_corpus_rows import log

from resplice.pipelines.__main__ import main

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("flink")]  # one process of the tests has the clusters

STAGES = 6


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """The smallest demo corpus with MinIO and PostgreSQL, and what reaches them in the environment."""
    with on_flink.standing(tmp_path_factory.mktemp("places")) as started, on_flink.surroundings(started.secrets):
        yield started


@pytest.fixture(scope="module")
def cluster(places: Places, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of two task managers that start their own Python workers."""
    with flink.cluster(tmp_path_factory.mktemp("flink"), flink.PROCESS, places.secrets) as started:
        yield started


@pytest.fixture(scope="module")
def expected(places: Places) -> dict[str, Any]:
    """What a recovery in one process leaves."""
    corpus = places.corpus()
    assert corpus("recover", "--yes", "--workers=2") == 0
    return made(corpus)


@pytest.fixture(scope="module")
def submitted() -> Iterator[list[bytes]]:
    """Whatever is handed to a job server while the tests of this module run."""
    real, seen = JobServiceHandle.prepare, list[bytes]()

    def prepare(self: Any, proto: Any) -> Any:
        seen.append(proto.SerializeToString() + str(self.get_pipeline_options()).encode())
        return real(self, proto)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JobServiceHandle, "prepare", prepare)
        yield seen


@pytest.fixture(scope="module")
def recovered(places: Places, cluster: Cluster, submitted: list[bytes]) -> InBucket:
    """The corpus after a recovery on the cluster."""
    corpus = places.corpus()
    assert corpus("recover", "--yes", *cluster.options) == 0
    return corpus


def started(corpus: InBucket, command: str, *options: str) -> subprocess.Popen[str]:
    """Start a command as a process of its own."""
    places = [f"--config={corpus.folder / 'resplice.toml'}", *corpus.settings, "--run-id=r"]
    return subprocess.Popen(
        [sys.executable, "-m", "resplice.pipelines", command, *places, *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Wait until something is true; fail after a long while, or if the process has ended."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.02)


def processes_of(cluster: Cluster) -> list[psutil.Process]:
    """Return the processes of the cluster's task managers, with the Python workers and all that those have started."""
    leaders = [psutil.Process(manager.group.leader.pid) for manager in cluster.managers]
    return [each for leader in leaders for each in (leader, *leader.children(recursive=True))]


def test_a_recovery_on_a_cluster_makes_what_one_in_process_makes(
    recovered: InBucket, expected: dict[str, Any], cluster: Cluster
) -> None:
    assert len(expected) > 600 and differences(expected, made(recovered)) == []
    assert [job["state"] for job in cluster.jobs()] == ["FINISHED"] * STAGES
    assert cluster.jobs()[0]["name"].startswith("resplice-verify-r-")


def test_no_job_nor_any_process_of_the_cluster_was_told_a_secret(
    recovered: InBucket, submitted: list[bytes], places: Places, cluster: Cluster
) -> None:
    assert len(submitted) >= STAGES
    told = [" ".join(process.cmdline()).encode() for process in processes_of(cluster)]
    logs = [path.read_bytes() for path in cluster.folder.glob("*.log")]
    for secret in (places.minio.access_key, places.minio.secret_key, PASSWORDS[WRITER]):
        assert [text for text in (*submitted, *told, *logs) if secret.encode() in text] == []


def test_finalize_and_undo_on_a_cluster_replace_and_restore_the_tars(
    recovered: InBucket, cluster: Cluster, places: Places
) -> None:
    def statuses() -> list[tuple[Any, ...]]:
        with places.database.connect(database=on_flink.DATABASE) as connection:
            return connection.execute("SELECT video_id, validation_status FROM videos ORDER BY 1").fetchall()

    before, found = recovered.digests("", ".tar", "transcribed"), statuses()
    assert recovered("finalize", "--apply", *cluster.options) == 0
    tars = recovered.digests("runs/r/repair/transcribed/", ".tar")
    assert recovered.digests("", ".tar", "transcribed") == before | {
        key.rpartition("/")[2]: digest for key, digest in tars.items()
    }
    assert statuses() != found
    assert recovered("undo", "--apply", *cluster.options) == 0
    assert recovered.digests("", ".tar", "transcribed") == before and statuses() == found


def test_pack_on_a_cluster_makes_what_it_makes_in_process(places: Places, cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("\n".join(places.without_tar()))
    here, there = places.corpus(), places.corpus()
    assert here("pack", f"--videos={tmp_path / 'new.txt'}") == there(
        "pack", f"--videos={tmp_path / 'new.txt'}", *cluster.options
    )
    packed = here.digests("runs/r/pack/transcribed/", ".tar")
    assert packed and differences(made(here), made(there)) == []


def test_documents_embeddings_and_corpora_on_a_cluster_are_those_of_one_process(
    cluster: Cluster, tmp_path: Path
) -> None:
    inputs, sides = tmp_path / "inputs", [tmp_path / "here", tmp_path / "there"]
    for name in ("logs", "sounds"):
        (inputs / name).mkdir(parents=True)
    (inputs / "logs" / "Foo_480x270_25fps_x.json").write_text(json.dumps(log()))
    for number in range(3):
        soundfile.write(inputs / "sounds" / f"{number}.wav", sound(number), RATE)
    Folder(inputs).write(draft=[draft("d")], essay=[essay("e")], evaluation=[evaluation("v", essay="e")])
    for side, options in zip(sides, ([], cluster.options), strict=True):
        more = ["--run-id=r", "--quiet", f"--workspace={side}/work", *options]
        places = [f"--cross-root={inputs}/cross", f"--gen-root={inputs}/gen", f"--docs-root={side}/docs"]
        assert main(["documents", *places, f"--db=sqlite:///{side}/index.sqlite", f"--bad-list={side}/bad.csv",
                     *more]) == 0  # fmt: skip
        out = [f"--out={side}/vectors", f"--checkpoint-file={side}/checkpoint.json"]
        assert main(["embed", f"{inputs}/sounds", *out, *more]) == 0
        assert main(["corpus", "bvi-dvc", f"--cache-dir={inputs}/logs", f"--output={side}/rows.jsonl", *more]) == 0
    here, there = (
        {name: digest for name, (_, _, digest) in tree(side).items() if name.startswith(("docs/", "vectors/000001-r/"))}
        for side in sides
    )
    assert len([name for name in here if "." in name]) == 3 * 3 + 1 and here == there
    rows = [json.loads((side / "rows.jsonl").read_text()) | {"timestamp": ""} for side in sides]
    assert rows[0] == rows[1]


def test_an_error_in_a_worker_is_one_line_and_is_not_tried_again(
    places: Places, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    real = JobServiceHandle.submit

    def submit(self: Any, proto: Any) -> Any:
        owner.execute(f"REVOKE SELECT ON transcription_results FROM {WRITER}")
        return real(self, proto)

    corpus = places.corpus()
    with places.database.connect(database=on_flink.DATABASE) as owner:
        monkeypatch.setattr(JobServiceHandle, "submit", submit)  # the command itself has read what it reads
        try:
            assert corpus("baseline", *cluster.options) == 2
        finally:
            owner.execute(f"GRANT SELECT ON transcription_results TO {WRITER}")
            monkeypatch.setattr(JobServiceHandle, "submit", real)
    said = capfd.readouterr().err
    assert said.startswith("resplice baseline: the database corpus on 127.0.0.1:") and said.count("\n") == 1
    assert "permission denied for table transcription_results" in said
    assert cluster.jobs()[0]["state"] == "CANCELED"
    assert corpus("baseline", *cluster.options) == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_job_is_cancelled_with_its_command(number: int, code: int, places: Places, cluster: Cluster) -> None:
    corpus = places.corpus()
    before = len(cluster.jobs())
    process = started(corpus, "baseline", *cluster.options)
    wait_until(lambda: len(cluster.jobs()) > before and cluster.jobs()[0]["state"] == "RUNNING", process)
    assert "process 1 (baseline) is running" in status(corpus)
    os.killpg(process.pid, number)
    said = process.communicate()[1]
    assert process.returncode == code
    assert cluster.jobs()[0]["state"] == "CANCELED"
    assert "Traceback" not in said and said.splitlines()[-1].startswith("resplice baseline: ")
    assert corpus.json("run.json")["processes"][0]["exit"] == code


def test_a_cluster_that_does_not_answer_or_is_another_version_is_one_line(
    places: Places, cluster: Cluster, capfd: pytest.CaptureFixture[str]
) -> None:
    corpus = places.corpus()
    assert corpus("baseline", *cluster.options, "--flink_master=127.0.0.1:1") == 75
    said = capfd.readouterr().err
    assert said.startswith("resplice baseline: http://127.0.0.1:1/overview cannot be reached: ")
    assert said.count("\n") == 1
    assert corpus("baseline", *cluster.options, "--flink_version=1.20") == 2
    assert "runs Flink 1.19.3, but --flink_version is 1.20" in capfd.readouterr().err


def test_a_killed_task_manager_worker_or_command_changes_nothing(
    places: Places, cluster: Cluster, expected: dict[str, Any]
) -> None:
    corpus = places.corpus()
    assert corpus("baseline") == corpus("plan") == 0
    killed_in(corpus, "repair", "repair/transcribed/", cluster, lambda: replaced(cluster))
    killed_in(corpus, "validate", "validate/shards/", cluster, lambda: kill_a_worker(cluster))
    orphaned(corpus, "merge", cluster)
    assert corpus("recover", "--yes") == 0  # while that job still runs
    wait_until(lambda: cluster.jobs()[0]["state"] == "FINISHED")
    assert differences(expected, made(corpus)) == []


def orphaned(corpus: InBucket, stage: str, cluster: Cluster) -> None:
    """Run a stage on the cluster and kill its command; its job server ends with it, its job goes on."""
    before = len(cluster.jobs())
    process = started(corpus, stage, *cluster.options)
    wait_until(lambda: len(cluster.jobs()) > before and cluster.jobs()[0]["state"] == "RUNNING", process)
    below = psutil.Process(process.pid).children(recursive=True)
    assert [each for each in below if each.name() == "java"]
    process.kill()
    process.communicate()
    assert psutil.wait_procs(below, timeout=PATIENCE)[1] == []
    assert f"process {len(corpus.json('run.json')['processes'])} (merge) was killed" in status(corpus)


def status(corpus: InBucket) -> str:
    """Return what `status` says."""
    return started(corpus, "status").communicate()[0]


def killed_in(corpus: InBucket, stage: str, folder: str, cluster: Cluster, kill: Callable[[], None]) -> None:
    """Run a stage on the cluster, kill something once it has made something, and finish it."""
    process = started(corpus, stage, *cluster.options)
    wait_until(lambda: bool(made_in(corpus, folder)), process)
    kill()
    done = len(made_in(corpus, folder))
    process.communicate()
    assert process.returncode in (0, 1, 75)
    if process.returncode:
        assert corpus(stage, *cluster.options) == 0
    assert done < len(made_in(corpus, folder))  # it was in the middle


def made_in(corpus: InBucket, folder: str) -> list[str]:
    """Return what is in a folder of the run."""
    return [head.key for head in corpus.store().list(f"runs/r/{folder}")]


def replaced(cluster: Cluster) -> None:
    """Kill a task manager with all that it has started, and start a new one; what it had started is gone."""
    of_all = set(processes_of(cluster))
    cluster.kill(0)
    gone = of_all - set(processes_of(cluster))
    assert len(gone) > 2
    assert psutil.wait_procs(gone, timeout=PATIENCE)[1] == []
    cluster.add()


def kill_a_worker(cluster: Cluster) -> None:
    """Kill a Python worker; what it had started ends, too."""
    worker = next(each for each in processes_of(cluster) if "sdk_worker_main" in " ".join(each.cmdline()))
    below = worker.children(recursive=True)
    worker.kill()
    assert psutil.wait_procs(below, timeout=PATIENCE)[1] == []


def test_a_recovery_with_worker_pools_makes_the_same(
    places: Places, expected: dict[str, Any], tmp_path: Path, cluster: Cluster
) -> None:
    cluster.stop()  # the last test of it: two clusters are much for two cores
    with flink.cluster(tmp_path / "flink", flink.EXTERNAL, places.secrets) as pooled:
        corpus = places.corpus()
        assert corpus("recover", "--yes", *pooled.options) == 0
        assert differences(expected, made(corpus)) == []
        assert [job["state"] for job in pooled.jobs()] == ["FINISHED"] * STAGES


# Without a cluster


def on_prism() -> list[str]:
    return ["--runner=PrismRunner", f"--prism_location={parts.demand('prism')}", "--environment_type=LOOPBACK"]


def in_local_mode() -> list[str]:
    flink.java()
    return ["--runner=FlinkRunner", "--flink_version=1.19", "--parallelism=2",
            f"--flink_job_server_jar={parts.demand('jobserver.jar')}", "--environment_type=LOOPBACK"]  # fmt: skip


@pytest.fixture(scope="module")
def in_process(places: Places, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The demo corpus in folders, recovered in one process."""
    corpus = Corpus(places.demo, tmp_path_factory.mktemp("local") / "workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RESPLICE_DATABASE_URL", raising=False)
        assert corpus("recover", "--yes") == 0
    return corpus


@pytest.mark.parametrize("runner", [on_prism, in_local_mode])
def test_a_recovery_without_a_cluster_makes_the_same(
    runner: Callable[[], list[str]], in_process: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.delenv("RESPLICE_DATABASE_URL", raising=False)
    corpus = Corpus(in_process.folder, tmp_path / "workspace")
    assert corpus("recover", "--yes", *runner()) == 0
    assert capfd.readouterr().err == ""
    assert differences(outcome(in_process.workspace, "r"), outcome(corpus.workspace, "r")) == []


@pytest.mark.parametrize("runner", [on_prism, in_local_mode])
def test_an_error_without_a_cluster_is_one_line(
    runner: Callable[[], list[str]], in_process: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from resplice.io.inventory import Inventory
    from resplice.transforms.records import UserError

    def broken(self: Any, work: Any) -> Iterator[Any]:
        raise UserError("the corpus is away\nremedy: bring it back", 4)
        yield

    monkeypatch.delenv("RESPLICE_DATABASE_URL", raising=False)
    monkeypatch.setattr(Inventory, "__call__", broken)
    corpus = Corpus(in_process.folder, tmp_path / "workspace")
    assert corpus("baseline", *runner()) == 4
    assert capfd.readouterr().err == "resplice baseline: the corpus is away\nremedy: bring it back\n"
