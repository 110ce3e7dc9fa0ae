"""docs/ tells the truth: its commands run in order, its examples work, its tables name what is really on disk."""

from __future__ import annotations

import io
import json
import re
import shutil
import sqlite3
import tarfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import test_corpus_rows
from blocks import DOCUMENTS, ROOT, Block, Command, Done, Shell, blocks, prose

from resplice.io import clips, index, scoring, settling, vectors
from resplice.io.pool import close_all
from resplice.pipelines import config, documents_report
from resplice.pipelines.__main__ import main
from resplice.pipelines.keys import KEYS
from resplice.transforms import chunks, gaps, library, speech, verdict
from resplice.transforms.coverage import Bucket
from resplice.transforms.documents import SOURCES
from resplice.transforms.kinds import KINDS
from resplice.transforms.records import Reason
from resplice.transforms.settings import Synthesis

FORMAT, CORPUS, CRASHES = (ROOT / "docs" / name for name in ("format.md", "your-corpus.md", "crashes.md"))
RUN = "fix-splits"
KEPT = (
    "audio-without-rows", "bad-name-empty", "canonical-rows", "collapsed-in-old-shards", "collapsed-splits",
    "half-fixed-tar", "healthy-split-tar", "history-failed-verdicts", "raw-missing", "segment-not-flac",
    "tar-truncated-mid-member", "tar-without-rows", "validation-failed-without-results", "wrong-duration",
)  # fmt: skip


@dataclass
class Played:
    """The documents as they were run in a folder that holds `demo` and `clips.toml`; `judged` is what engines said."""

    folder: Path
    shell: Shell
    documents: dict[Path, list[tuple[Block, list[Done]]]] = field(default_factory=dict)
    judged: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        return self.folder / "demo/workspace"

    def run(self, name: str) -> Path:
        return self.workspace / "runs" / RUN / name


def play(folder: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, *, copied: bool) -> Played:
    """Run the documents in the order in which a person reads them; `copied`: `resplice demo` copies the corpus."""

    def demo(here: Path) -> bool:
        if copied:
            shutil.copytree(corpus, here / "demo")
        return copied

    def watch(command: Command, here: Path) -> None:
        if command.words[:2] == ("resplice", "validate"):
            files = sorted((here / "workspace/runs" / RUN / "validate/shards").glob("*.parquet"))
            played.judged[command.text] = [row for file in files for row in pq.read_table(file).to_pylist()]

    make_clips(folder, corpus)
    played = Played(folder, Shell(folder, monkeypatch, {"demo": demo, "pack": add_a_video}, watch))
    for document in (CORPUS, FORMAT, CRASHES):
        played.documents[document] = played.shell.play(document)
    monkeypatch.chdir(folder)
    return played


def make_clips(folder: Path, corpus: Path) -> None:
    """Lay a corpus out as the worked example has it: other folders, names, statuses, and a view for the rows."""
    (folder / "audio").mkdir(parents=True)
    for name in ("raw", "transcribed"):
        (folder / "audio" / name).symlink_to(corpus / name)
    words = {"passed": "ok", "failed": "bad", "error": "broken"}
    for path in (corpus / "validation").rglob("*.parquet"):
        table = pq.read_table(path)
        if "status" in table.column_names:
            verdicts = pa.array([words.get(status, status) for status in table["status"].to_pylist()], pa.string())
            table = table.drop_columns("status").append_column("verdict", verdicts)
        target = folder / "old-results" / path.relative_to(corpus / "validation")
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, target)
    with sqlite3.connect(folder / "clips.sqlite") as connection:
        connection.execute("ATTACH ? AS demo", (str(corpus / "corpus.sqlite"),))
        connection.executescript("""
            CREATE TABLE stored(pk INTEGER PRIMARY KEY, clip TEXT, piece TEXT, words TEXT, secs REAL, made_at DATETIME);
            INSERT INTO stored SELECT id, video_id, segment_file, transcription, duration_s, created_at
              FROM demo.transcription_results;
            CREATE VIEW pieces AS SELECT pk, clip, piece, words, 'en' AS lang, secs, made_at FROM stored;
            CREATE TABLE clips(clip TEXT PRIMARY KEY, state TEXT, review TEXT, changed DATETIME);
            INSERT INTO clips SELECT video_id, status, CASE validation_status WHEN 'validation_failed' THEN 'rejected'
              WHEN 'validated' THEN 'approved' ELSE validation_status END, updated_at FROM demo.videos;
        """)


