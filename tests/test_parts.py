"""The servers that other tests rely on do what those tests take for granted."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import parts
import pytest
import servers
from botocore.exceptions import ClientError, EndpointConnectionError
from processes import uninterrupted
from servers import Server

slow = pytest.mark.slow
HONEST = ["moto", "minio", pytest.param("versitygw", marks=slow)]
EVERY = [*HONEST, pytest.param("rclone", marks=slow)]
DURABLE = ["minio", pytest.param("versitygw", marks=slow)]
KILLED = """
import os, pathlib, signal, sys
sys.path.insert(0, sys.argv[1])
import servers
with servers.running("moto", pathlib.Path(sys.argv[2])) as server:
    print(server.endpoint, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Server:
    return request.getfixturevalue(request.param)


def status(call: Any, **arguments: Any) -> int:
    try:
        return int(call(**arguments)["ResponseMetadata"]["HTTPStatusCode"])
    except ClientError as error:
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def content(server: Server, bucket: str, key: str) -> bytes:
    return bytes(server.client.get_object(Bucket=bucket, Key=key)["Body"].read())


@pytest.mark.parametrize("server", HONEST, indirect=True)
def test_a_server_returns_what_was_put_whole_and_by_range(server: Server) -> None:
    bucket = server.bucket()
    etag = server.client.put_object(Bucket=bucket, Key="a b/ü+%", Body=b"0123456789")["ETag"]
    part = server.client.get_object(Bucket=bucket, Key="a b/ü+%", Range="bytes=2-4", IfMatch=etag)
    assert (part["Body"].read(), part["ContentRange"], part["ETag"]) == (b"234", "bytes 2-4/10", etag)
    assert content(server, bucket, "a b/ü+%") == b"0123456789"


@pytest.mark.parametrize("server", EVERY, indirect=True)
def test_a_server_lists_keys_in_order_and_in_pages(server: Server) -> None:
    bucket = server.bucket()
    for number in (3, 1, 2, 0):
        server.client.put_object(Bucket=bucket, Key=f"x/{number}", Body=b"")
    server.client.put_object(Bucket=bucket, Key="y", Body=b"")
    pages = server.client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix="x/", PaginationConfig={"PageSize": 3}
    )
    assert [[each["Key"] for each in page["Contents"]] for page in pages] == [["x/0", "x/1", "x/2"], ["x/3"]]


@pytest.mark.parametrize("server", HONEST, indirect=True)
def test_an_honest_server_creates_only_and_replaces_by_comparison(server: Server) -> None:
    bucket = server.bucket()
    put = server.client.put_object
    etag = put(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    assert status(put, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*") == 412
    assert status(put, Bucket=bucket, Key="k", Body=b"3", IfMatch='"0123456789abcdef0123456789abcdef"') == 412
    assert content(server, bucket, "k") == b"1"
    assert status(put, Bucket=bucket, Key="k", Body=b"4", IfMatch=etag) == 200
    assert status(put, Bucket=bucket, Key="k", Body=b"5", IfMatch=etag) == 412
    assert content(server, bucket, "k") == b"4"


@slow
def test_rclone_ignores_every_condition(rclone: Server) -> None:
    bucket = rclone.bucket()
    put = rclone.client.put_object
    put(Bucket=bucket, Key="k", Body=b"1")
    assert status(put, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*") == 200
    assert status(put, Bucket=bucket, Key="k", Body=b"3", IfMatch='"0123456789abcdef0123456789abcdef"') == 200
    assert content(rclone, bucket, "k") == b"3"


@pytest.mark.parametrize("name", DURABLE)
def test_a_durable_server_keeps_what_it_acknowledged_when_killed(name: str, tmp_path: Path) -> None:
    with servers.running(name, tmp_path) as server:
        bucket = server.bucket()
        server.client.put_object(Bucket=bucket, Key="k", Body=b"kept")
        server.kill()
        server.start()
        assert content(server, bucket, "k") == b"kept"


@pytest.mark.parametrize("server", DURABLE, indirect=True)
def test_a_durable_server_refuses_a_wrong_digest_and_a_wrong_secret(server: Server) -> None:
    bucket = server.bucket()
    put = server.client.put_object
    assert status(put, Bucket=bucket, Key="k", Body=b"1", ContentMD5="AAAAAAAAAAAAAAAAAAAAAA==") == 400
    assert status(server.connect().list_objects_v2, Bucket=bucket) == 200
    server.secret_key, right = "wrong", server.secret_key
    try:
        assert status(server.connect().list_objects_v2, Bucket=bucket) == 403
    finally:
        server.secret_key = right
    assert status(server.client.head_object, Bucket=bucket, Key="k") == 404


def test_a_server_is_gone_when_its_block_ends(tmp_path: Path) -> None:
    with servers.running("moto", tmp_path) as server:
        bucket = server.bucket()
    with pytest.raises(EndpointConnectionError):
        server.client.head_bucket(Bucket=bucket)


def test_a_server_does_not_outlive_the_process_that_started_it(tmp_path: Path) -> None:
    program = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path)]
    endpoint = subprocess.run(program, stdout=subprocess.PIPE, text=True).stdout
    port = int(endpoint.rpartition(":")[2])
    while listens(port):
        time.sleep(0.02)


def test_a_missing_part_skips_a_test_and_fails_it_in_ci(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESPLICE_PARTS", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="minio is not in"):
        parts.demand("minio")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"minio is not in .*: \.ci/parts builds it"):
        parts.demand("minio")


def test_tools_that_are_not_there_are_told_with_what_they_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESPLICE_PARTS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(parts, "PARTS", {name: part for name, part in parts.PARTS.items() if part.tools})
    assert parts.main() == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == len(parts.TOOLS)
    assert "parts: java builds jobserver.jar and is not on PATH: install it" in told[2]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", [False, True])
def test_a_part_appears_whole_or_not_at_all(
    folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(version: str, home: Path) -> Path:
        made = home / "half"
        (made / version).mkdir(parents=True) if folder else made.write_text(version)
        if not asked:
            asked.append(made)
            raise RuntimeError("the network is away")
        return made

    asked: list[Path] = []
    monkeypatch.setenv("RESPLICE_PARTS", str(tmp_path))
    monkeypatch.setattr(parts, "PARTS", {"thing": parts.Part("v1", (), make)})
    assert parts.main() == 1
    assert capsys.readouterr().err == "parts: thing was not built: the network is away\n"
    assert not parts.path("thing").exists() and not asked[0].exists()
    assert parts.main() == 0 and parts.path("thing").exists()


def test_ctrl_c_waits_until_a_process_has_its_guard() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        signal.raise_signal(signal.SIGINT)
        steps.append("goes on")
    assert steps == ["goes on"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
