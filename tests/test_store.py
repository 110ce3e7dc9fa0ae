"""The one contract of every store: what is published is created once, or replaced as a whole against a token."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from proxy import REPLY_CUT, REPLY_LOST, REQUEST_LOST, SLOW_DOWN, Fault, Proxy
from servers import Server

from resplice.io import requests
from resplice.io.local import LocalStore
from resplice.io.overlay import OverlayStore
from resplice.io.requests import Bucket
from resplice.io.s3 import COST, S3Store
from resplice.io.s3probe import LEAST_PART
from resplice.io.store import Changed, Place, Store
from resplice.transforms.records import Unavailable, UserError
from resplice.transforms.settings import StoreOptions


def bucket(server: Server) -> Store:
    return S3Store(
        f"s3://{server.bucket()}/the corpus/of all", StoreOptions(endpoint_url=server.endpoint, region="us-east-1")
    )


@pytest.fixture(params=["local", "overlay", "moto", "minio", "versitygw", "overlay of minio"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    *over, name = request.param.split(" of ")
    if name in ("local", "overlay"):
        below: Store = LocalStore(str(tmp_path / "root"))
    else:
        server: Server = request.getfixturevalue(name)
        server.credentials(monkeypatch)
        below = bucket(server)
    return OverlayStore(below, str(tmp_path / "scratch")) if over or name == "overlay" else below


def keys(store: Store, prefix: str = "") -> list[str]:
    return [head.key for head in store.list(prefix)]


# The contract


@pytest.mark.parametrize("key", ["a", "a/b/c.json", "ä/ö ü%2E.tar", "a..b", "objects/sha256/00/" + "f" * 64])
def test_what_is_created_is_read_back(store: Store, key: str) -> None:
    data = bytes(range(256)) * 5000
    assert store.create(key, data)
    assert store.read(key) == data
    head = store.head(key)
    assert head is not None
    assert (head.key, head.size) == (key, len(data))


def test_an_object_may_be_empty(store: Store) -> None:
    assert store.create("a", b"")
    assert store.read("a") == b""
    head = store.head("a")
    assert head is not None and head.size == 0


def test_what_is_missing_has_no_head_and_cannot_be_read(store: Store) -> None:
    assert store.head("a/b") is None
    with pytest.raises(FileNotFoundError):
        store.read("a/b")
    with pytest.raises(FileNotFoundError):
        store.open("a/b")


def test_a_folder_in_the_place_of_an_object_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "root/a.tar").mkdir(parents=True)
    store = LocalStore(str(tmp_path / "root"))
    assert not store.create("a.tar", b"x")
    assert not store.replace("a.tar", b"x", "")
    assert (tmp_path / "root/a.tar").is_dir() and list((tmp_path / "root").iterdir()) == [tmp_path / "root/a.tar"]


def test_a_folder_is_no_object(store: Store) -> None:
    store.create("a/b", b"x")
    assert store.head("a") is None
    assert keys(store) == ["a/b"]


def test_nothing_lies_below_an_object(store: Store) -> None:
    store.create("a", b"x")
    assert store.head("a/b") is None


def test_a_key_that_is_too_long_for_a_name_is_missing(store: Store) -> None:
    assert store.head("x" * 5000) is None


def test_an_object_is_created_only_once(store: Store) -> None:
    assert store.create("a", b"first")
    assert not store.create("a", b"second")
    assert store.read("a") == b"first"


def test_an_object_may_come_from_a_local_file(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 3_000_000)
    assert store.create("a", source)
    assert store.replace("b", source, None)
    source.write_bytes(b"other")
    assert store.read("a") == store.read("b") == b"x" * 3_000_000


def test_of_many_creators_exactly_one_wins_and_nothing_is_torn(store: Store) -> None:
    barrier = threading.Barrier(8)

    def create(number: int) -> bool:
        barrier.wait()
        return store.create("a/b", bytes([number]) * 100_000)

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))
    assert won.count(True) == 1
    assert store.read("a/b") == bytes([won.index(True)]) * 100_000


def test_of_many_replacers_of_one_version_exactly_one_wins(store: Store) -> None:
    store.create("a", b"old")
    head = store.head("a")
    assert head is not None
    barrier = threading.Barrier(8)

    def swap(number: int) -> bool:
        barrier.wait()
        return store.replace("a", bytes([number]) * 1000, head.token)

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(swap, range(8)))
    assert won.count(True) == 1
    assert store.read("a") == bytes([won.index(True)]) * 1000


def test_a_write_that_fails_leaves_nothing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.create("a/b", tmp_path / "no such file")
    with pytest.raises(FileNotFoundError):
        store.replace("a/c", tmp_path / "no such file", None)
    assert keys(store) == []


def test_replace_writes_only_over_the_version_it_was_given(store: Store) -> None:
    store.create("a", b"one")
    first = store.head("a")
    assert first is not None
    assert store.replace("a", b"two", first.token)
    assert not store.replace("a", b"three", first.token)
    assert store.read("a") == b"two"


def test_replace_without_a_version_writes_whatever_is_there(store: Store) -> None:
    assert store.replace("a", b"one", None)
    assert store.replace("a", b"two", None)
    assert store.read("a") == b"two"


def test_replace_against_no_version_writes_only_if_there_is_none(store: Store) -> None:
    assert store.replace("a", b"one", "")
    assert not store.replace("a", b"two", "")
    assert store.read("a") == b"one"


def test_replace_against_a_version_does_not_bring_back_what_is_gone(store: Store) -> None:
    store.create("a", b"one")
    head = store.head("a")
    assert head is not None
    store.delete("a")
    assert not store.replace("a", b"two", head.token)
    assert store.head("a") is None


def test_another_content_has_another_token_and_the_same_object_the_same(store: Store) -> None:
    tokens = []
    for data in (b"aa", b"bb", b"c"):
        store.replace("a", data, None)
        head = store.head("a")
        assert head is not None
        assert store.head("a") == head
        tokens.append(head.token)
    assert len(set(tokens)) == len(tokens)
    store.create("b", b"x")
    head = store.head("a")
    assert head is not None and head.token == tokens[-1]


def test_an_open_object_is_read_at_offsets_and_is_short_only_at_its_end(store: Store) -> None:
    store.create("a", b"0123456789")
    with closing(store.open("a")) as blob:
        head = store.head("a")
        assert head is not None
        assert (blob.size, blob.token) == (10, head.token)
        assert [blob.read_at(*at) for at in ((0, 3), (3, 3), (8, 5), (10, 5), (99, 1), (0, 0))] == [
            b"012", b"345", b"89", b"", b"", b"",
        ]  # fmt: skip


def test_an_open_object_is_pinned_to_its_version(store: Store) -> None:
    store.create("a", b"old old")
    with closing(store.open("a")) as blob:
        store.replace("a", b"new new", None)
        with contextlib.suppress(OSError):  # a store may say that the version is gone, but never mix two
            assert blob.read_at(0, 7) == b"old old"
    assert store.read("a") == b"new new"


def test_a_list_is_sorted_by_key_and_has_what_head_says(store: Store) -> None:
    written = ["b", "a/z", "a/b/c", "a.b", "a0", "ä", "a/b.d", "Z"]
    for key in written:
        store.create(key, key.encode())
    assert keys(store) == sorted(written)
    assert [store.head(key) for key in sorted(written)] == list(store.list())


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("runs/a/", ["runs/a/x", "runs/a/y/z"]),
        ("runs/a", ["runs/a/x", "runs/a/y/z", "runs/ab/x"]),
        ("runs/a/y", ["runs/a/y/z"]),
        ("r", ["runs/a/x", "runs/a/y/z", "runs/ab/x"]),
        ("runs/a/x", ["runs/a/x"]),
        ("runs/a/x/", []),
        ("none/", []),
        ("", ["other", "runs/a/x", "runs/a/y/z", "runs/ab/x"]),
    ],
)
def test_a_prefix_is_the_beginning_of_a_key_not_a_folder(store: Store, prefix: str, expected: list[str]) -> None:
    for key in ("runs/ab/x", "runs/a/y/z", "runs/a/x", "other"):
        store.create(key, b"")
    assert keys(store, prefix) == expected


def test_folders_are_those_directly_below_one(store: Store) -> None:
    for key in ("runs/b/x", "runs/a/y/z", "runs/file", "other/c/x"):
        store.create(key, b"")
    assert [name.rstrip("/") for name in store.folders("runs")] == ["a", "b"]
    assert list(store.folders("none")) == []


def test_a_copy_has_the_content_and_stays_when_its_source_changes(store: Store) -> None:
    store.create("a", b"content")
    store.copy("a", "b/c")
    store.replace("a", b"other", None)
    assert store.read("b/c") == b"content"
    store.delete("a")
    assert store.read("b/c") == b"content"


def test_a_copy_never_overwrites(store: Store) -> None:
    store.create("a", b"content")
    store.create("b", b"first")
    store.copy("a", "b")
    assert store.read("b") == b"first"


def test_what_is_missing_cannot_be_copied(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        store.copy("a", "b")
    assert store.head("b") is None


def test_what_is_deleted_is_gone_and_may_be_created_again(store: Store) -> None:
    store.create("a/b", b"first")
    store.delete("a/b")
    assert store.head("a/b") is None
    assert keys(store) == []
    with pytest.raises(FileNotFoundError):
        store.read("a/b")
    assert store.create("a/b", b"second")
    assert store.read("a/b") == b"second"
    assert keys(store) == ["a/b"]


def test_deleting_what_is_missing_does_nothing(store: Store) -> None:
    store.delete("a/b")
    assert keys(store) == []


# The local folder


def test_a_local_write_leaves_no_temporary_file(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    store.create("a/b", b"x")
    store.create("a/b", b"y")
    store.replace("a/b", b"z", None)
    store.replace("a/b", b"z", "another version")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b"]


def test_a_temporary_file_of_a_killed_writer_is_not_listed(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    store.create("a/b", b"x")
    (tmp_path / "a" / ".resplice-tmp-abc").write_bytes(b"half")
    assert keys(store) == ["a/b"]


def test_a_local_token_sees_a_rewrite_in_place_of_the_same_size_and_time(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    store.create("a", b"one")
    before = store.head("a")
    stat = (tmp_path / "a").stat()
    (tmp_path / "a").write_bytes(b"two")
    os.utime(tmp_path / "a", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert store.head("a") != before


def test_local_files_have_the_rights_that_the_umask_leaves(tmp_path: Path) -> None:
    LocalStore(str(tmp_path)).create("a", b"x")
    (tmp_path / "plain").write_bytes(b"x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


# The dry run's view


@pytest.fixture
def below(tmp_path: Path) -> LocalStore:
    store = LocalStore(str(tmp_path / "below"))
    for key in ("a", "b/c", "d"):
        store.create(key, key.encode())
    return store


@pytest.fixture
def overlay(below: LocalStore, tmp_path: Path) -> OverlayStore:
    return OverlayStore(below, str(tmp_path / "above"))


def test_a_dry_run_sees_what_is_there_and_what_it_would_have_written(overlay: OverlayStore) -> None:
    overlay.create("b/new", b"new")
    overlay.replace("d", b"other", None)
    assert {head.key: overlay.read(head.key) for head in overlay.list()} == {
        "a": b"a", "b/c": b"b/c", "b/new": b"new", "d": b"other",
    }  # fmt: skip
    assert not overlay.create("a", b"again")


def test_a_dry_run_writes_nothing_below(overlay: OverlayStore, below: LocalStore) -> None:
    before = [(head, below.read(head.key)) for head in below.list()]
    head = overlay.head("a")
    assert head is not None
    overlay.create("new", b"x")
    assert overlay.replace("a", b"x", head.token)
    overlay.replace("b/c", b"x", None)
    overlay.copy("d", "e")
    overlay.delete("d")
    assert [(head, below.read(head.key)) for head in below.list()] == before


def test_a_dry_run_hides_what_it_would_have_deleted(overlay: OverlayStore) -> None:
    overlay.delete("a")
    assert overlay.head("a") is None
    assert keys(overlay) == ["b/c", "d"]
    with pytest.raises(FileNotFoundError):
        overlay.read("a")
    assert overlay.create("a", b"again")
    assert overlay.read("a") == b"again"


def test_a_dry_run_compares_with_the_version_below(overlay: OverlayStore, below: LocalStore) -> None:
    head = below.head("a")
    assert head is not None
    assert not overlay.replace("a", b"x", "another version")
    assert overlay.replace("a", b"x", head.token)
    assert not overlay.replace("a", b"y", head.token)


def test_a_dry_run_can_copy_from_below(overlay: OverlayStore) -> None:
    overlay.copy("b/c", "objects/1")
    assert overlay.read("objects/1") == b"b/c"


# Roots


def test_a_root_opens_its_folder_once_and_a_dry_run_over_it(tmp_path: Path) -> None:
    root = Place(str(tmp_path / "w"))
    assert root.store is Place(str(tmp_path / "w")).store
    root.store.create("a", b"x")
    dry = Place(str(tmp_path / "w"), str(tmp_path / "s"))
    dry.store.replace("a", b"y", None)
    assert (root.store.read("a"), dry.store.read("a")) == (b"x", b"y")
    assert root.path("a/b") == f"{tmp_path}/w/a/b"


def test_a_root_of_an_unknown_scheme_is_the_users_error() -> None:
    with pytest.raises(UserError, match="gopher://"):
        _ = Place("gopher://bucket/prefix").store


# Buckets, and what goes wrong on the way to them


@pytest.fixture
def options(minio: Server, monkeypatch: pytest.MonkeyPatch) -> StoreOptions:
    minio.credentials(monkeypatch)
    for name in ("FIRST_WAIT_S", "LONGEST_WAIT_S", "JITTER_S"):
        monkeypatch.setattr(requests, name, 0.001)
    return StoreOptions(minio.endpoint, "us-east-1")


@pytest.fixture
def behind(
    minio: Server, proxied: Callable[[Server], Proxy], options: StoreOptions
) -> tuple[Proxy, Callable[[], S3Store]]:
    """The proxy before MinIO, and a maker of stores in fresh buckets behind it that write parts of 5 MiB."""
    proxy = proxied(minio)
    there = replace(options, endpoint_url=proxy.endpoint)
    return proxy, lambda: S3Store(f"s3://{minio.bucket()}/x", there, part=LEAST_PART)


LARGE = 2 * COST + 12_345
IN_PARTS = 2 * LEAST_PART + 12_345


def test_a_large_object_that_changes_while_it_is_read_is_never_mixed(minio: Server, options: StoreOptions) -> None:
    store = S3Store(f"s3://{minio.bucket()}/x", options)
    store.create("a", b"A" * LARGE)
    for head in (None, store.head("a")):
        with closing(store.open("a", head)) as blob:
            assert blob.read_at(0, 10) == b"A" * 10
            store.replace("a", b"B" * LARGE, None)
            with pytest.raises(Changed):
                blob.read_at(LARGE - 10, 10)
                blob.read_at(10, 10)  # behind what was read already: a request of its own
        store.replace("a", b"A" * LARGE, None)


def test_objects_in_parts_keep_to_their_conditions_and_digests(minio: Server, options: StoreOptions) -> None:
    store = S3Store(f"s3://{minio.bucket()}/x", options, part=LEAST_PART)
    first, second = (bytes([fill]) * IN_PARTS for fill in (1, 2))
    assert store.create("a", first) and not store.create("a", second)
    head = store.head("a")
    assert head is not None and head.size == IN_PARTS and head.token.endswith("-3")
    assert not store.replace("a", second, "0" * 32)
    assert store.replace("a", second, head.token) and not store.replace("a", first, head.token)
    assert store.read("a") == second
    with closing(store.open("a")) as blob:
        assert blob.read_at(IN_PARTS - 5, 99) == second[:5]
    assert not minio.client.list_multipart_uploads(Bucket=store.bucket.name).get("Uploads")


@pytest.mark.parametrize("fault", [REQUEST_LOST, REPLY_LOST, REPLY_CUT, SLOW_DOWN, Fault("after", "error", 500)])
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_a_request_or_an_answer_that_is_lost_changes_nothing_of_what_is_done(
    fault: Fault, number: int, behind: tuple[Proxy, Callable[[], S3Store]]
) -> None:
    proxy, new = behind
    store = new()
    proxy.reset(faults={number: fault})
    small, large = b"small", bytes(range(256)) * (IN_PARTS // 256)
    assert store.create("a", small)
    assert store.create("b", large)
    head = store.head("a")
    assert head is not None and store.replace("a", small * 2, head.token)
    assert not store.create("a", b"another") and not store.replace("a", b"another", head.token)
    assert store.read("a") == small * 2
    with closing(store.open("b")) as blob:
        assert blob.read_at(0, 100) + blob.read_at(100, len(large)) == large
    assert [found.key for found in store.list()] == ["a", "b"]
    assert any(request.fault for request in proxy.log())


def test_an_upload_that_somebody_aborts_is_neither_done_nor_a_conflict(
    minio: Server, options: StoreOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = S3Store(f"s3://{minio.bucket()}/x", options, part=LEAST_PART)
    real = Bucket.call

    def call(self: Bucket, operation: str, **parameters: Any) -> Any:
        if parameters.get("PartNumber") == 2:
            upload = {"Bucket": self.name, "Key": parameters["Key"], "UploadId": parameters["UploadId"]}
            minio.client.abort_multipart_upload(**upload)
        return real(self, operation, **parameters)

    monkeypatch.setattr(Bucket, "call", call)
    for write in (lambda: store.create("a", bytes(IN_PARTS)), lambda: store.replace("a", bytes(IN_PARTS), None)):
        with pytest.raises(Unavailable, match="its upload is gone"):
            write()
    assert store.head("a") is None


def test_a_body_that_is_not_what_its_checksum_says_is_asked_for_again(
    minio: Server, options: StoreOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = S3Store(f"s3://{minio.bucket()}/x", options)
    store.create("a", b"0123456789")
    real, damaged = Bucket.call, []

    def call(self: Bucket, operation: str, **parameters: Any) -> Any:
        answer = real(self, operation, **parameters)
        if operation == "get_object" and not damaged:
            damaged.append(operation)
            answer["Body"]._raw_stream._fp.fp.read(1)  # a byte is lost on its way
        return answer

    monkeypatch.setattr(Bucket, "call", call)
    with closing(store.open("a")) as blob:
        assert blob.read_at(0, 10) == b"0123456789"
    assert damaged
