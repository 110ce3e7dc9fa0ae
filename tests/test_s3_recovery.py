"""The recovery on object stores over HTTP: what comes out is what comes out of folders."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bucketed import InBucket, upload
from corpus import Corpus
from servers import Server

from resplice.io import snapshots
from resplice.io.local import LocalStore
from resplice.io.requests import Bucket
from resplice.pipelines.__main__ import main
from resplice.transforms.settings import StoreOptions

SAME = ("plan/affected.txt", "repair/transcribed/", "validate/shards/", "verify/coverage.json", "repair/refused.jsonl")
OF_PLACES = (".manifest.json",)
"""Sidecars name places and moments."""


@pytest.fixture(scope="session")
def in_bucket(demo_folder: Path, minio: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InBucket]:
    """The demo corpus in a bucket after a whole recovery under the run id `r`; tests only read it."""
    with pytest.MonkeyPatch.context() as patch:
        minio.credentials(patch)
        folder = tmp_path_factory.mktemp("s3") / "demo"
        shutil.copytree(demo_folder, folder)
        corpus = upload(folder, minio, StoreOptions(minio.endpoint, "us-east-1"))
        assert corpus("recover", "--yes") == 0
        yield corpus


@pytest.fixture
def credentials(minio: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    minio.credentials(monkeypatch)


def without_moments(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "at"} for line in lines]


def test_a_recovery_in_a_bucket_makes_the_same_bytes_as_one_in_folders(in_bucket: InBucket, recovered: Corpus) -> None:
    local = LocalStore(str(recovered.workspace))
    for name in SAME[:-1]:
        keys = [head.key for head in local.list(f"runs/r/{name}") if not head.key.endswith(OF_PLACES)]
        assert keys
        assert {key: in_bucket.store().read(key) for key in keys} == {key: local.read(key) for key in keys}


def test_it_refuses_the_same_videos_for_the_same_reasons(in_bucket: InBucket, recovered: Corpus) -> None:
    for stage in ("plan", "repair", "validate", "merge"):
        assert in_bucket.json(f"{stage}/summary.json") == recovered.json(f"{stage}/summary.json")


def test_a_reader_of_the_bucket_sees_the_same_results(in_bucket: InBucket, recovered: Corpus) -> None:
    remote = snapshots.dataset(in_bucket.url("workspace"), options=in_bucket.options).to_table()
    local = snapshots.dataset(str(recovered.workspace)).to_table()
    by = [("video_id", "ascending"), ("segment_file", "ascending")]
    assert remote.sort_by(by).equals(local.sort_by(by))


def test_a_second_process_of_the_run_writes_nothing_but_its_own_record(in_bucket: InBucket) -> None:
    own = ("run.json", "report.html", "report.json", "world.json")
    before = {head for head in in_bucket.store().list() if not head.key.endswith(own)}
    assert in_bucket("recover", "--yes") == 0
    assert {head for head in in_bucket.store().list() if not head.key.endswith(own)} == before


@pytest.mark.parametrize("command", ["status", "failed", "snapshots", "report", "inspect", "manifest", "export"])
def test_every_look_at_a_run_works_on_a_bucket(
    command: str, in_bucket: InBucket, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    planned = in_bucket.store().read("runs/r/plan/affected.txt").decode().splitlines()
    repaired = next(
        video for video in planned if in_bucket.store().head(f"runs/r/repair/transcribed/{video}_transcribed.tar")
    )
    sidecar = in_bucket.url("workspace") + f"/runs/r/repair/transcribed/{repaired}_transcribed.tar.manifest.json"
    more = {
        "inspect": ["--", repaired],
        "export": [f"--to={tmp_path / 'out'}"],
        "manifest": [sidecar],
    }.get(command, [])
    run_id = None if command in ("snapshots", "export", "manifest") else "r"
    name = "manifest verify" if command == "manifest" else command
    assert in_bucket(name, *more, run_id=run_id) == 0
    assert capsys.readouterr().out


def test_a_dry_run_writes_nothing_into_the_bucket(in_bucket: InBucket, credentials: None) -> None:
    before = list(in_bucket.store().list())
    assert in_bucket("recover", "--yes", "--dry-run", run_id="dry") == 0
    assert list(in_bucket.store().list()) == before


@pytest.mark.parametrize("local", [("workspace",), ("raw", "validation"), ("transcribed", "workspace")])
def test_roots_may_mix(
    local: tuple[str, ...], demo_folder: Path, moto: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    recovered: Corpus,
) -> None:  # fmt: skip
    moto.credentials(monkeypatch)
    options = StoreOptions(moto.endpoint, "us-east-1")
    corpus = upload(demo_folder, moto, options, local=local, work=tmp_path / "workspace")
    assert corpus("recover", "--yes", "--limit", "6") == 3
    assert corpus("recover", "--yes") in (0, 3)
    made = corpus.digests("runs/r/repair/transcribed/", ".tar")
    folders = LocalStore(str(recovered.workspace))
    assert made and set(made) <= {head.key for head in folders.list("runs/r/repair/transcribed/")}


def test_a_raw_tar_that_changes_in_the_bucket_is_drift(
    demo_folder: Path, moto: Server, monkeypatch: pytest.MonkeyPatch, recovered: Corpus
) -> None:
    moto.credentials(monkeypatch)
    corpus = upload(demo_folder, moto, StoreOptions(moto.endpoint, "us-east-1"))
    assert corpus("baseline") == 0 and corpus("plan") == 0
    planned = corpus.store().read("runs/r/plan/affected.txt").decode().splitlines()
    changed, same = [video for video in planned if corpus.store("raw").head(f"{video}.tar")][:2]
    corpus.store("raw").replace(f"{changed}.tar", corpus.store("raw").read(f"{changed}.tar") + bytes(512), None)
    corpus.store("raw").replace(f"{same}.tar", corpus.store("raw").read(f"{same}.tar"), None)
    corpus("repair")
    drifted = {
        line["unit"] for line in map(dict, _lines(corpus, "repair/refused.jsonl")) if line["reason"] == "drifted"
    }
    assert drifted == {changed}


def _lines(corpus: InBucket, name: str) -> list[dict[str, Any]]:
    import json

    return [json.loads(line) for line in corpus.store().read(f"runs/r/{name}").decode().splitlines()]


def test_a_second_baseline_asks_only_for_what_changed(
    demo_folder: Path, moto: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto.credentials(monkeypatch)
    corpus = upload(demo_folder, moto, StoreOptions(moto.endpoint, "us-east-1"))
    assert corpus("baseline", run_id="first") == 0
    changed = next(iter(corpus.store("raw").list()))
    corpus.store("raw").replace(changed.key, corpus.store("raw").read(changed.key) + bytes(512), None)
    asked: list[str] = []
    real = Bucket.call

    def call(self: Bucket, operation: str, **parameters: Any) -> Any:
        asked.append(str(parameters.get("Key", "")))
        return real(self, operation, **parameters)

    monkeypatch.setattr(Bucket, "call", call)
    assert corpus("baseline", run_id="second") == 0
    tars = [key for key in asked if key.endswith(".tar") and "/raw/" in key]
    assert [key for key in tars if key.endswith(f"/{changed.key}")]
    unreadable = [row for row in corpus.table("baseline/videos.parquet", "second") if row["raw_tar"] == "unreadable"]
    assert len(set(tars)) <= 1 + len(unreadable) + 1


def test_finalize_replaces_tars_in_the_bucket_and_undo_restores_them(
    demo_folder: Path, minio: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    minio.credentials(monkeypatch)
    folder = tmp_path / "demo"
    shutil.copytree(demo_folder, folder)
    corpus = upload(folder, minio, StoreOptions(minio.endpoint, "us-east-1"))
    before = corpus.digests("", ".tar", "transcribed")
    assert corpus("recover", "--yes") == 0
    assert corpus("finalize", "--apply") == 0
    after = corpus.digests("", ".tar", "transcribed")
    made = {
        key.rpartition("/")[2]: digest for key, digest in corpus.digests("runs/r/repair/transcribed/", ".tar").items()
    }
    assert made and after == {**before, **made}
    assert corpus("finalize", "--apply") == 0
    assert corpus("undo", "--apply") == 0
    assert corpus.digests("", ".tar", "transcribed") == before


def test_an_empty_root_of_raw_tars_is_told_before_anything_is_written(
    demo_folder: Path, moto: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moto.credentials(monkeypatch)
    corpus = InBucket(demo_folder, moto.bucket(), StoreOptions(moto.endpoint, "us-east-1"))
    assert main(["baseline", f"--config={demo_folder / 'resplice.toml'}", *corpus.settings, "--run-id=r"]) == 2
    assert "there is no object below" in capsys.readouterr().err
    assert list(corpus.store().list()) == []
