"""The configuration: order of the layers, paths, checks, secrets."""

import re
from pathlib import Path

import pytest

from resplice.pipelines import config, keys
from resplice.pipelines.config import EXAMPLE, Resolved, lines, resolve
from resplice.transforms.records import UserError
from resplice.transforms.settings import Settings

FOREIGN = '[polish]\nsplitter = "mine.cut:split"\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def of_file(text: str, folder: Path, **more: object) -> Resolved:
    (folder / "resplice.toml").write_text(text, "utf-8")
    return resolve(None, more.get("sets", ()), more.get("environ", {}), more.get("flags", {}))  # type: ignore[arg-type]


def test_the_example_file_holds_exactly_the_defaults(here: Path) -> None:
    example = of_file(EXAMPLE, here)
    (here / "resplice.toml").unlink()
    assert example.settings == resolve(None, (), {}).settings
    given = {key for key, origin in example.origin.items() if origin == "file"}
    described_elsewhere = {key for key in keys.KEYS if key.startswith(("synthesis.", "embed."))}
    assert given == {*keys.KEYS, "beam.runner"} - described_elsewhere


def test_flag_beats_set_beats_environment_beats_file_beats_default(here: Path) -> None:
    file = "[run]\nworkers = 2\n"
    environ = {"RESPLICE_RUN_WORKERS": "3"}
    steps = [
        (of_file("", here), 1, "default"),
        (of_file(file, here), 2, "file"),
        (of_file(file, here, environ=environ), 3, "environment"),
        (of_file(file, here, environ=environ, sets=["run.workers=4"]), 4, "flag"),
        (of_file(file, here, environ=environ, sets=["run.workers=4"], flags={"run.workers": 5}), 5, "flag"),
    ]
    for resolved, workers, origin in steps:
        assert (resolved.settings.run.workers, resolved.origin["run.workers"]) == (workers, origin)


def test_every_key_has_a_variable_of_its_own() -> None:
    assert len({keys.variable(key) for key in keys.KEYS}) == len(keys.KEYS)
    assert keys.variable("database.columns.id") == "RESPLICE_DATABASE_COLUMNS_ID"


@pytest.mark.parametrize("key", sorted(keys.KEYS))
def test_every_key_can_be_set_by_its_variable_and_by_set(key: str) -> None:
    value = keys.shown(keys.KEYS[key]) if keys.KEYS[key] else '""' if keys.KEYS[key] == "" else "[]"
    assert resolve(None, [f"{key}={value}"], {}).origin[key] == "flag"
    assert resolve(None, (), {keys.variable(key): value}).origin[key] == "environment"


def test_paths_of_the_file_are_relative_to_the_file_and_of_flags_to_the_current_folder(
    here: Path, tmp_path: Path
) -> None:
    file = tmp_path / "there" / "my.toml"
    file.parent.mkdir()
    file.write_text('[corpus]\nraw = "a"\ntranscribed = "s3://bucket/x"\n[database]\nurl = "sqlite:///db/c.sqlite"\n')
    found = resolve("../there/my.toml", ["corpus.validation=v"], {"RESPLICE_CORPUS_WORKSPACE": "../w"})
    corpus = found.settings.corpus
    assert corpus.raw == str(file.parent / "a")
    assert corpus.transcribed == "s3://bucket/x"
    assert corpus.validation == str(here / "v")
    assert corpus.workspace == str(tmp_path / "w")
    assert found.settings.database.url == f"sqlite:///{file.parent}/db/c.sqlite"
    assert found.path == here / "../there/my.toml"


