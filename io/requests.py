"""Requests to an object store over HTTP: one client a process, time limits, tries, and what their failures mean.

What the store does not answer, or says it is too busy for, is tried again; what it refuses is not. The last failure
becomes one error that says which bucket, why, and the remedy.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from typing import IO, Any

import boto3
import stamina
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectionError,
    ConnectTimeoutError,
    EndpointConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
)

from resplice.transforms.records import Exit, Unavailable, UserError
from resplice.transforms.settings import StoreOptions

CONNECTIONS = 16
CONNECT_S, READ_S = 5.0, 20.0
"""Time limits of one try, in seconds: until it is connected, and between two pieces of its answer."""
TRIES, FIRST_TRIES = 10, 3
"""Tries of a request, and of those before the store has answered once: its settings may be wrong."""
FIRST_WAIT_S, LONGEST_WAIT_S, JITTER_S = 0.05, 5.0, 0.2
"""Waits between the tries of one request: doubled each time, about 17 s in all."""
FAILURES = (
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
    FlexibleChecksumError,
)
"""What says nothing about the request: it, or its answer, did not arrive whole."""
_BUSY = frozenset({"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequests",
                   "OperationAborted", "ConditionalRequestConflict", "InternalError", "IncompleteBody", "BadDigest",
                   "XAmzContentSHA256Mismatch"})  # fmt: skip
"""What the same request may not meet again: a store that is busy, or a body that was damaged on its way."""
_OTHER_REGION = frozenset({"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"})
_SAID = (
    (EndpointConnectionError, "it cannot be connected to"),
    (ConnectTimeoutError, "connecting takes too long"),
    (ReadTimeoutError, "its answer takes too long"),
    (ConnectionClosedError, "it closed the connection"),
)


HURRIED_S = 3.0
_CLIENTS: dict[tuple[StoreOptions, int, bool], Any] = {}
_ANSWERED: set[StoreOptions] = set()
_LOCK = threading.Lock()
_hurried = False


class Refused(Exception):
    """The condition of a request does not hold. `tries`: with more than one, an earlier one may have been done."""

    def __init__(self, tries: int) -> None:
        super().__init__(tries)
        self.tries = tries


class Missing(FileNotFoundError):
    """There is no such object (or, with a condition, no such version). `tries` as for Refused."""

    def __init__(self, where: str, tries: int) -> None:
        super().__init__(2, "no such object", where)
        self.tries = tries


class BadRange(Exception):
    """An object is shorter than what was asked for."""


class Bucket:
    """One bucket of a store; cheap to make."""

    def __init__(self, name: str, options: StoreOptions) -> None:
        self.name = name
        self.options = options

    def call(
        self, operation: str, *, take: Callable[[dict[str, Any]], Any] = lambda answer: answer,
        body: IO[bytes] | None = None, **parameters: Any,
    ) -> Any:  # fmt: skip
        """Make a request, again if need be, and return what `take` makes of its answer.

        Raises Refused, Missing, or UserError: exit 2 for what is configured wrong, 75 for a store that does not
        answer, 1 for anything else that it refuses.
        """
        tries = 0
        if body is not None:
            parameters["Body"] = body
        try:
            request = getattr(client(self.options), operation)
            for attempt in _attempts(self.options):
                with attempt:
                    tries = attempt.num
                    if body is not None:
                        body.seek(0)
                    answer = take(request(Bucket=self.name, **parameters))
                    _ANSWERED.add(self.options)
                    return answer
        except (BotoCoreError, ClientError) as error:
            if isinstance(error, ClientError):
                _ANSWERED.add(self.options)
            raise self._meaning(error, str(parameters.get("Key", "")), tries) from error

    def where(self, key: str = "") -> str:
        """Return the bucket, and the object, as errors name them."""
        endpoint = self.options.endpoint_url
        return f"s3://{self.name}" + (f"/{key}" if key else "") + (f" at {endpoint}" if endpoint else "")

    def unanswered(self, key: str, tries: int, why: object) -> Unavailable:
        """Return the error of a request that found no answer."""
        said = next((said for kind, said in _SAID if isinstance(why, kind)), " ".join(str(why).split()))
        named = "" if self.options in _ANSWERED else "see store.endpoint_url, or "
        return Unavailable(f"{self.where(key)}: no answer in {tries} tries ({said}): {named}run the same command again")

    def _meaning(self, error: BotoCoreError | ClientError, key: str, tries: int) -> Exception:
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            return UserError(
                f"{self.where()}: {error}; give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a role"
            )
        if not isinstance(error, ClientError):
            if isinstance(error, FAILURES) and not isinstance(error, SSLError):
                return self.unanswered(key, tries, error)
            return UserError(f"{self.where(key)}: {' '.join(str(error).split())}; see [store]")
        status, code = _status(error), _code(error)
        said = f"{code or status} {_message(error)}".strip()
        if status == 412:
            return Refused(tries)
        if status == 416:
            return BadRange()
        if code == "NoSuchBucket":
            return UserError(f"{self.where()}: there is no such bucket; name one that is there")
        if status == 404:
            if key:
                return Missing(self.where(key), tries)
            return UserError(f"{self.where()}: {said}: is store.endpoint_url that of an S3 store?")
        if status in (301, 307) or code in _OTHER_REGION or (status == 400 and error.operation_name == "HeadObject"):
            return UserError(f"{self.where()}: {said}; is store.region = {self.options.region!r} that of the bucket?")
        if code == "RequestTimeTooSkewed":
            return UserError(f"{self.where()}: {said}; set the clock of this machine")
        if status in (401, 403):
            return UserError(
                f"{self.where(key)}: {error.operation_name} is not allowed ({said}); give credentials that may read, "
                "list and, in the workspace, write and delete"
            )
        if _busy(error):
            return self.unanswered(key, tries, said)
        return UserError(f"{self.where(key)}: {error.operation_name}: {said}", Exit.FAILED)


def client(options: StoreOptions) -> Any:
    """Return boto3's client of a store, the one of this process (a forked one needs its own)."""
    key = options, os.getpid(), _hurried
    with _LOCK:
        if key not in _CLIENTS:
            _CLIENTS[key] = _made(options)
        return _CLIENTS[key]


