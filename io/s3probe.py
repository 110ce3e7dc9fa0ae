"""Probes of what only large objects in a bucket rely on. They leave nothing behind."""

from __future__ import annotations

import base64
import uuid
from hashlib import md5

from botocore.exceptions import ClientError

from resplice.io.requests import Bucket, client
from resplice.io.s3 import S3Store
from resplice.io.store import Place

LEAST_PART = 5 << 20
"""Bytes of the smallest part, but for the last, that S3 allows."""


def faults(place: Place) -> list[str]:
    """Try uploads in equal parts, conditions on completing them, and digests; return what is not honoured."""
    key, store = f"probe-{uuid.uuid4().hex}", S3Store(place.url, place.options, part=LEAST_PART)
    first, second = (bytes([fill]) * (2 * LEAST_PART + 1) for fill in (1, 2))
    found: list[str] = []
    try:
        if not store.create(key, first) or store.read(key) != first:
            found.append("what was written in parts must be read back")
        if store.create(key, second) or store.replace(key, second, "0" * 32):
            found.append("an upload in parts must not be completed against its condition")
        if not _checks_digests(store.bucket, store.name(key)):
            found.append("what is not what its digest says must be refused")
    finally:
        store.delete(key)
    return found


def _checks_digests(bucket: Bucket, name: str) -> bool:
    wrong = base64.b64encode(md5(b"another", usedforsecurity=False).digest()).decode()
    try:
        client(bucket.options).put_object(Bucket=bucket.name, Key=name, Body=b"one", ContentMD5=wrong)
    except ClientError as error:
        return bool(error.response["ResponseMetadata"]["HTTPStatusCode"] == 400)
    return False