def add_a_video(here: Path) -> None:
    """Add a new video of one original of 25 s, cut every 10 s when it was transcribed."""
    samples = (np.random.default_rng(1).standard_normal(25 * 8000) * 3000).astype(np.int16)
    flac, tar = io.BytesIO(), here / "raw/lecture-1.tar"
    soundfile.write(flac, samples, 8000, format="FLAC")
    with tarfile.open(tar, "w") as file:
        member = tarfile.TarInfo("lecture-1/segments/talk.flac")
        member.size = len(flac.getvalue())
        file.addfile(member, io.BytesIO(flac.getvalue()))
    with sqlite3.connect(here / "corpus.sqlite") as connection:
        connection.executemany(
            "INSERT INTO transcription_results(video_id, segment_file, transcription, language, duration_s) "
            "VALUES ('lecture-1', ?, ?, 'en', ?)",
            [(f"talk_split{n}.flac", f"part {n}", seconds) for n, seconds in enumerate((10.0, 10.0, 5.0))],
        )
    (here / "new.txt").write_text("lecture-1\n")


def trimmed(corpus: Path, folder: Path) -> Path:
    """Copy a few videos of the demo corpus: those of KEPT."""
    shutil.copytree(corpus, folder)
    with sqlite3.connect(folder / "corpus.sqlite") as connection:
        for table in ("videos", "transcription_results"):
            marks = ", ".join("?" * len(KEPT))
            connection.execute(f"DELETE FROM {table} WHERE video_id NOT IN ({marks})", KEPT)
    for path in (*(folder / "raw").iterdir(), *(folder / "transcribed").iterdir()):
        if path.stem.removesuffix("_transcribed") not in KEPT:
            path.unlink()
    return folder


