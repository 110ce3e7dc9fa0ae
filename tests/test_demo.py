"""The demo: its truth must be true of the bytes it writes, and must not come from the code it tries."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import math
import sqlite3
import tarfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import soundfile

from resplice.pipelines import demo_tars
from resplice.pipelines.demo import DAMAGES, Args, start, write
from resplice.pipelines.demo_audio import Layout, compose, cut_short, lying_md5, phrases, pieces
from resplice.pipelines.demo_text import sentence
from resplice.pipelines.demo_video import Draft, stem

PLAN_REASONS = {
    "split_rows", "tar_missing", "tar_unreadable", "members_missing", "tar_mismatch", "validation_failed",
    "validation_missing",
}  # fmt: skip
REPAIR_REASONS = {
    "raw_missing", "raw_unreadable", "no_rows", "bad_name", "name_collision", "segment_undecodable", "segment_mismatch",
    "duration_mismatch",
}  # fmt: skip


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    root = tmp_path_factory.mktemp("demo") / "corpus"
    summary = write(Args(str(root)))
    return root, json.loads((root / "truth.json").read_text("utf-8")), summary


@pytest.fixture(scope="module")
def drafts() -> dict[str, Draft]:
    made = {}
    for number, damage in enumerate(DAMAGES):
        made[damage.name] = start(1, number, damage.video_id)
        damage.build(made[damage.name])
    return made


def query(root: Path, sql: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(root / "corpus.sqlite") as connection:
        return connection.execute(sql).fetchall()


def digests(root: Path) -> dict[str, str]:
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and path.suffix != ".sqlite"]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def flac_md5s(tar: Path) -> dict[str, str]:
    with tarfile.open(tar) as opened:
        names = [name for name in opened.getnames() if name.endswith(".flac")]
        return {Path(name).name[:-5]: opened.extractfile(name).read()[26:42].hex() for name in names}


def pieces_by_frames(samples: np.ndarray, rate: int, bits: int) -> list[tuple[int, int]]:
    """The built-in polish, read from the contract frame by frame and run on the samples themselves."""
    size, length = rate // 100, len(samples)
    pad, longest, gap = round(0.1 * rate), round(15.0 * rate), round(0.3 * rate)
    count = length // size
    level = (samples[: count * size].astype(np.float64) / 2 ** (bits - 1)).reshape(count, -1)
    loud = [frame for frame in range(count) if math.sqrt(np.mean(level[frame] ** 2)) >= 0.01]

    def sound(a: int, b: int) -> tuple[int, int] | None:
        inside = [frame for frame in loud if a <= frame * size < b]
        return (max(a, inside[0] * size - pad), min(b, (inside[-1] + 1) * size + pad)) if inside else None

    whole = sound(0, length)
    if whole is None or whole[1] - whole[0] <= longest:
        return [whole] if whole else []
    stretches = [(a + 1, b) for a, b in pairwise(loud) if (b - a - 1) * size >= gap]
    found, begin = [], whole[0]
    while whole[1] - begin > longest:
        cuts = [m for m in ((a + b) * size // 2 for a, b in stretches) if begin < m <= begin + longest]
        cut = cuts[-1] if cuts else begin + longest
        found.append(sound(begin, cut))
        begin = cut
    return [piece for piece in [*found, sound(begin, whole[1])] if piece]


def test_demo_modules_import_neither_transforms_nor_io() -> None:
    paths = sorted((Path(__file__).parent.parent / "pipelines").glob("demo*.py"))
    assert len(paths) > 5
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for name in (f"{module}{name}" for name in names):
                assert not name.startswith(("resplice.transforms", "resplice.io", "transforms", "importlib")), path
                assert not (isinstance(node, ast.ImportFrom) and node.level), path
                assert not name.startswith("resplice") or name.startswith("resplice.pipelines.demo"), path


S, N = True, False
LAYOUTS = [
    ("silence throughout", 16000, ((N, 300),), 0, []),
    ("untouched", 16000, ((S, 200),), 7, [(0, 32007)]),
    ("trimmed to the pad", 16000, ((N, 50), (S, 100), (N, 50)), 0, [(6400, 25600)]),
    ("silence shorter than the pad stays", 16000, ((N, 9), (S, 100), (N, 9)), 0, [(0, 18880)]),
    ("exactly 15 s is one piece", 16000, ((S, 1500),), 0, [(0, 240000)]),
    ("one sample more is two", 16000, ((S, 700), (N, 31), (S, 769)), 1, [(0, 113600), (116960 - 1600, 240001)]),
    ("the last silence within reach", 8000, ((S, 500), (N, 40), (S, 500), (N, 40), (S, 800)), 0,
     [(0, 40000 + 3200 + 40000 + 800), (40000 + 3200 + 40000 + 3200 - 800, 150400)]),
    ("a silence of 290 ms is not cut in", 8000, ((S, 900), (N, 29), (S, 900)), 0, [(0, 120000), (120000, 146320)]),
    ("30 frames at 22.05 kHz are less than 0.3 s", 22050, ((S, 900), (N, 30), (S, 900)), 0,
     [(0, 330750), (330750, 402600)]),
    ("31 frames are more", 22050, ((S, 900), (N, 31), (S, 900)), 0,
     [(0, 198000 + 2205), (198000 + 6820 - 2205, 402820)]),
    ("forced cuts", 16000, ((S, 3600),), 0, [(0, 240000), (240000, 480000), (480000, 576000)]),
    ("pieces without sound are dropped", 16000, ((S, 400), (N, 3000), (S, 400)), 0, [(0, 65600), (544000, 608000)]),
    ("one piece left", 16000, ((S, 1500), (N, 100)), 0, [(0, 240000)]),
]  # fmt: skip


@pytest.mark.parametrize(("rate", "runs", "rest", "expected"), [pytest.param(*row[1:], id=row[0]) for row in LAYOUTS])
def test_pieces_of_hand_made_layouts(rate: int, runs: Any, rest: int, expected: list[tuple[int, int]]) -> None:
    assert pieces(Layout(runs, rate, rest=rest)) == expected


def test_composed_audio_gives_the_written_pieces_frame_by_frame(drafts: dict[str, Draft]) -> None:
    checked = 0
    for draft in drafts.values():
        for name, recording in draft.originals.items():
            layout = recording.layout
            assert pieces_by_frames(recording.samples, layout.rate, layout.bits) == recording.pieces, (draft, name)
            checked += 1
    assert checked > 250


def test_flac_bytes_hold_the_composed_samples_and_their_md5() -> None:
    rng = np.random.default_rng(5)
    for layout in (phrases(rng, 2.0), Layout(((S, 100),), 44100, 2), Layout(((S, 100),), 8000, 2, 24, rest=3)):
        recording = compose(layout, 1, rng)
        flac = recording.encode(100, 9000)
        samples, rate = soundfile.read(io.BytesIO(flac), dtype="int32", always_2d=True)
        assert rate == layout.rate
        assert np.array_equal(samples >> (32 - layout.bits), recording.samples[100:9000])
        assert flac[26:42].hex() == recording.md5(100, 9000)


def test_speech_has_the_level_of_speech() -> None:
    samples = compose(Layout(((S, 1500),)), 1, np.random.default_rng(3)).samples / 2**15
    assert -23 < 20 * math.log10(np.sqrt(np.mean(samples**2))) < -17
    assert np.abs(samples).max() < 0.9


@pytest.mark.parametrize("chars", [1, 2, 3, 17, 210])
def test_sentences_have_the_asked_number_of_characters(chars: int) -> None:
    assert len(sentence(np.random.default_rng(chars), chars).replace(" ", "")) == chars


@pytest.mark.parametrize(
    ("original", "index", "expected"),
    [
        ("12.5", 1, "12%2E5_split1"),
        ("a_split3", None, "a%5Fsplit3"),
        ("a_split03", None, "a_split03"),
        ("50% off/x\\", 10, "50%25 off%2Fx%5C_split10"),
        ("\x01\x7f", None, "%01%7F"),
    ],
)
def test_stems_of_odd_names(original: str, index: int | None, expected: str) -> None:
    assert stem(original, index) == expected


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_every_damage_is_planted_with_its_truth(damage: Any, demo: Any) -> None:
    root, truth, _ = demo
    entry = truth[damage.video_id]
    rows = query(root, f"SELECT segment_file FROM transcription_results WHERE video_id = '{damage.video_id}'")
    assert entry["damage"] == [damage.name]
    assert entry["affected"] == sorted(damage.affected)
    assert set(entry["affected"]) <= PLAN_REASONS
    assert set(entry["rows"]) == {file for (file,) in rows}
    assert {row["reason"] for row in entry["rows"].values()} <= {damage.refused}
    assert damage.refused is None or damage.refused in REPAIR_REASONS
    assert all((row["bucket"] == "validated") == (row["reason"] is None) for row in entry["rows"].values())


def test_truth_knows_every_video_that_the_corpus_knows(demo: Any) -> None:
    root, truth, summary = demo
    known = {video_id for (video_id,) in query(root, "SELECT video_id FROM videos")}
    known |= {video_id for (video_id,) in query(root, "SELECT video_id FROM transcription_results")}
    known |= {path.name.removesuffix(".tar") for path in (root / "raw").iterdir()}
    known |= {path.name.removesuffix("_transcribed.tar") for path in (root / "transcribed").iterdir()}
    for path in (root / "validation").rglob("*.parquet"):
        known |= set(pq.read_table(path, columns=["video_id"])["video_id"].to_pylist())
    assert known == set(truth)
    assert summary["videos"] == len(truth)
    assert summary["rows"] == query(root, "SELECT count(*) FROM transcription_results")[0][0]


def test_right_tars_hold_the_audio_that_the_truth_names(demo: Any) -> None:
    root, truth, _ = demo
    splits = 0
    for video_id, entry in truth.items():
        if entry["affected"] or not entry["audio_md5"]:
            continue
        held = flac_md5s(root / "transcribed" / f"{video_id}_transcribed.tar")
        assert sorted(held.values()) == sorted(entry["audio_md5"].values()), video_id
        splits += sum("_split" in name and held[name] == entry["audio_md5"].get(name) for name in held)
    assert splits > 5


def test_audio_is_named_for_every_row_that_ends_validated(demo: Any) -> None:
    for video_id, entry in demo[1].items():
        validated = [row for row in entry["rows"].values() if row["bucket"] == "validated"]
        assert len(entry["audio_md5"]) == len(validated), video_id
        assert len(set(entry["audio_md5"].values())) == len(validated), video_id


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("forced_cuts", [3, 1]), ("silent_pieces", [2, 1]), ("one_piece_left", [2, 1, 1]),
        ("silent_original", [2, 1, 0]),
        ("trimmed_originals", [2, 1, 1]), ("other_rates", [2, 2, 2, 1]), ("stereo_and_24_bit", [2, 2, 1]),
        ("quiet_segment", [2, 1, 1]), ("tar_missing", [1, 1, 1]),
    ],
)  # fmt: skip
def test_expected_pieces_of_damages(name: str, counts: list[int], drafts: dict[str, Draft]) -> None:
    found = [len(recording.pieces) for recording in drafts[name].originals.values()]
    assert [min(count, 2) if name != "forced_cuts" else count for count in found] == counts


def test_one_video_has_more_than_ten_splits(drafts: dict[str, Draft]) -> None:
    assert len(drafts["many_splits"].originals["talk"].pieces) >= 12


def test_collapsed_tars_hold_the_unsplit_audio_and_the_last_writers_text(demo: Any, drafts: dict[str, Draft]) -> None:
    draft = drafts["collapsed_splits"]
    with tarfile.open(demo[0] / "transcribed" / "collapsed-splits_transcribed.tar") as opened:
        text = json.load(opened.extractfile("collapsed-splits/transcriptions/talk.json"))
        flac = opened.extractfile("collapsed-splits/segments/talk.flac").read()
    last = [row for row in draft.rows if row.original == "talk"][-1]
    assert len(draft.rows) > 2
    assert (text["segment_file"], text["transcription"]) == (last.segment_file, last.text)
    assert flac == draft.originals["talk"].flac == draft.raw["talk"]


def healthy_tar() -> bytes:
    return demo_tars.tar_bytes((f"v/segments/{name}.flac", name.encode() * 900) for name in "abcd")


@pytest.mark.parametrize(
    ("spoil", "members"),
    [
        (demo_tars.cut_at_boundary, 3), (demo_tars.shortened, 2), (demo_tars.no_members, 0),
        (demo_tars.trailing_data, 4), (demo_tars.with_symlink, 5), (demo_tars.with_unsafe_path, 5),
    ],
)  # fmt: skip
def test_spoiled_tars_that_tarfile_reads_without_a_word(spoil: Any, members: int) -> None:
    with tarfile.open(fileobj=io.BytesIO(spoil(healthy_tar()))) as opened:
        assert len(opened.getnames()) == members


@pytest.mark.parametrize("spoil", [demo_tars.cut_mid_member, demo_tars.garbage, demo_tars.no_bytes])
def test_spoiled_tars_that_tarfile_does_not_read(spoil: Any) -> None:
    with pytest.raises(tarfile.ReadError), tarfile.open(fileobj=io.BytesIO(spoil(healthy_tar()))) as opened:
        opened.extractall("/nonexistent", filter="data")
        opened.getnames()


def test_bad_checksum_and_bad_size_hide_members() -> None:
    tar = healthy_tar()
    header = demo_tars.bad_size(tar)[1536:2048]
    assert tarfile.TarInfo.frombuf(header, "utf-8", "strict").size < 0
    with pytest.raises(tarfile.InvalidHeaderError):
        tarfile.TarInfo.frombuf(demo_tars.bad_checksum(tar)[1536:2048], "utf-8", "strict")


def test_spoiled_flacs() -> None:
    recording = compose(Layout(((S, 100),)), 1, np.random.default_rng(3))
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.read(io.BytesIO(cut_short(recording.flac)))
    lying = lying_md5(recording.flac)
    assert lying[26:42] != recording.flac[26:42]
    assert np.array_equal(soundfile.read(io.BytesIO(lying))[0], soundfile.read(io.BytesIO(recording.flac))[0])


def test_bad_sound_is_bad_in_the_way_that_its_damage_says(drafts: dict[str, Draft]) -> None:
    def level(damage: str, original: str) -> Any:
        return drafts[damage].originals[original].samples / 2**15

    assert 20 * math.log10(np.sqrt(np.mean(level("quiet_segment", "talk2") ** 2))) < -45
    assert np.mean(np.abs(level("clipped_segment", "talk2")) >= 0.999) > 0.01
    assert not level("silent_segment", "hush").any()
    assert len(level("short_segment", "blip")) < 0.3 * 16000


def test_texts_of_ordinary_rows_are_as_long_as_their_audio(drafts: dict[str, Draft]) -> None:
    rows = [row for name in ("many_splits", "tar_missing", "other_rates") for row in drafts[name].rows]
    rates = [len(row.text.replace(" ", "")) / row.duration_s for row in rows if row.duration_s]
    assert len(rates) > 20
    assert 12 < min(rates) < max(rates) < 16.5


def test_off_by_one_texts_and_uneven_lengths_are_what_a_detector_needs(drafts: dict[str, Draft]) -> None:
    rows = drafts["off_by_one_texts"].rows
    lengths = np.log([row.duration_s for row in rows])
    chars = np.log([len(row.text.replace(" ", "")) for row in rows])
    assert len(rows) >= 8
    assert lengths.std() >= 0.25
    assert np.corrcoef(chars[:-1], lengths[1:])[0, 1] > max(0.75, np.corrcoef(chars, lengths)[0, 1] + 0.25)


def test_historical_shards_differ_in_columns_and_all_hold_rows(demo: Any) -> None:
    shards = sorted((demo[0] / "validation").rglob("*.parquet"))
    columns = [tuple(pq.read_schema(path).names) for path in shards]
    assert len(set(columns)) >= 4
    assert any("status" not in names for names in columns)
    assert all(ds.dataset(path).count_rows() for path in shards)
    in_shards = [path for path in shards if "history-in-two-shards" in pq.read_table(path)["video_id"].to_pylist()]
    assert len(in_shards) >= 2


def test_same_arguments_give_the_same_corpus_and_another_seed_another(demo: Any, tmp_path: Path) -> None:
    root, truth, summary = demo
    assert write(Args(str(tmp_path / "again"))) == summary
    assert digests(tmp_path / "again") == digests(root)
    for table in ("videos", "transcription_results"):
        assert query(root, f"SELECT * FROM {table}") == query(tmp_path / "again", f"SELECT * FROM {table}")
    write(Args(str(tmp_path / "other"), seed=2))
    other = json.loads((tmp_path / "other" / "truth.json").read_text("utf-8"))
    assert other["tar-missing"]["audio_md5"] != truth["tar-missing"]["audio_md5"]
    assert other["tar-missing"]["affected"] == truth["tar-missing"]["affected"]


def test_a_finished_demo_is_left_alone_and_an_unfinished_one_is_written_again(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    summary = write(Args(str(tmp_path), size=1), lambda done, size: seen.append((done, size)))
    size = len(DAMAGES)
    assert seen == [(done, size) for done in range(1, size + 1)]
    assert summary["videos"] == summary["damages"] == size
    assert "raised from 1" in summary["note"]
    tar = tmp_path / "raw" / "tar-missing.tar"
    tar.write_bytes(b"touched")
    assert write(Args(str(tmp_path), size=1)) == summary
    assert tar.read_bytes() == b"touched"
    (tmp_path / "truth.json").unlink()
    assert write(Args(str(tmp_path), size=1)) == summary
    assert tar.read_bytes() != b"touched"


def test_larger_demos_add_ordinary_videos_some_of_them_collapsed(tmp_path: Path) -> None:
    write(Args(str(tmp_path), size=250))
    truth = json.loads((tmp_path / "truth.json").read_text("utf-8"))
    ordinary = [entry for entry in truth.values() if entry["damage"] in ([], ["collapsed_splits"])]
    share = sum(bool(entry["damage"]) for entry in ordinary) / len(ordinary)
    assert len(truth) == 250
    assert 0.01 < share < 0.15


@pytest.mark.parametrize("what", ["foreign file", "foreign demo.json", "a file", "below a file", "size", "runs"])
def test_folders_and_sizes_that_do_not_do_are_refused_in_one_line(what: str, tmp_path: Path) -> None:
    root, size = tmp_path / "corpus", 1
    if what == "foreign file":
        root.mkdir()
        (root / "thesis.txt").write_text("mine")
    elif what == "foreign demo.json":
        root.mkdir()
        (root / "demo.json").write_text('["mine"]')
    elif what == "a file":
        root.write_text("mine")
    elif what == "below a file":
        tmp_path.joinpath("file").write_text("mine")
        root = tmp_path / "file" / "corpus"
    elif what == "size":
        size = 0
    else:
        (root / "workspace").mkdir(parents=True)
        (root / "demo.json").write_text('{"made_with": {"seed": 9, "size": 500, "version": 1}}')
    before = digests(tmp_path)
    with pytest.raises(ValueError, match=r"demo|name a folder") as caught:
        write(Args(str(root), size=size))
    assert "\n" not in str(caught.value)
    assert digests(tmp_path) == before
