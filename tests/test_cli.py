"""The command line: flags, errors, exit codes, help."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

from resplice.pipelines import args as flags
from resplice.pipelines.__main__ import main
from resplice.pipelines.args import COMMANDS
from resplice.pipelines.config import EXAMPLE
from resplice.transforms.records import UserError

HEAVY = ("apache_beam", "pyarrow", "numpy", "sqlalchemy", "soundfile", "boto3")
Calls = list[tuple[Any, Any, list[str]]]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def job(monkeypatch: pytest.MonkeyPatch, module: str, ends: Any = 0) -> Calls:
    """Stand in for a job's module: record what it is given, then return the code or raise the error."""
    calls: Calls = []

    def run(args: Any, resolved: Any, argv: list[str]) -> int:
        calls.append((args, resolved, argv))
        if isinstance(ends, BaseException):
            raise ends
        return ends() if callable(ends) else ends

    name = f"resplice.pipelines.{module}"
    monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(run=run))  # type: ignore[arg-type]
    return calls


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("plan", r"--run-id is missing: add --run-id recovery-\d{4}-\d\d-\d\d-a$"),
        ("status", r"--run-id is missing: add --run-id recovery-"),
        ("documents", r"--run-id is missing: add --run-id backfill-\d{4}-\d\d-\d\d-a$"),
        ("documents shw x", r"unknown command documents shw; the nearest is documents show"),
        ("documents show", r"DOC_ID requires an argument"),
        ("documents find --stage drft", r'"drft" for --stage'),
        ("documents-report", r"--out is missing"),
        ("plan --run-id a/b", r"--run-id 'a/b' is no run id"),
        ("plan --run-id a..b", r"is no run id"),
        ("plan --run-id a --retry sometimes", r'"sometimes" for --retry.*"none", "failed", "all"'),
        ("plan --run-id a --reason crashed", r'"crashed" for --reason'),
        ("plan --run-id a --limit 0", r"--limit must be at least 1, got 0"),
        ("plan --run-id a --workers 0", r"run.workers must be >= 1, got 0 in --workers"),
        ("plan --run-id a --workers two", r"--workers"),
        ("plan --run-id a --run-id b", r"--run-id specified multiple times"),
        ("plan --run-id -a", r"--run-id requires an argument"),
        ("plan --run-id a --limi 3", r"unknown option --limi; the nearest is --limit"),
        ("plan --run-id a --flink_maste x", r"unknown option --flink_maste; the nearest is --flink_master"),
        ("plan --run-id a --direct_num_workers x", r"invalid int value: 'x'"),
        ("plan --run-id a --runner DaskRunner", r"DaskRunner is refused: it loses sinks silently"),
        ("plan --run-id a --s3_secret_access_key x", r"--s3_secret_access_key would put a credential into the job gr"),
        (
            "plan --run-id a --azure_connection_string A;AccountKey=x",
            r"--azure_connection_string would put a credential",
        ),
        ("plan --run-id a --labels AccountKey=x", r"would put a credential into the job graph"),
        ("plan --run-id a --set beam.runer=x", r"unknown option \[beam\] runer; the nearest is --runner"),
        ("plan --run-id a stray", r"unexpected argument stray"),
        ("status --run-id a --jsn", r"unknown option --jsn; the nearest is --json"),
        ("status --run-id a --runner x", r"--runner is an option of Beam, and status runs no pipeline"),
        ("inspect", r"VIDEO requires an argument"),
        ("inspect a b", r"unexpected argument b"),
        ("inspect --run-d x a", r"unknown option --run-d; the nearest is --run-id"),
        (
            "inspect --run-id x -dash-first",
            r"unknown option -dash-first; .* goes last, behind --: \.\.\. -- -dash-first",
        ),
        ("rollback", r"--to is missing"),
        ("export --to x --config nowhere.toml", r"--config nowhere.toml: no such file"),
        ("config --set run.worker=1", r"unknown key run.worker in --set run.worker; the nearest is run.workers"),
        ("snapshot", r"unknown command snapshot; the nearest is snapshots"),
        ("manifest verfy x", r'Unknown command "verfy"'),
    ],
)
def test_a_wrong_command_line_is_exit_2_and_one_clear_line(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(message, err.rstrip("\n"))
    assert err.startswith("resplice") and err.count("\n") == 1 and "Traceback" not in err


def test_flags_arrive_in_args_and_override_their_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = job(monkeypatch, "plan")
    line = "plan --run-id r --reason split_rows --reason tar_missing --limit 3 --workers 2 --dry-run --retry=all"
    assert main(line.split()) == 0
    [(args, resolved, _)] = calls
    assert (args.run_id, args.limit, args.dry_run, args.quiet) == ("r", 3, True, False)
    settings = resolved.settings
    assert settings.plan.reasons == ("split_rows", "tar_missing")
    assert (settings.run.workers, settings.run.retry) == (2, "all")
    assert resolved.origin["run.retry"] == "flag"


@pytest.mark.parametrize(
    ("line", "argv"),
    [
        ("", ["--runner=FnApiRunner", "--direct_num_workers=1", "--direct_running_mode=in_memory"]),
        ("--workers 2", ["--runner=FnApiRunner", "--direct_num_workers=2", "--direct_running_mode=multi_threading"]),
        (
            "--workers 2 --direct_running_mode in_memory",
            ["--runner=FnApiRunner", "--direct_running_mode", "in_memory", "--direct_num_workers=2"],
        ),
        ("--runner FlinkRunner --flink_master h:1", ["--runner", "FlinkRunner", "--flink_master", "h:1"]),
        ("--runner=PrismRunner --workers 2", ["--runner=PrismRunner"]),
        (
            "--set beam.runner=FlinkRunner --set beam.parallelism=2 --set beam.streaming=true --set beam.update=false",
            ["--parallelism=2", "--runner=FlinkRunner", "--streaming"],
        ),
        (
            '--set beam.experiments=["a","b"] --runner=FlinkRunner',
            ["--experiments=a", "--experiments=b", "--runner=FlinkRunner"],
        ),
    ],
)
def test_beam_gets_its_own_options_and_always_a_named_runner(
    line: str, argv: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = job(monkeypatch, "repair")
    assert main(["repair", "--run-id", "r", *line.split()]) == 0
    assert calls[0][2] == argv


def test_values_that_begin_with_a_dash_have_a_form(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = job(monkeypatch, "look")
    assert main(["inspect", "--run-id=-r", "--", "-abc"]) == 0
    assert (calls[0][0].video, calls[0][0].run_id) == ("-abc", "-r")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("documents --run-id r --docs-root J/n\udcff", "--docs-root J/n\\xff"),
        ("documents --run-id r --gen-root a --gen-root \udcff", "--gen-root \\xff"),
        ("repair --run-id r --set corpus.raw=\udcff", "--set corpus.raw=\\xff"),
        ("synthesize --run-id r --engine e --all --pipeline-json zz/\udcff.json", "--pipeline-json zz/\\xff.json"),
        ("embed a.wav --workspace w\udcff", "--workspace w\\xff"),
        ("embed \udcff.wav", ""),
        ("embed-chunks --music-root \udcff", ""),
        ("gaps --music-root \udcff", ""),
    ],
)
def test_a_place_of_a_job_is_named_in_utf_8_but_audio_need_not_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    name = line.split()[0]
    calls = job(monkeypatch, name.replace("-", "_"))
    assert main([*line.split(), "--quiet"]) == (2 if said else 0)
    assert len(calls) == (not said)
    assert capsys.readouterr().err == (
        f"resplice {name}: {said}: the name is not UTF-8; name another\n" if said else ""
    )


def test_from_is_a_flag_though_python_has_the_word(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = job(monkeypatch, "validate")
    assert main(["validate", "--run-id", "r", "--from", "s3://b/x"]) == 0
    assert calls[0][0].from_ == "s3://b/x"


@pytest.mark.parametrize(
    ("ends", "code", "message"),
    [
        (3, 3, ""),
        (UserError("no plan: run `resplice plan`"), 2, "resplice status: no plan: run `resplice plan`\n"),
        (UserError("changed", 4), 4, "resplice status: changed\n"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device"), 75, "out of disk space: .*run the same command again"),
        (OSError(errno.EDQUOT, "Quota"), 75, "out of disk quota"),
        (MemoryError(), 75, "out of memory"),
        (
            RuntimeError("Traceback ...\n  File x\nOSError: [Errno 28] No space left [while running 'X']"),
            75,
            "out of d",
        ),
        (PermissionError(errno.EACCES, "denied", "/data/x"), 2, "no permission: /data/x"),
        (ValueError("a\nlast"), 1, r"failed: ValueError: last \(run again with --debug for the traceback\)"),
        (SystemExit(75), 75, ""),
    ],
)
def test_every_end_has_its_exit_code_and_one_line(
    ends: Any, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job(monkeypatch, "look", ends)
    assert main(["status", "--run-id", "r"]) == code
    err = capsys.readouterr().err
    assert re.search(message, err) and err.count("\n") == bool(message)


def test_a_resource_that_ran_out_is_found_behind_another_error(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("stage failed")
    error.__cause__ = OSError(errno.ENOSPC, "full")
    job(monkeypatch, "look", error)
    assert main(["status", "--run-id", "r"]) == 75


def test_a_traceback_is_shown_with_debug_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job(monkeypatch, "look", ValueError("x"))
    assert main(["status", "--run-id", "r", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_sigterm_ends_with_75_and_the_old_handler_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def wait() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        return 0

    job(monkeypatch, "look", wait)
    assert main(["status", "--run-id", "r"]) == 75
    assert signal.getsignal(signal.SIGTERM) is before


def test_config_shows_the_values_in_force_with_their_origin(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "resplice.toml").write_text("[run]\nworkers = 2\n")
    assert main(["config", "--set", "merge.on_missing=keep"]) == 0
    out = capsys.readouterr().out
    assert f"# file: {here}/resplice.toml" in out
    assert "run.workers = 2  # file" in out and 'merge.on_missing = "keep"  # flag' in out
    assert "run.timeout_s = 60.0  # default" in out


def test_config_example_prints_the_file_even_beside_a_broken_one(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "resplice.toml").write_text("broken")
    assert main(["config", "--example"]) == 0
    assert capsys.readouterr().out == EXAMPLE


@pytest.mark.parametrize("line", ["", "--help", "manifest"])
def test_help_lists_the_commands(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 0
    assert "Usage: resplice" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_every_command_parses_and_ends_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from resplice.pipelines import cli

    example = COMMANDS[name].example.split()
    assert (example[0], cli.command_name(example[1:])) == ("resplice", name)
    args, rest = cli.parse(name, example[1:])
    assert type(args) is COMMANDS[name].args and rest == []
    assert main([*name.split(), "--help"]) == 0
    assert " ".join(capsys.readouterr().out.split()).endswith("Example: " + COMMANDS[name].example)


def test_help_and_table_load_nothing_heavy_and_answer_at_once() -> None:
    code = (
        "import sys; from resplice.pipelines.__main__ import main; from resplice.pipelines.args import COMMANDS\n"
        "assert all(main([*name.split(), '--help']) == 0 for name in COMMANDS)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.endswith("[]\n")

    help_ = [sys.executable, "-m", "resplice.pipelines", "plan", "--help"]
    subprocess.run(help_, check=True, capture_output=True, timeout=10)  # a quarter of a second on an idle machine


def test_version_and_a_reader_that_leaves_early_are_quiet() -> None:
    command = [sys.executable, "-m", "resplice.pipelines"]
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", version)
    with subprocess.Popen([*command, "config"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 75


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["plan"], 2)])
def test_the_exit_code_is_that_of_the_command_whatever_happens_when_the_interpreter_is_torn_down(
    tmp_path: Path, arguments: list[str], code: int
) -> None:
    left = tmp_path / "left"
    library = (
        "import atexit, os, pathlib, sys\n"
        "class Aborts:\n"
        "    def __del__(self, abort=os.abort): abort()\n"
        "sys.modules['a_library'] = Aborts()\n"
        f"atexit.register(pathlib.Path({str(left)!r}).write_text, 'tidy')\n"
        "from resplice.pipelines import __main__\n"
        f"sys.argv[1:] = {arguments}\n"
    )
    how = {end: subprocess.run([sys.executable, "-c", library + end], capture_output=True, text=True)
           for end in ("__main__.program()", "sys.exit(__main__.main())")}  # fmt: skip
    assert [done.returncode for done in how.values()] == [code, -signal.SIGABRT]
    assert how["__main__.program()"].stdout or how["__main__.program()"].stderr
    assert left.read_text() == "tidy"


def test_a_command_that_writes_can_be_tried_dry() -> None:
    reads = {"status", "failed", "inspect", "snapshots", "doctor", "config"}
    reads |= {"manifest verify", "manifest replay", "manifest export"}
    reads |= {"documents show", "documents lineage", "documents find"}
    dry = {name for name, command in COMMANDS.items() if "dry_run" in command.args.__dataclass_fields__}
    assert dry == set(COMMANDS) - reads


def test_recover_takes_the_flags_of_the_stages_it_runs() -> None:
    recover = set(flags.Recover.__dataclass_fields__)
    for stage in (flags.Baseline, flags.Plan, flags.Repair, flags.Merge, flags.Verify):
        assert set(stage.__dataclass_fields__) <= recover


def test_demo_writes_a_corpus_and_names_the_next_command(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "new", "--dry-run"]) == 0
    assert "would write" in capsys.readouterr().out and not (here / "new").exists()
    assert main(["demo", "new"]) == 0
    out = capsys.readouterr().out
    assert "videos 120" in out
    assert out.endswith("next: resplice recover --config new/resplice.toml --run-id demo --yes\n")
    assert main(["config", "--config", "new/resplice.toml"]) == 0