def test_defaults_are_relative_to_the_file_too(here: Path, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("")
    assert resolve("../my.toml", (), {}).settings.corpus.raw == str(tmp_path / "raw")
    assert resolve(None, (), {}).settings.corpus.raw == str(here / "raw")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///c.sqlite?timeout=3", "sqlite:///{here}/c.sqlite?timeout=3"),
        ("sqlite+pysqlite:///c.sqlite", "sqlite+pysqlite:///{here}/c.sqlite"),
        ("sqlite:////abs/c.sqlite", "sqlite:////abs/c.sqlite"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite://", "sqlite://"),
        ("postgresql+psycopg://me@host:5432/db", "postgresql+psycopg://me@host:5432/db"),
    ],
)
def test_only_a_relative_sqlite_path_is_made_absolute(url: str, expected: str, here: Path) -> None:
    assert resolve(None, [f"database.url={url}"], {}).settings.database.url == expected.format(here=here)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rum]\nworkers = 1", "unknown section [rum] in resplice.toml; the nearest is [run]"),
        ("workers = 1", "unknown section [workers] in resplice.toml"),
        ("[run]\nworker = 1", "unknown key run.worker in resplice.toml; the nearest is run.workers"),
        ("[database.colums]\nid = 'x'", "unknown key database.colums.id in resplice.toml; the nearest is database.col"),
        ("[polish]\npad = 1.0", "unknown key polish.pad in resplice.toml; the nearest is polish.pad_s"),
        ("[validate.sgnal]\nx = 1", "unknown section [validate.sgnal] in resplice.toml: no such engine is installed"),
        ("[validate.signal]\ntoo_shrt_s = 1", "the nearest is validate.signal.too_short_s"),
        ("run = 1", "run must be a section ([run]), got 1 in resplice.toml"),
        ("[run]\nworkers = 'two'", 'run.workers must be an integer, got "two" in resplice.toml'),
        ("[run]\nworkers = true", "run.workers must be an integer, got true"),
        ("[run]\nworkers = 1.0", "run.workers must be an integer, got 1.0"),
        ("[run]\nworkers = 0", "run.workers must be >= 1, got 0"),
        ("[run.workers]\nx = 1", "run.workers"),
        ("[run]\nmax_refused = 1.1", "run.max_refused must be >= 0 and <= 1, got 1.1"),
        ("[run]\nmax_refused = nan", "run.max_refused must be a finite number"),
        ("[run]\ntimeout_s = 0", "run.timeout_s must be > 0, got 0"),
        ("[run]\nmemory_mb = 63", "run.memory_mb must be >= 64"),
        ("[run]\nretry = 'sometimes'", 'run.retry must be one of none, failed, all, got "sometimes"'),
        ("[plan]\nreasons = 'split_rows'", "plan.reasons must be a list of strings"),
        ("[plan]\nreasons = ['crashed']", "plan.reasons must be a list of split_rows, "),
        ("[validate]\nengines = []", "validate.engines must be a list of at least one engine"),
        ("[database]\nrows_table = ''", "database.rows_table must be a string that is not empty"),
        ("[polish]\npad_s = -1", "polish.pad_s must be >= 0, got -1"),
        ("[repair]\njson = 'x'", "repair.json must be a function as package.module:name"),
        ("[corpus]\nraw = 'gs://b/x'", "corpus.raw must be a folder or s3://bucket/prefix, got"),
        ("[run\n", "resplice.toml is not valid TOML: "),
    ],
)
def test_a_wrong_file_is_exit_2_and_says_what_where_and_the_nearest(text: str, message: str, here: Path) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        of_file(text, here)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"RESPLICE_RUN_WORKER": "1"}, "unknown variable RESPLICE_RUN_WORKER; the nearest is RESPLICE_RUN_WORKERS"),
        ({"RESPLICE_RUN_WORKERS": "x"}, 'run.workers must be an integer, got "x" in RESPLICE_RUN_WORKERS'),
    ],
)
def test_a_wrong_variable_is_named(environ: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        resolve(None, (), environ)


def test_variables_of_other_sections_and_programs_are_left_alone(here: Path) -> None:
    environ = {"RESPLICE_HOME": "x", "PATH": "z"}
    assert of_file("", here, environ=environ).settings.run == Settings().run


@pytest.mark.parametrize("given", ["run.workers", "run.worker=1", "beam=1", "run.workers=", "x=1"])
def test_a_wrong_set_is_exit_2(given: str) -> None:
    with pytest.raises(UserError):
        resolve(None, [given], {})


def test_a_named_file_that_is_missing_is_an_error_and_the_default_one_is_not() -> None:
    assert resolve(None, (), {}).path is None
    with pytest.raises(UserError, match="no such file"):
        resolve("resplice.toml", (), {})


def test_a_string_may_look_like_another_type() -> None:
    sets = ["database.rows_table=123", 'database.videos_table="q"', "database.columns.duration_s="]
    database = resolve(None, sets, {}).settings.database
    assert (database.rows_table, database.videos_table, database.columns.duration_s) == ("123", "q", "")


def test_a_foreign_splitter_takes_any_key(here: Path) -> None:
    polish = of_file(FOREIGN + "depth = 3\npad_s = 0.2\n", here, sets=["polish.model=x"]).settings.polish
    assert (polish.extra, polish.pad_s) == ((("depth", 3), ("model", "x")), 0.2)


def test_an_installed_engine_has_a_section_and_signal_has_margins(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "engines", lambda: ["mine", "signal"])
    monkeypatch.setattr(config, "engines", lambda: ["mine", "signal"])
    text = "[validate.mine]\nmodel = 'small'\n[validate.signal]\nmargin_rate_low = 1\ntoo_short_s = 1\n"
    validate = of_file(text, here, environ={"RESPLICE_VALIDATE_MINE_BEAMS": "3"}).settings.validate
    assert validate.engine_settings == (
        ("mine", (("beams", 3), ("model", "small"))),
        ("signal", (("margin_rate_low", 1.0),)),
    )
    assert validate.signal.too_short_s == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[validate.vad]\nspech_low = 1", r"\[validate.vad\] spech_low is not a setting; .* speech_low"),
        ("[validate.vad]\nspeech = 0", "a probability is above 0 and at most 1"),
        ("[validate.vad]\nspeech = 1.5", "a probability is above 0 and at most 1"),
        ("[validate.signal]\nmargin_duration_outlier_iqr = 1", "margin_duration_outlier_iqr is not a setting"),
    ],
)
def test_settings_of_an_engine_outside_the_chain_are_checked_too(here: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        of_file(text, here)


def test_beam_takes_any_key_and_keeps_the_default_runner(here: Path) -> None:
    text = "[beam]\nparallelism = 2\nexperiments = ['a']\n"
    assert of_file(text, here).settings.beam == (
        ("experiments", ["a"]),
        ("parallelism", 2),
        ("runner", "FnApiRunner"),
    )


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:geheim@host/db",
        "postgresql+psycopg://:geheim@host/db",
        "postgresql://host/db?user=me&password=geheim",
        "postgresql://me:ge/heim@host/db",
    ],
)
def test_a_password_is_refused_in_file_and_set_and_allowed_but_masked_in_the_environment(url: str, here: Path) -> None:
    for attempt in ({"sets": [f"database.url={url}"]}, {"text": f"[database]\nurl = '{url}'"}):
        with pytest.raises(UserError, match=r"PGPASSWORD or ~/\.pgpass") as caught:
            of_file(str(attempt.get("text", "")), here, sets=attempt.get("sets", ()))
        assert "heim" not in caught.value.message
    resolved = of_file("", here, environ={"RESPLICE_DATABASE_URL": url})
    assert resolved.settings.database.url == url
    assert "heim" not in "\n".join(lines(resolved)) + repr(resolved) + repr(resolved.settings)


def test_credentials_of_a_store_are_refused_even_in_the_environment() -> None:
    with pytest.raises(UserError, match="credentials come from the environment or a role") as caught:
        resolve(None, (), {"RESPLICE_STORE_ENDPOINT_URL": "https://key:geheim@host"})
    assert "geheim" not in caught.value.message


def test_the_model_of_an_engine_is_relative_to_who_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resplice.toml").write_text('[validate.asr]\nmodel = "models/a"\n')
    monkeypatch.chdir(tmp_path)
    for sets, expected in ((), "etc/models/a"), (("validate.asr.model=b",), "b"):
        given = dict(config.resolve("etc/resplice.toml", sets, {}).settings.validate.engine_settings)["asr"]
        assert given == (("model", str(tmp_path / expected)),)
