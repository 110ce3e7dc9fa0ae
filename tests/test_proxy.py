"""The proxy before an S3 server breaks exactly what a test says, and keeps R2's rules."""

import io
import socket
import subprocess
import sys
from collections.abc import Callable
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from processes import PATIENCE
from proxy import R2, REPLY_CUT, REPLY_LOST, REQUEST_LOST, SLOW_DOWN, Chance, Fault, Proxy, Rules
from servers import Server, running

PART = 5 * 2**20
MANY = 200
PUT_ONE = """
import sys, boto3
from botocore.config import Config
endpoint, key, secret, bucket = sys.argv[1:]
boto3.client(
    "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret,
    config=Config(proxies={}, s3={"addressing_style": "path"}),
).put_object(Bucket=bucket, Key="k", Body=b"1")
"""


class Place:
    """A bucket behind the proxy: what a client sees through it, and what the server holds."""

    def __init__(self, server: Server, proxy: Proxy) -> None:
        self.server, self.proxy = server, proxy
        self.bucket = server.bucket()
        self.client = server.connect(proxy.endpoint)

    def put(self, key: str = "k", body: bytes = b"1", **options: Any) -> Any:
        return self.client.put_object(Bucket=self.bucket, Key=key, Body=body, **options)

    def get(self, key: str = "k") -> bytes:
        return bytes(self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def keys(self) -> list[str]:
        """Return the keys that the server holds, asked without the proxy."""
        listing = self.server.client.list_objects_v2(Bucket=self.bucket)
        return [each["Key"] for each in listing.get("Contents", [])]

    def uploaded(self, *sizes: int) -> str:
        """Upload parts of some sizes; return the outcome of the completion: `done`, or the code of the refusal."""
        name = {"Bucket": self.bucket, "Key": "k"}
        upload = {**name, "UploadId": self.client.create_multipart_upload(**name)["UploadId"]}
        parts = [
            {"PartNumber": n, "ETag": self.client.upload_part(**upload, PartNumber=n, Body=b"1" * size)["ETag"]}
            for n, size in enumerate(sizes, 1)
        ]
        return outcome(self.client.complete_multipart_upload, **upload, MultipartUpload={"Parts": parts})


@pytest.fixture(params=["moto", "minio", pytest.param("versitygw", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, proxied: Callable[[Server], Proxy]) -> Place:
    server = request.getfixturevalue(request.param)
    return Place(server, proxied(server))


def outcome(call: Callable[..., Any], *args: Any, **options: Any) -> str:
    """Return what a client sees of a call: `done`, the code of an error reply, or the name of a broken connection."""
    try:
        call(*args, **options)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    except (ConnectionClosedError, ReadTimeoutError) as error:
        return type(error).__name__
    return "done"


def test_without_faults_everything_goes_through_untouched(place: Place) -> None:
    place.put("a b/ü+%~", b"12", Metadata={"who": "me"})
    assert place.get("a b/ü+%~") == b"12"
    assert place.client.head_object(Bucket=place.bucket, Key="a b/ü+%~")["Metadata"] == {"who": "me"}
    assert outcome(place.client.head_object, Bucket=place.bucket, Key="none") == "404"
    big = bytes(range(256)) * 4 * 20_000
    place.client.upload_fileobj(io.BytesIO(big), place.bucket, "big")
    assert place.get("big") == big
    place.client.delete_object(Bucket=place.bucket, Key="big")
    assert place.keys() == ["a b/ü+%~"]


def test_the_log_tells_each_request_in_order(place: Place) -> None:
    place.put(body=b"123")
    outcome(place.client.head_object, Bucket=place.bucket, Key="none")
    place.client.list_objects_v2(Bucket=place.bucket, Prefix="k")
    put, head, listing = place.proxy.log()
    assert (put.number, put.method, put.path, put.size) == (1, "PUT", f"/{place.bucket}/k", 3)
    assert (put.server, put.status, put.fault) == (200, 200, None)
    assert (head.number, head.method, head.server, head.status) == (2, "HEAD", 404, 404)
    assert (listing.path, listing.status) == (f"/{place.bucket}", 200)
    assert "prefix=k" in listing.query
    place.proxy.reset()
    assert place.proxy.log() == []


@pytest.mark.parametrize(
    ("fault", "seen", "server", "status"),
    [
        (REQUEST_LOST, "ConnectionClosedError", None, None),
        (REPLY_LOST, "ConnectionClosedError", 200, None),
        (REPLY_CUT, "ConnectionClosedError", 200, None),  # the reply to a put has no body to cut
        (SLOW_DOWN, "SlowDown", None, 503),
        (Fault("before", "error", 500), "InternalError", None, 500),
        (Fault("after", "error", 500), "InternalError", 200, 500),
        (Fault("after", "error", 503), "SlowDown", 200, 503),
        (Fault("before", "wait", seconds=0.01), "done", 200, 200),
        (Fault("after", "wait", seconds=0.01), "done", 200, 200),
    ],
    ids=lambda value: f"{value.when}-{value.what}-{value.status}" if isinstance(value, Fault) else "",
)
def test_a_fault_meets_the_request_of_its_number_only(
    place: Place, fault: Fault, seen: str, server: int | None, status: int | None
) -> None:
    place.proxy.reset(faults={2: fault})
    assert [outcome(place.put, key) for key in ("first", "second", "third")] == ["done", seen, "done"]
    assert place.keys() == (["first", "second", "third"] if server else ["first", "third"])
    second = place.proxy.log()[1]
    assert (second.fault, second.server, second.status) == (fault, server, status)


def test_a_cut_reply_has_half_of_its_body(place: Place) -> None:
    place.put(body=b"0123456789")
    place.proxy.reset(faults={1: REPLY_CUT})
    body = place.client.get_object(Bucket=place.bucket, Key="k")["Body"]
    assert body.read(5) == b"01234"
    with pytest.raises((IncompleteReadError, ResponseStreamingError)):
        body.read()
    assert place.get() == b"0123456789"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_client_gives_up_what_is_held_longer_than_it_waits(place: Place, when: Any) -> None:
    hasty = place.server.connect(place.proxy.endpoint, Config(read_timeout=0.2))
    place.proxy.reset(faults={1: Fault(when, "wait")})
    assert outcome(hasty.put_object, Bucket=place.bucket, Key="k", Body=b"1") == "ReadTimeoutError"


@pytest.mark.parametrize(
    ("when", "forward", "keys"), [("before", False, []), ("before", True, ["k"]), ("after", False, ["k"])]
)
def test_a_client_can_be_killed_before_and_after_the_server_has_its_request(
    place: Place, when: Any, forward: bool, keys: list[str]
) -> None:
    place.proxy.reset(faults={1: Fault(when, "wait")})
    about = [place.proxy.endpoint, place.server.access_key, place.server.secret_key, place.bucket]
    process = subprocess.Popen([sys.executable, "-c", PUT_ONE, *about])
    held = place.proxy.held()
    assert held and (held.method, held.path) == ("PUT", f"/{place.bucket}/k")
    process.kill()
    process.wait()
    place.proxy.release(forward)
    place.proxy.reset()
    assert place.keys() == keys


def test_nothing_is_held_where_nothing_waits(place: Place) -> None:
    place.put()
    assert place.proxy.held(seconds=0) is None


def test_a_retry_after_a_lost_reply_takes_its_own_object_for_anothers(place: Place) -> None:
    stubborn = place.server.connect(place.proxy.endpoint, Config(retries={"total_max_attempts": 2}))
    place.proxy.reset(faults={1: REPLY_LOST})
    create = {"Bucket": place.bucket, "Key": "k", "Body": b"mine", "IfNoneMatch": "*"}
    assert outcome(stubborn.put_object, **create) == "PreconditionFailed"
    assert place.get() == b"mine"
    assert [(each.server, each.status) for each in place.proxy.log()] == [(200, None), (412, 412), (200, 200)]


def test_faults_by_chance_are_those_of_their_seed(moto: Server, proxied: Callable[[Server], Proxy]) -> None:
    place = Place(moto, proxied(moto))

    def met(seed: int) -> list[str | None]:
        place.proxy.reset(chance=Chance(0.2, (REQUEST_LOST, SLOW_DOWN), seed))
        for _ in range(MANY):
            outcome(place.client.head_object, Bucket=place.bucket, Key="k")
        return [each.fault and each.fault.what for each in place.proxy.log()]

    first = met(1)
    assert (first, len(first)) == (met(1), MANY)
    assert first != met(2)
    assert 0 < first.count("lose") + first.count("error") < MANY / 2 and {"lose", "error"} < set(first)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((1,), "done"),
        ((PART, 1), "done"),
        ((PART, PART, PART), "done"),
        ((PART, PART + 1, 1), "InvalidPart"),
        ((PART, PART + 1), "InvalidPart"),
    ],
)
def test_the_parts_of_an_upload_are_equal_but_for_a_smaller_last(
    place: Place, sizes: tuple[int, ...], said: str
) -> None:
    place.proxy.reset(rules=Rules(equal_parts=True))
    assert place.uploaded(*sizes) == said
    assert place.keys() == (["k"] if said == "done" else [])
    place.proxy.reset()
    assert place.uploaded(*sizes) == "done"


def test_a_key_is_written_once_in_an_interval(place: Place) -> None:
    place.proxy.reset(rules=Rules(write_interval=1000))
    assert [outcome(place.put, key) for key in ("k", "other", "k")] == ["done", "done", "TooManyRequests"]
    assert place.uploaded(1) == "TooManyRequests"
    assert place.get() == b"1"
    assert place.proxy.log()[2].status == 429
    place.proxy.advance(1000)
    assert place.uploaded(2) == "done"
    assert outcome(place.put) == "TooManyRequests"
    assert place.get() == b"11"


def test_a_delete_has_no_condition_where_the_store_knows_none(place: Place) -> None:
    etag = place.put()["ETag"]
    place.proxy.reset(rules=R2)
    delete = {"Bucket": place.bucket, "Key": "k"}
    assert outcome(place.client.delete_object, **delete, IfMatch=etag) == "NotImplemented"
    assert place.keys() == ["k"]
    assert outcome(place.client.delete_object, **delete) == "done"
    assert place.keys() == []


def test_a_server_that_is_down_is_a_lost_request(tmp_path: Path) -> None:
    with running("moto", tmp_path) as server, Proxy(server.endpoint) as proxy:
        place = Place(server, proxy)
        server.kill()
        assert outcome(place.put) == "ConnectionClosedError"
        server.start()
        assert outcome(place.client.create_bucket, Bucket=place.bucket) == "done"
        assert [each.server for each in proxy.log()] == [None, 200]


def test_a_request_is_sent_once_also_where_the_server_breaks_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with Proxy(f"http://127.0.0.1:{listener.getsockname()[1]}") as proxy:
            client = HTTPConnection("127.0.0.1", int(proxy.endpoint.rpartition(":")[2]), timeout=PATIENCE)
            client.request("DELETE", "/bucket/key")
            first = listener.accept()[0]
            first.recv(1000)
            first.close()
            with pytest.raises(RemoteDisconnected):
                client.getresponse()
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
