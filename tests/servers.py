"""Real S3 servers for tests, on 127.0.0.1 and free ports, with folders of their own: started, killed, started again.

    with running("minio", tmp_path) as server:
        server.client.put_object(Bucket=server.bucket(), Key="a", Body=b"1")
        server.kill()
        server.start()  # the same port and folder

`minio` is the durable one, `versitygw` the second opinion, `moto` the quick one (nothing of it survives a kill), and
`rclone` ignores every condition: a store that must be refused.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import boto3
import parts
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from processes import PATIENCE, Group, free_port

ONCE = Config(
    signature_version="s3v4",
    s3={"addressing_style": "path"},
    retries={"total_max_attempts": 1},
    proxies={},  # nothing goes anywhere but to 127.0.0.1
)
"""Of a client that asks once, so that a test sees what the server said."""


class Server:
    """One server as a process group; `endpoint`, `access_key` and `secret_key` stay the same when it starts again."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.address = f"127.0.0.1:{free_port()}"
        self.endpoint = f"http://{self.address}"
        self.access_key, self.secret_key = "resplice-" + secrets.token_hex(4), secrets.token_hex(16)
        self._group: Group | None = None

    def start(self) -> None:
        """Start the process and wait until it answers."""
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        command, settings = self._command(data)
        with (self.folder / "log").open("ab") as log:
            environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **settings}
            self._group = Group(command, env=environment, stdout=log, stderr=log)
        self._wait(self._group.leader)

    def stop(self) -> None:
        """Ask the server to end and see that nothing of it is left; it may have ended already."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server as a power cut would end it (SIGKILL)."""
        self._end(signal.SIGKILL)

    @cached_property
    def client(self) -> Any:
        """A boto3 client that asks once."""
        return self.connect()

    def connect(self, endpoint: str | None = None, config: Config | None = None) -> Any:
        """Return a new boto3 client of this server, at an endpoint before it if there is one."""
        return _session().client(
            "s3",
            endpoint_url=endpoint or self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=ONCE.merge(config) if config else ONCE,
        )

    def credentials(self, patch: pytest.MonkeyPatch) -> None:
        """Put the server's credentials into the environment, where the product looks for them."""
        patch.setenv("AWS_ACCESS_KEY_ID", self.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", self.secret_key)

    def bucket(self) -> str:
        """Create a fresh bucket and return its name."""
        name = "test-" + secrets.token_hex(6)
        self.client.create_bucket(Bucket=name)
        return name

    def _command(self, data: Path) -> tuple[list[str], dict[str, str]]:
        """Return the command and its settings, which are in the environment lest `ps` show the secret."""
        key, secret = self.access_key, self.secret_key
        match self.name:
            case "minio":
                settings = {"MINIO_ROOT_USER": key, "MINIO_ROOT_PASSWORD": secret, "MINIO_BROWSER": "off"}
                program = [str(parts.demand("minio")), "server", "--quiet", "--address", self.address, str(data)]
                return program, {**settings, "MINIO_UPDATE": "off"}
            case "versitygw":
                options = ["--port", self.address, "--keep-alive", "--quiet", "posix", str(data)]
                settings = {"ROOT_ACCESS_KEY": key, "ROOT_SECRET_KEY": secret}
                return [str(parts.demand("versitygw")), *options], settings
            case "rclone":
                options = ["--addr", self.address, "--config", os.devnull, "--vfs-cache-mode", "off", str(data)]
                return [str(parts.demand("rclone")), "serve", "s3", *options], {"RCLONE_AUTH_KEY": f'"{key},{secret}"'}
            case "moto":
                host, port = self.address.split(":")
                return [sys.executable, "-m", "moto.server", "-H", host, "-p", port], {}
        raise ValueError(f"no server is called {self.name}")

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE
        client = self.connect(config=Config(connect_timeout=1, read_timeout=5))
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(BotoCoreError, ClientError):
                client.list_buckets()
                return
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"{self.name} does not answer:\n{(self.folder / 'log').read_text(errors='replace')[-2000:]}")

    def _end(self, number: int) -> None:
        if self._group:
            self._group.end(number)
            self._group = None


@cache
def _session() -> boto3.session.Session:
    """Return a session that all clients share: each new one would read the description of S3 again."""
    return boto3.session.Session()


@contextmanager
def running(name: str, folder: Path) -> Iterator[Server]:
    """Start the server of a name with a folder, and stop it at the end; a part that is missing skips the test."""
    with _folder_for(name, folder) as home:
        server = Server(name, home)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextmanager
def _folder_for(name: str, folder: Path) -> Iterator[Path]:
    """Return the folder, or one on another disk where this one lacks the attributes that versitygw needs."""
    if name != "versitygw" or _keeps_attributes(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(dir=parts.cache()) as other:
        if not _keeps_attributes(Path(other)):
            parts.missing(f"versitygw needs user attributes of files: neither {folder} nor {parts.cache()} has them")
        yield Path(other)


def _keeps_attributes(folder: Path) -> bool:
    try:
        os.setxattr(folder, "user.resplice", b"1")
    except OSError:
        return False
    return True