@pytest.fixture(scope="module")
def played(demo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    base = trimmed(demo_folder, tmp_path_factory.mktemp("base") / "corpus")
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield play(tmp_path_factory.mktemp("docs"), base, monkeypatch, copied=True)
    close_all()


def test_every_command_ends_as_the_documents_say(played: Played) -> None:
    ended = {done.command.text: (done.code, done.said) for done in played.shell.done}
    assert {text: code for text, (code, _) in ended.items()} == {
        done.command.text: done.command.code for done in played.shell.done
    }
    assert len(ended) > 30


def test_a_corpus_with_other_names_is_read_as_its_mapping_says(played: Played) -> None:
    mapped = played.folder / "recovery/runs/look/plan"
    assert (mapped / "affected.txt").read_text() == played.run("plan/affected.txt").read_text() != ""
    reasons = [pq.read_table(folder / "affected.parquet").to_pylist() for folder in (mapped, played.run("plan"))]
    assert reasons[0] == reasons[1]
    facts = json.loads((mapped.parent / "baseline/baseline.json").read_text())
    assert facts["videos_by_status"].keys() >= {"approved", "rejected"}


def test_the_engine_of_the_example_judges_before_the_built_in_one(played: Played) -> None:
    engine, others = played.judged["resplice validate --run-id fix-splits"], played.judged[FROM]
    assert {row["engine"] for row in engine} <= {"hum", "signal"} and all("hum_dbfs" in row for row in engine)
    assert any(row["hum_dbfs"] > -120 for row in engine)
    assert {row["engine"] for row in others} == {"judge.py"} and all(row["peak"] > 0 for row in others)
    segments = [sorted((row["video_id"], row["segment_file"]) for row in rows) for rows in (engine, others)]
    assert segments[0] == segments[1]


FROM = "resplice validate --run-id fix-splits --from judged"


def test_the_splitter_and_the_json_writer_of_the_example_made_the_new_tar(played: Played) -> None:
    made = played.workspace / "runs/new-1/pack/transcribed/lecture-1_transcribed.tar"
    with tarfile.open(made) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    lengths = {Path(n).stem: soundfile.info(io.BytesIO(data)).duration for n, data in members.items() if "flac" in n}
    assert lengths == {"talk_split0": 10.0, "talk_split1": 10.0, "talk_split2": 5.0}
    texts = [json.loads(data) for name, data in sorted(members.items()) if "/transcriptions/" in name]
    assert texts == [{"file": f"talk_split{n}.flac", "text": f"part {n}", "lang": "en"} for n in range(3)]


def test_undo_gave_back_what_finalize_took(played: Played) -> None:
    base = (played.folder / "audio/transcribed").resolve()
    for path in base.iterdir():
        assert (played.folder / "demo/transcribed" / path.name).read_bytes() == path.read_bytes()


def test_ten_lines_of_plain_pyarrow_read_what_export_writes(played: Played) -> None:
    (block,) = blocks(FORMAT, "python")
    assert len([line for line in block.text.splitlines() if line]) == 10 and "resplice" not in block.text
    names: dict[str, Any] = {}
    exec(block.text, names)
    exported = [pq.read_table(path) for path in sorted((played.folder / "live-results").glob("*.parquet"))]
    assert lines(names["results"]) == lines(pa.concat_tables(exported, promote_options="permissive")) != []


def lines(table: pa.Table) -> list[str]:
    rows = ({name: value for name, value in row.items() if value is not None} for row in table.to_pylist())
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


TOMLS = [(d, b) for d in DOCUMENTS for b in blocks(d, "toml") if b.file != "hum/pyproject.toml"]


@pytest.mark.parametrize(("document", "block"), TOMLS, ids=lambda value: getattr(value, "name", ""))
def test_every_configuration_loads(played: Played, tmp_path: Path, document: Path, block: Block) -> None:
    (tmp_path / "resplice.toml").write_text(block.text, "utf-8")
    resolved = config.resolve(str(tmp_path / "resplice.toml"), (), {})
    given = set(flat(tomllib.loads(block.text)))
    assert {key for key, origin in resolved.origin.items() if origin == "file"} == given != set()


def flat(value: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from flat(inner, f"{prefix}{name}.")
        else:
            yield prefix + name


def section(document: Path, heading: str) -> str:
    """Return what stands below a heading, up to the next one of its level or above."""
    level = heading.split()[0]
    below = document.read_text("utf-8").partition(f"\n{heading}\n")[2]
    return re.split(rf"^#{{1,{len(level)}}} ", below, maxsplit=1, flags=re.MULTILINE)[0]


def first_cells(text: str) -> list[str]:
    """Return the names in code marks of the first cells of the tables in a text."""
    return [
        name for row in re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)
    ]


def test_the_tree_names_every_file_of_a_workspace_and_no_other(played: Played) -> None:
    tree = [line.split("  ")[0] for line in blocks(FORMAT, "text")[0].text.splitlines()]
    patterns = {line: re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(line))) for line in tree}
    files = [p.relative_to(played.workspace).as_posix() for p in played.workspace.rglob("*") if p.is_file()]
    assert [file for file in files if not any(pattern.fullmatch(file) for pattern in patterns.values())] == []
    unused = [line for line, pattern in patterns.items() if not any(map(pattern.fullmatch, files))]
    assert unused == []


def columns_of(text: str) -> dict[str, str]:
    return dict(re.findall(r"^\| `(\w+)` \| ([\w<>]+) \|", text, re.MULTILINE))


@pytest.mark.parametrize("name", re.findall(r"^### `(.*\.parquet)`$", FORMAT.read_text("utf-8"), re.MULTILINE))
def test_the_columns_of_a_file_are_those_it_has(played: Played, name: str) -> None:
    file = next(played.run("").glob(re.sub(r"\{\w+\}", "*", name)))
    schema = {field.name: str(field.type).replace("element: ", "") for field in pq.read_schema(file)}
    schema.pop("hum_dbfs", "")  # of the example's engine
    assert columns_of(section(FORMAT, f"### `{name}`")) == schema


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from keys(inner)


def shape(snapshot: dict[str, Any]) -> list[set[str]]:
    entries = [*snapshot["videos"].values()]
    tar = next(entry["tar"] for entry in entries if entry["tar"])
    return [set(one) for one in (snapshot, snapshot["shards"][0], entries[0], tar)]