def _made(options: StoreOptions) -> Any:
    """Make a client; boto3's chain finds the credentials. UserError if what it is given makes none."""
    endpoint = options.endpoint_url or None
    somewhere = endpoint or os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT_URL_S3")
    region = options.region
    if region == "auto" and not somewhere:  # R2's name of a region; at AWS the profile, or the environment, tells it
        region = ""
    try:
        return boto3.session.Session().client(
            "s3", endpoint_url=endpoint, region_name=region or None, config=_config(options)
        )
    except ValueError as error:
        raise UserError(f"store.endpoint_url = {endpoint!r}: {error}; give it as https://host") from None


def _config(options: StoreOptions) -> Config:
    limit = HURRIED_S if _hurried else math.inf
    return Config(
        connect_timeout=min(CONNECT_S, limit),
        read_timeout=min(READ_S, limit),
        retries={"total_max_attempts": 1},
        max_pool_connections=2 * CONNECTIONS,
        tcp_keepalive=True,
        s3={"addressing_style": options.addressing},
        request_checksum_calculation=options.checksum,
        response_checksum_validation=options.checksum,
    )


def hurry(on: bool) -> None:
    """Let no request wait long, or be tried again, from now on; or again."""
    global _hurried
    _hurried = on


def _attempts(options: StoreOptions) -> Any:
    tries = 1 if _hurried else TRIES if options in _ANSWERED else FIRST_TRIES
    stamina.instrumentation.set_on_retry_hooks(())  # a try is no news; its failure in the end is told
    return stamina.retry_context(
        on=_again, attempts=tries, timeout=None, wait_initial=FIRST_WAIT_S, wait_max=LONGEST_WAIT_S,
        wait_jitter=JITTER_S,
    )  # fmt: skip


def _again(error: Exception) -> bool:
    """Return whether the same request may succeed in a moment, and there is time for it."""
    if _hurried or isinstance(error, SSLError):
        return False
    return _busy(error) if isinstance(error, ClientError) else isinstance(error, FAILURES)


def _busy(error: ClientError) -> bool:
    status = _status(error)
    return (status >= 500 and status != 501) or status == 429 or _code(error) in _BUSY


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _message(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Message", ""))
