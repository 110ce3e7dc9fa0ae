"""Objects in a bucket: S3, R2 and what else speaks their protocol.

Writes are whole: one request, or equal parts that are completed by one. A conditional write that was tried more than
once may meet its own former try: what is there then is read back and compared, so that a lost answer is a success.
"""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from resplice.io.ahead import Held, ReadAhead
from resplice.io.requests import CONNECTIONS, FAILURES, TRIES, BadRange, Bucket, Missing, Refused
from resplice.io.store import Changed, Head
from resplice.transforms.records import Exit, Unavailable, UserError
from resplice.transforms.settings import StoreOptions

PART = 64 << 20
"""Bytes of each part of a large object but the last: R2 refuses parts that are not equal. There may be 10,000."""
COPY_LIMIT = 5 << 30
"""Bytes that the server copies in one request."""
COST = 1_500_000
"""Bytes that a connection carries in the time of a request: 25 ms at 60 MB/s."""
_LONGEST_KEY = 1024
_CHUNK = 1 << 20


class S3Store:
    """The objects of a bucket below a prefix; their tokens are etags."""

    connections = CONNECTIONS

    def __init__(self, url: str, options: StoreOptions, part: int = PART) -> None:
        self.url = url
        self.options = options
        self._part = part
        name, _, prefix = url.removeprefix("s3://").partition("/")
        self.bucket = Bucket(name, options)
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._checked = options.checksum == "when_supported"

    def name(self, key: str) -> str:
        """Return the name of an object in its bucket."""
        return self._prefix + key

    def list(self, prefix: str = "") -> Iterator[Head]:
        """Yield the objects whose key begins with `prefix`, sorted by key."""
        for page in self._pages(prefix):
            for entry in page.get("Contents", ()):
                yield Head(entry["Key"][len(self._prefix) :], entry["Size"], _token(entry))

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the names that follow `prefix` (it ends with /) up to the next /, sorted."""
        start = f"{prefix.rstrip('/')}/"
        for page in self._pages(start, Delimiter="/"):
            for entry in page.get("CommonPrefixes", ()):
                yield entry["Prefix"][len(self._prefix + start) : -1]

    def head(self, key: str) -> Head | None:
        """Return size and etag of an object, or None."""
        if len((self.name(key)).encode("utf-8", "replace")) > _LONGEST_KEY:
            return None
        try:
            found = self._call("head_object", key)
        except Missing:
            return None
        return Head(key, found["ContentLength"], _token(found))

    def open(self, key: str, head: Head | None = None) -> Held | ReadAhead:
        """Open an object for reading at offsets: a small one is read at once, of a larger one what is asked for.

        Every request is for the one version. The first answer tells it, unless `head` does.
        """
        body = None
        if head is None:
            first = self._call("get_object", key)
            head, body = Head(key, first["ContentLength"], _token(first)), first["Body"]
        request = functools.partial(self._answer, key, head.token)
        if head.size > COST:
            return ReadAhead(head.size, head.token, request, COST, body and request(0, head.size, body))
        return Held(head.token, request(0, head.size, body).read(head.size) if head.size else b"")

    def read(self, key: str) -> bytes:
        """Return a whole object."""
        return self._call("get_object", key, take=lambda answer: answer["Body"].read())  # type: ignore[no-any-return]

    def create(self, key: str, data: bytes | Path) -> bool:
        """Write an object only if there is none (`If-None-Match: *`)."""
        return self._put(key, data, {"IfNoneMatch": "*"})

    def replace(self, key: str, data: bytes | Path, token: str | None) -> bool:
        """Write an object only if its version is still `token` (`If-Match`)."""
        if token is None:
            return self._put(key, data, {})
        return self._put(key, data, {"IfMatch": _quoted(token)} if token else {"IfNoneMatch": "*"})

    def copy(self, source: str, key: str) -> None:
        """Create `key` with the content of `source`, on the server where it can.

        No server was seen that copies under a condition: a copy is no fence, two at once both succeed.
        """
        found = self.head(source)
        if found is None:
            raise FileNotFoundError(2, "no such object", self.bucket.where(self.name(source)))
        if self.head(key) is not None:
            return
        if found.size > COPY_LIMIT:
            from resplice.io.fetch import fetched

            with fetched(self, source) as file:
                self.create(key, file)
            return
        origin = {"Bucket": self.bucket.name, "Key": self.name(source)}
        try:
            self._call("copy_object", key, CopySource=origin, CopySourceIfMatch=_quoted(found.token))
        except Refused:
            raise Changed(f"{self.bucket.where(self.name(source))} changed while it was copied") from None

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._call("delete_object", key)

    def _call(self, operation: str, key: str, **more: Any) -> Any:
        return self.bucket.call(operation, Key=self.name(key), **more)

    def _pages(self, prefix: str, **more: Any) -> Iterator[dict[str, Any]]:
        while True:
            page = self.bucket.call("list_objects_v2", Prefix=self._prefix + prefix, **more)
            yield page
            if not page.get("IsTruncated"):
                return
            more["ContinuationToken"] = page["NextContinuationToken"]

    def _answer(self, key: str, token: str, offset: int, length: int, body: IO[bytes] | None = None) -> _Answer:
        def get(start: int) -> IO[bytes]:
            span = f"bytes={start}-{offset + length - 1}"
            where = self.bucket.where(self.name(key))
            try:
                found = self._call("get_object", key, Range=span, IfMatch=_quoted(token))
            except (Refused, Missing, BadRange):
                raise Changed(f"{where} changed while it was read") from None
            if _token(found) != token:  # a store that does not heed the condition
                raise Changed(f"{where} changed while it was read")
            if not str(found.get("ContentRange", "bytes 0-")).startswith(f"bytes {start}-"):
                raise UserError(
                    f"{where}: the store does not give the part of an object that is asked for", Exit.FAILED
                )
            return found["Body"]  # type: ignore[no-any-return]

        failed = functools.partial(self.bucket.unanswered, self.name(key), TRIES)
        return _Answer(get, offset, offset + length, failed, body)

    def _put(self, key: str, data: bytes | Path, condition: dict[str, str]) -> bool:
        try:
            with _opened(data) as body:
                if _size(data) > self._part:
                    self._put_parts(key, body, condition)
                else:
                    self._call("put_object", key, body=body, **condition)
            return True
        except (Refused, Missing) as refused:
            if refused.tries > 1 and self._holds(key, data):
                return True
            if isinstance(refused, Missing) and "IfMatch" not in condition:  # an upload that somebody has aborted
                raise Unavailable(f"{refused.filename}: its upload is gone: run the same command again") from None
            return False

    def _put_parts(self, key: str, body: IO[bytes], condition: dict[str, str]) -> None:
        """Write a large object in parts; it is there whole, or not at all."""
        sums = {"ChecksumAlgorithm": "CRC32"} if self._checked else {}
        upload = {"UploadId": self._call("create_multipart_upload", key, **sums)["UploadId"]}
        parts: list[dict[str, Any]] = []
        try:
            while data := body.read(self._part):
                number = {"PartNumber": len(parts) + 1}
                sent = self._call("upload_part", key, body=io.BytesIO(data), **upload, **number)
                parts.append({**number, **{name: sent[name] for name in ("ETag", "ChecksumCRC32") if name in sent}})
            self._call("complete_multipart_upload", key, **upload, MultipartUpload={"Parts": parts}, **condition)
        except BaseException:
            with contextlib.suppress(Exception):
                self._call("abort_multipart_upload", key, **upload)
            raise

    def _holds(self, key: str, data: bytes | Path) -> bool:
        """Return whether an object is just this."""
        found = self.head(key)
        if found is None or found.size != _size(data):
            return False
        with contextlib.closing(self.open(key, found)) as blob, _opened(data) as body:
            return all(blob.read_at(at, _CHUNK) == body.read(_CHUNK) for at in range(0, blob.size, _CHUNK))


class _Answer:
    """The bytes [at, end) of one version, read forward; where an answer breaks off, the rest is asked for again."""

    def __init__(
        self, get: Callable[[int], IO[bytes]], at: int, end: int, failed: Callable[[str], Exception],
        body: IO[bytes] | None,
    ) -> None:  # fmt: skip
        self._get, self._at, self._end, self._failed = get, at, end, failed
        self._body = body or get(at)

    def read(self, length: int) -> bytes:
        """Return the next `length` bytes; fewer only at the end."""
        pieces: list[bytes] = []
        end, fruitless = min(self._at + length, self._end), 0
        while self._at < end:
            try:
                piece = self._body.read(end - self._at)
                if self._at + len(piece) == self._end:
                    self._body.read(1)  # at its end the body is compared with its checksum, if it is a whole object
            except FAILURES:
                piece = b""
            if not piece:
                fruitless += 1
                if fruitless == TRIES:
                    raise self._failed("its answers break off")
                self._body.close()
                self._body = self._get(self._at)
                continue
            fruitless = 0
            pieces.append(piece)
            self._at += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Give up what has not been read; if nothing is left, the connection serves again."""
        self._body.close()


def _token(answer: dict[str, Any]) -> str:
    return str(answer["ETag"]).strip('"')


def _quoted(token: str) -> str:
    return f'"{token}"'


def _size(data: bytes | Path) -> int:
    return len(data) if isinstance(data, bytes) else data.stat().st_size


def _opened(data: bytes | Path) -> IO[bytes]:
    return io.BytesIO(data) if isinstance(data, bytes) else data.open("rb")