def shown_snapshot() -> dict[str, Any]:
    return json.loads(next(b.text for b in blocks(FORMAT, "json") if '"shards"' in b.text))  # type: ignore[no-any-return]


def test_every_field_of_a_snapshot_is_shown_and_explained(played: Played) -> None:
    real = json.loads((played.workspace / "snapshots/00000002.json").read_text())
    assert shape(real) == shape(shown_snapshot())
    explained = {re.split(r"\W+", name)[-1] for name in first_cells(section(FORMAT, "## One snapshot, line by line"))}
    assert explained == set().union(*shape(real)[:3])


def test_every_field_of_a_sidecar_is_explained(played: Played) -> None:
    text = section(FORMAT, "## The sidecar")
    common = set(first_cells(text))
    kinds = dict(re.findall(r"^\| ([a-z-]+) \| (`.*) \|$", text, re.MULTILINE))
    kind_of = re.compile(r"resplice-(.*)-manifest-v1")
    seen = set()
    for path in [*played.workspace.rglob("*.manifest.json"), played.folder / "results.manifest.json"]:
        sidecar = json.loads(path.read_text())
        kind = kind_of.fullmatch(sidecar["schema"])[1]  # type: ignore[index]
        further = set(re.findall(r"`(\w+)`", kinds.get(kind, "")))
        assert sidecar.keys() - common <= further and common <= sidecar.keys(), path
        seen.add(kind)
    assert seen == set(re.search(r"KIND: (.*) \|", text)[1].split(", "))  # type: ignore[index]


def test_every_field_of_a_ledger_and_of_a_refusal_is_explained(played: Played) -> None:
    files = [*played.workspace.glob("runs/*/*/ledger/*.jsonl")]
    entry = json.loads(files[0].read_text().splitlines()[0])
    assert set(first_cells(section(FORMAT, "## The ledger"))) == entry.keys()
    shown = [json.loads(block.text) for block in blocks(FORMAT, "json")]
    refusal = json.loads(played.run("repair/refused.jsonl").read_text().splitlines()[0])
    summary = json.loads(played.run("repair/summary.json").read_text())
    line = json.loads(played.run("finalize/journal.jsonl").read_text().splitlines()[-1])
    assert [one.keys() for one in shown if "shards" not in one] == [refusal.keys(), summary.keys(), line.keys()]


def vocabulary(played: Played) -> set[str]:
    """Return the words with an underscore that code, settings and files of a workspace know."""
    words = {*map(str, Reason), *map(str, Bucket), *(part for key in KEYS for part in key.split("."))}
    words |= {*index.COLUMNS, *settling.BAD, *(name for source in SOURCES for name in (*source.needed, *source.links))}
    words |= {documents_report.LATEST, documents_report.CONSISTENCY}
    words |= {*library.OWN, library.ARCHIVED, *gaps.State, *gaps.counts({}, library.Library({}))}
    words |= {
        word for kind in KINDS.values() for rule in kind.rules for word in (rule.reason, rule.setting, rule.measure)
    }
    words |= {"asr_text", *verdict.REASONS, *(f"margin_{name}" for name in KINDS["signal"].thresholds)}
    words |= {*vectors.COLUMNS, *vectors.OF_A_SEGMENT}
    words |= {*test_corpus_rows.KEYS.split(), *clips.SCHEMA.names, *scoring.SCHEMA.names}
    row = speech.row(1, 1, Synthesis(), [], 0, audio_path=None, audio_sha256=None, text_sha256=None)
    words |= {*chunks.NO_ENGINE, "chunk_paths", "default_voice", *keys(chunks.settled({"chunks": [row]}, {}, 1, ""))}
    for path in [*played.workspace.rglob("*.json"), played.folder / "results.manifest.json"]:
        words |= set(keys(json.loads(path.read_text())))
    for path in played.workspace.rglob("*.jsonl"):
        words |= {key for line in path.read_text().splitlines() for key in keys(json.loads(line))}
    for path in played.workspace.rglob("*.parquet"):
        words |= set(pq.read_schema(path).names) | {key.decode() for key in pq.read_schema(path).metadata or {}}
    items = (line for path in (played.folder / "demo/work").glob("*") for line in path.read_text().splitlines())
    words |= {key for line in items for key in keys(json.loads(line))}
    with tarfile.open(played.run("repair/transcribed/collapsed-splits_transcribed.tar")) as tar:
        words |= set(json.loads(tar.extractfile("collapsed-splits/transcriptions/talk_split0.json").read()))  # type: ignore[union-attr]
    return words


