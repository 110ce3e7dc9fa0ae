"""The command `resplice`: reads the flags, resolves the configuration, runs the job, ends with its exit code."""

from __future__ import annotations

import atexit
import errno
import gc
import importlib
import os
import re
import select
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from resplice.pipelines import cli
from resplice.pipelines.args import COMMANDS, Config, Demo, Doctor
from resplice.pipelines.config import EXAMPLE, Resolved, resolve
from resplice.pipelines.documents_args import IndexArgs
from resplice.pipelines.failures import last_line
from resplice.pipelines.flags import Base, Common, NamedArgs, fallbacks, named, overrides
from resplice.transforms.records import Damage, Exit, Terminated, UserError

_RESOURCES = {errno.ENOSPC: "disk space", errno.EDQUOT: "disk quota", errno.ENOMEM: "memory"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors are one or two lines on stderr."""
    tokens = list(sys.argv[1:] if argv is None else argv)
    # Arrow's own pool keeps what a large shard once took; read when pyarrow is first imported.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    name = cli.command_name(tokens)
    try:
        with _sigterm_raises():
            code = _dispatch(name, tokens)
            sys.stdout.flush()
            return code
    except BaseException as error:
        if "--debug" in tokens and not isinstance(error, SystemExit):
            traceback.print_exc()
        return _ended(f"resplice {name}".strip(), error)


def _dispatch(name: str, tokens: list[str]) -> int:
    if not name or not {"--help", "-h", "--version"}.isdisjoint(tokens):
        cli.show(tokens)
        return Exit.DONE
    command = COMMANDS[name]
    if not command.beam and (strange := cli.unknown_flags(tokens, command.args)):
        from resplice.pipelines import options  # Beam, for its names: only on the way to an error

        options.refuse(strange[0], cli.own_flags(command.args), name)
    args, rest = cli.parse(name, tokens)
    if isinstance(args, Config) and args.example:
        sys.stdout.write(EXAMPLE)
        return Exit.DONE
    if rest and not command.beam:
        raise UserError(f"unexpected argument {rest[0]}")
    if isinstance(args, Demo):
        return _demo(args)
    if isinstance(args, Doctor):
        return int(importlib.import_module("resplice.pipelines.doctor").run(args, rest))
    if isinstance(args, IndexArgs):
        return int(importlib.import_module(f"resplice.pipelines.{command.module}").run(args))
    assert isinstance(args, Common)
    return _run(name, args, rest)


def _run(name: str, args: Common, rest: list[str]) -> int:
    command, args = COMMANDS[name], named(name, args)
    resolved = resolve(args.config, args.set, os.environ, overrides(args), fallbacks(args))
    argv: list[str] = []
    if command.beam:
        with _starting(name, quiet=args.quiet):
            argv = _beam_argv(command.args, rest, resolved)
        if isinstance(args, NamedArgs) and args.run_id and not args.quiet:
            print(f"{name}: run {args.run_id} in {resolved.settings.corpus.workspace}", file=sys.stderr, flush=True)
    job = importlib.import_module(f"resplice.pipelines.{command.module}")
    return int(job.run(args, resolved, argv))


@contextmanager
def _starting(name: str, quiet: bool) -> Iterator[None]:
    """Show on a terminal that something goes on while Beam loads, which may take seconds; nothing of it stays."""
    shown = sys.stderr.isatty() and not quiet
    if shown:
        print(f"{name}: starting ...", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _beam_argv(args: type[Base], rest: list[str], resolved: Resolved) -> list[str]:
    from resplice.pipelines import options

    settings = resolved.settings
    return options.beam_argv(rest, dict(settings.beam), settings.run.workers, cli.own_flags(args))


def _demo(args: Demo) -> int:
    if args.dry_run:
        print(f"would write a demo corpus and its resplice.toml to {args.dir}")
        return Exit.DONE
    from resplice.pipelines import progress

    demo = importlib.import_module("resplice.pipelines.demo")
    given = {name: value for name in ("dir", "size", "seed") if (value := getattr(args, name)) is not None}
    args_ = demo.Args(**given)
    told = progress.Told()
    with progress.shown("demo", "video", demo.size_of(args_), told.counts, args.quiet):
        summary = dict(demo.write(args_, told))
    note = summary.pop("note", "")
    print(f"{args.dir}: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in summary.items()))
    if note:
        print(note)
    print(f"next: {cli.program()} recover --config {os.path.join(args.dir, 'resplice.toml')} --run-id demo --yes")  # noqa: PTH118
    return Exit.DONE


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Turn SIGTERM into Terminated while a command runs; only the main thread may set handlers."""

    def handler(signum: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _ended(prefix: str, error: BaseException) -> int:
    """Say on stderr how the command ended, and return its exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else Exit.FAILED
    if isinstance(error, BrokenPipeError) and _stdout_is_closed():
        return Exit.AGAIN
    code, text = _verdict(error)
    print(f"{prefix}: {text}", file=sys.stderr)
    return code


def _verdict(error: BaseException) -> tuple[int, str]:
    if isinstance(error, UserError):
        return error.exit_code, error.message
    if isinstance(error, KeyboardInterrupt):
        return Exit.INTERRUPTED, "interrupted; the same command goes on"
    if isinstance(error, Terminated):
        return Exit.AGAIN, "terminated; run the same command again"
    if resource := _exhausted(error):
        text = last_line(error)
        if resource != "memory" and not text.endswith("'"):  # what was written has no name
            text += f" (temporary files are in {tempfile.tempdir})" if tempfile.tempdir else ""
        return Exit.AGAIN, f"out of {resource}: {text}; free some, then run the same command again"
    if isinstance(error, PermissionError):
        return Exit.USAGE, f"no permission: {error.filename or error}; give the right, or name another place"
    if isinstance(error, Damage):
        return Exit.FAILED, f"a file is damaged: {error}; restore it, or run the command again that made it"
    name = type(error).__name__
    return Exit.FAILED, f"failed: {name}: {last_line(error)} (run again with --debug for the traceback)"


def _exhausted(error: BaseException) -> str | None:
    """Return the resource that ran out, also where Beam kept only the text of its workers' traceback."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, MemoryError):
            return "memory"
        if isinstance(link, OSError) and link.errno in _RESOURCES:
            return _RESOURCES[link.errno]
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    last = last_line(error)
    number = re.match(r"OSError: \[Errno (\d+)\]", last)
    if last.startswith("MemoryError"):
        return "memory"
    return _RESOURCES.get(int(number[1])) if number else None


def _stdout_is_closed() -> bool:
    """Return whether nobody reads our output; then the interpreter's last flush must not complain either."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    closed = any(event & select.POLLERR for _, event in poll.poll(0))
    if closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    return closed


def program() -> NoReturn:
    """Run the command of the shell, and end with its exit code, whatever threads of libraries do meanwhile: one that
    meets an interpreter which is being torn down may abort the process.
    """
    gc.set_threshold(100_000, 50, 100)  # records by the hundred thousand are no cycles: 15 % of `embed --resume`
    code = main()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    program()
