"""Requests to an object store over HTTP: one client a process, time limits, tries, and what their failures mean.

What the store does not answer, or says it is too busy for, is tried again; what it refuses is not. The last failure
becomes one error that says which bucket, why, and the remedy.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import IO, Any

import boto3
import stamina
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ResponseStreamingError,
)

from resplice.transforms.records import Exit, Unavailable, UserError
from resplice.transforms.settings import StoreOptions

CONNECTIONS = 16
CONNECT_S, READ_S = 5.0, 30.0
"""Time limits of one try, in seconds: until it is connected, and between two pieces of its answer."""
TRIES = 10
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
                   "OperationAborted", "ConditionalRequestConflict", "InternalError"})  # fmt: skip
_NO_RIGHTS = frozenset({"AccessDenied", "AllAccessDisabled", "InvalidAccessKeyId", "SignatureDoesNotMatch",
                        "ExpiredToken", "InvalidToken", "AuthorizationHeaderMalformed", "Unauthorized"})  # fmt: skip


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


class Bucket:
    """One bucket of a store; cheap to make."""

    def __init__(self, name: str, options: StoreOptions) -> None:
        self.name = name
        self._options = options

    def call(
        self, operation: str, *, take: Callable[[dict[str, Any]], Any] = lambda answer: answer,
        body: IO[bytes] | None = None, **parameters: Any,
    ) -> Any:  # fmt: skip
        """Make a request, again if need be, and return what `take` makes of its answer.

        Raises Refused, Missing, or UserError: exit 2 for what is configured wrong, 75 for a store that does not
        answer, 1 for anything else that it refuses.
        """
        tries = 0
        request = getattr(_client(self._options, os.getpid()), operation)
        if body is not None:
            parameters["Body"] = body
        try:
            for attempt in _attempts():
                with attempt:
                    tries = attempt.num
                    if body is not None:
                        body.seek(0)
                    return take(request(Bucket=self.name, **parameters))
        except (BotoCoreError, ClientError) as error:
            raise self._meaning(error, str(parameters.get("Key", "")), tries) from error

    def where(self, key: str = "") -> str:
        """Return the bucket, and the object, as errors name them."""
        endpoint = self._options.endpoint_url
        return f"s3://{self.name}" + (f"/{key}" if key else "") + (f" at {endpoint}" if endpoint else "")

    def unanswered(self, key: str, tries: int, why: object) -> Unavailable:
        """Return the error of a request that found no answer."""
        return Unavailable(
            f"{self.where(key)}: no answer in {tries} tries ({_first_line(why)}): run the same command again"
        )

    def _meaning(self, error: BotoCoreError | ClientError, key: str, tries: int) -> Exception:
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            return UserError(
                f"{self.where()}: {_first_line(error)}; give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "AWS_PROFILE, or a role"
            )
        if not isinstance(error, ClientError):
            if _again(error):
                return self.unanswered(key, tries, error)
            return UserError(f"{self.where(key)}: {_first_line(error)}; see [store]")
        status, code = _status(error), _code(error)
        if status == 412:
            return Refused(tries)
        if code == "NoSuchBucket":
            return UserError(f"{self.where()}: there is no such bucket; name one that is there")
        if status == 404:
            return Missing(self.where(key), tries)
        if status in (401, 403) or code in _NO_RIGHTS:
            return UserError(
                f"{self.where(key)}: {error.operation_name} is not allowed ({code or status}); give credentials that "
                "may read, list and, in the workspace, write and delete"
            )
        if _again(error):
            return self.unanswered(key, tries, f"{code or status} {_message(error)}".strip())
        if status == 400:
            hint = f"is store.region = {self._options.region!r} that of the bucket?"
            return UserError(f"{self.where(key)}: {error.operation_name}: {code} {_message(error)}; {hint}")
        return UserError(f"{self.where(key)}: {error.operation_name}: {code} {_message(error)}".strip(), Exit.FAILED)


@functools.lru_cache(maxsize=4)
def _client(options: StoreOptions, process: int) -> Any:
    """Return the client of a process (a forked one needs its own); boto3's chain finds the credentials."""
    endpoint = options.endpoint_url or None
    somewhere = endpoint or os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT_URL_S3")
    region = options.region
    if region == "auto" and not somewhere:  # R2's name of a region; at AWS the profile, or the environment, tells it
        region = ""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        region_name=region or None,
        config=Config(
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            retries={"total_max_attempts": 1},
            max_pool_connections=2 * CONNECTIONS,
            tcp_keepalive=True,
            s3={"addressing_style": options.addressing},
            request_checksum_calculation=options.checksum,
            response_checksum_validation=options.checksum,
        ),
    )


def _attempts() -> Any:
    stamina.instrumentation.set_on_retry_hooks(())  # a try is no news; its failure in the end is told
    return stamina.retry_context(
        on=_again, attempts=TRIES, timeout=None, wait_initial=FIRST_WAIT_S, wait_max=LONGEST_WAIT_S,
        wait_jitter=JITTER_S,
    )  # fmt: skip


def _again(error: Exception) -> bool:
    """Return whether the same request may succeed in a moment."""
    if isinstance(error, ClientError):
        status = _status(error)
        return (status >= 500 and status != 501) or status == 429 or _code(error) in _BUSY
    return isinstance(error, FAILURES)


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _message(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Message", ""))


def _first_line(text: object) -> str:
    return str(text).splitlines()[0] if str(text) else type(text).__name__