@pytest.mark.parametrize("document", DOCUMENTS[1:], ids=lambda path: path.name)
def test_every_word_of_the_code_that_a_document_uses_exists(played: Played, document: Path) -> None:
    used = set(re.findall(r"`([a-z]+(?:_[a-z0-9]+)+)`", prose(document)))
    assert used - vocabulary(played) == set()
    reasons = set(re.findall(r"by_reason\": \{([^}]*)\}", document.read_text("utf-8")))
    assert set(re.findall(r'"(\w+)"', " ".join(reasons))) <= {*map(str, Reason)}


MASKS = [(r"\b\d+\.\d+ (?=s\b|MB|min)", "# "), (r"\b[0-9a-f]{12}\b", "#"), (r"\s+", " ")]


def plain(line: str) -> str:
    """Return a line of output without what differs from machine to machine: times, sizes, digests, padding."""
    for pattern, replacement in MASKS:
        line = re.sub(pattern, replacement, line)
    return line.strip()


def appears(shown: str, said: str) -> bool:
    """Return whether an output begins as it is shown; `…` stands for any number of lines."""
    found = [plain(line) for line in said.splitlines() if line.strip()]
    position = 0
    for part in shown.split("…\n"):
        wanted = [plain(line) for line in part.splitlines() if line.strip()]
        places = range(len(found) + 1) if position or shown.startswith("…") else [0]
        starts = (n for n in places if n >= position and found[n : n + len(wanted)] == wanted)
        start = next(starts, None)
        if start is None:
            return False
        position = start + len(wanted)
    return True


def shown_outputs(played: Played, document: Path) -> Iterator[tuple[str, str]]:
    """Yield each shown output, with what the commands before it said."""
    for (block, done), (after, _) in zip(played.documents[document], played.documents[document][1:], strict=False):
        if block.language == "sh" and after.language == "text":
            yield after.text, "\n".join(one.said for one in done)


@pytest.mark.slow
def test_the_outputs_that_are_shown_are_those_of_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", str(tmp_path / "corpus")]) == 0
    played = play(tmp_path / "docs", tmp_path / "corpus", monkeypatch, copied=False)
    pairs = list(shown_outputs(played, CORPUS))
    assert len(pairs) >= 9
    for shown, said in pairs:
        assert appears(shown, said), f"shown:\n{shown}\nsaid:\n{said}"
    capsys.readouterr()
    workspace = f"--set=corpus.workspace={tmp_path / 'workspace'}"
    place = ["--config", str(tmp_path / "corpus/resplice.toml"), workspace, "--run-id", "demo"]
    assert main(["recover", *place, "--yes"]) == 0
    check_the_closing_screen(capsys.readouterr().out)
    check_the_snapshot(json.loads((tmp_path / "workspace/snapshots/00000001.json").read_text()))


def check_the_closing_screen(said: str) -> None:
    shown = next(b.text for b in blocks(DOCUMENTS[0], "text") if "planned" in b.text)
    start = re.escape(shown.splitlines()[0].rstrip("─"))
    said = said[re.search(start, said).start() :]  # type: ignore[union-attr]
    place: Callable[[str], str] = lambda text: re.sub(r"(--config|report:) \S+", r"\1 FILE", text)
    assert appears(place(shown), place(said)), said


def check_the_snapshot(real: dict[str, Any]) -> None:
    """The excerpt is of the demo: versions and digests may differ, with the library that wrote the files."""
    shown = shown_snapshot()
    assert (len(real["shards"]), len(real["videos"])) == (67, 83)
    by_source = {shard["source"]: shard for shard in real["shards"]}
    for shard in shown["shards"]:
        same = ("drop", "origin", "rows", "run_id", "source")
        assert {name: shard[name] for name in same} == {name: by_source[shard["source"]][name] for name in same}
    for video, entry in shown["videos"].items():
        assert (entry["run_id"], entry["snapshot"]) == ("demo", 1)
        assert (entry["tar"] is None) == (real["videos"][video]["tar"] is None)
