"""Historical CSVs of generations with every kind of dirt, and what must become of each row, known as it is composed."""

from __future__ import annotations

import csv
import io
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

DRAFT, LINK, ESSAY, EVALUATION = CSVS = (
    "draft_generation_results.csv",
    "link_generation_results.csv",
    "essay_generation_results.csv",
    "evaluation_results.csv",
)
HEADERS = {
    DRAFT: "draft_task_id combo_id draft_template_id generation_model generation_status generation_timestamp "
    "response_file response_size_bytes",
    LINK: "response_file generation_timestamp generation_status link_template_id generation_model combo_id "
    "link_task_id",
    ESSAY: "essay_task_id combo_id essay_template_id generation_model generation_status generation_timestamp "
    "response_file extra",
    EVALUATION: "evaluation_task_id essay_task_id generation_task_id combo_id evaluation_template evaluation_model "
    "evaluation_status evaluation_timestamp evaluation_response_file",
}
MODELS = ("deepseek/deepseek-r1:free", "gemini_2.5_flash", "qwen/qwq-32b:free")
BORN = datetime(2025, 7, 1, tzinfo=UTC)
OK = ""
SHARES = {DRAFT: 0.25, LINK: 0.05, ESSAY: 0.3}


@dataclass
class World:
    """Where the CSVs and responses are, and the reason of each row (\"\" = a document), by CSV and place."""

    root: Path
    expected: dict[str, list[str]] = field(default_factory=dict)

    @property
    def cross(self) -> Path:
        return self.root / "cross"

    @property
    def roots(self) -> tuple[Path, Path]:
        return self.root / "gen", self.root / "gen2"

    @property
    def rows(self) -> int:
        return sum(map(len, self.expected.values()))

    def reasons(self, name: str | None = None) -> Counter[str]:
        """Return how many rows must end with each reason, of one CSV or of all."""
        wanted = [name] if name else CSVS
        return Counter(reason for csv_ in wanted for reason in self.expected[csv_])

    def arguments(self, out: Path, *more: str, run: str = "R") -> list[str]:
        """Return the arguments of a backfill that writes below `out`."""
        roots = [f"--gen-root={root}" for root in self.roots]
        return ["documents", f"--cross-root={self.cross}", *roots, f"--docs-root={out / 'docs'}",
                f"--db=sqlite:///{out / 'db' / 'index.sqlite'}", f"--bad-list={out / 'bad.csv'}",
                f"--workspace={out / 'work'}", f"--run-id={run}", "--quiet", *more]  # fmt: skip


@dataclass
class Row:
    """A row as it is composed: its values by column, its response (None: no file), what must become of it."""

    values: dict[str, str]
    response: bytes | None
    expected: str = OK
    short: int = 0
    extra: tuple[str, ...] = ()
    special: str = ""


Dirt = Callable[[Row, random.Random], None]


def _column(name: str, wanted: str) -> Callable[[Row], str]:
    return lambda row: next(column for column in row.values if column.endswith(wanted))


def _set(ending: str, value: str, reason: str) -> Dirt:
    def spoil(row: Row, lot: random.Random) -> None:
        column = next(column for column in row.values if column.endswith(ending))
        row.values[column] = value
        row.expected = reason

    return spoil


def _more(row: Row, lot: random.Random) -> None:
    row.extra, row.expected = ("one", "two"), "invalid_row"


def _fewer(row: Row, lot: random.Random) -> None:
    row.short, row.expected = 99, "invalid_row"


def _special(kind: str, reason: str) -> Dirt:
    def spoil(row: Row, lot: random.Random) -> None:
        row.special, row.expected = kind, reason

    return spoil


def _bytes(data: bytes, reason: str) -> Dirt:
    def spoil(row: Row, lot: random.Random) -> None:
        assert row.response is not None
        row.response, row.expected = data + row.response, reason

    return spoil


DIRT: dict[str, Dirt] = {
    "more cells": _more,
    "fewer cells": _fewer,
    "no timestamp": _set("timestamp", "", "invalid_row"),
    "no time": _set("timestamp", "yesterday", "invalid_row"),
    "a space before": _set("timestamp", " 2025-09-06T00:00:00", "invalid_row"),
    "no model": _set("model", "", "invalid_row"),
    "failed": _set("status", "failed", "not_successful"),
    "upper case": _set("status", "Success", "not_successful"),
    "a space behind": _set("status", "success ", "not_successful"),
    "absolute": _set("response_file", "/etc/passwd", "unsafe_path"),
    "leaves": _set("response_file", "../outside.txt", "unsafe_path"),
    "link out": _set("response_file", "way_out/outside.txt", "unsafe_path"),
    "no name": _set("response_file", "", "missing_response_file"),
    "folder": _set("response_file", "responses", "missing_response_file"),
    "missing": _special("missing", "missing_response_file"),
    "latin-1": _bytes("é".encode("latin-1"), "undecodable_response"),
    "utf-16": _bytes("\ufeffé".encode("utf-16"), "undecodable_response"),
    "crlf": _bytes(b"a\r\nb\r", OK),
    "mark": _bytes(b"\xef\xbb\xbf", OK),
    "second root": _special("second", OK),
    "inside": _special("dotted", OK),
}


def write(root: Path, rows: int, seed: int = 1, dirty: float = 0.2) -> World:
    """Compose so many rows; about a share `dirty` of them have dirt of some kind."""
    world = World(root)
    _prepare(world)
    lot = random.Random(seed)
    counts = {name: int(rows * share) for name, share in SHARES.items()}
    counts[EVALUATION] = rows - sum(counts.values())
    drafts = _drafts(counts[DRAFT], counts[LINK], lot, dirty)
    essays = _essays(counts[ESSAY], drafts, lot, dirty)
    evaluations = _evaluations(counts[EVALUATION], drafts, essays, lot, dirty)
    number = 0
    for name, some in ((DRAFT, drafts[DRAFT]), (LINK, drafts[LINK]), (ESSAY, essays), (EVALUATION, evaluations)):
        for row in some:
            _respond(world, row, number)
            number += 1
        world.expected[name] = [row.expected for row in some]
        _write_csv(
            world.cross / name, HEADERS[name].split(), some, mark=name == ESSAY, end="\r\n" if name == LINK else "\n"
        )
    return world


def _prepare(world: World) -> None:
    world.cross.mkdir(parents=True)
    for gen in world.roots:
        (gen / "responses").mkdir(parents=True)
    (world.roots[0] / "links_prompts").mkdir()
    (world.root / "outside.txt").write_text("not to be read")
    (world.roots[0] / "way_out").symlink_to(world.root)


def _when(hours: float, lot: random.Random) -> str:
    moment = BORN + timedelta(hours=hours)
    kind = lot.randrange(4)
    if kind == 0:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    if kind == 1:
        return (moment + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S.%f+02:00")
    return moment.strftime("%Y-%m-%dT%H:%M:%S" if kind == 2 else "%Y-%m-%d %H:%M:%S.%f")


def _text(what: str, number: int) -> bytes:
    return f"{what} {number}\n{'lorem ipsum dolor sit amet ' * (3 + number % 40)}\n".encode()


def _row(name: str, number: int, hours: float, lot: random.Random, **given: str) -> Row:
    kind = name.partition("_")[0]
    stem = {DRAFT: "generation", LINK: "generation", ESSAY: "generation", EVALUATION: "evaluation"}[name]
    values = dict.fromkeys(HEADERS[name].split(), "")
    template = "evaluation_template" if name == EVALUATION else f"{kind}_template_id"
    file = "evaluation_response_file" if name == EVALUATION else "response_file"
    values |= {f"{kind}_task_id": f"{kind}-{number}", template: f"{kind}-template-{number % 7}"}
    values |= {f"{stem}_status": "success", f"{stem}_timestamp": _when(hours, lot), file: f"{kind}-{number}.txt"}
    values |= given
    values[f"{stem}_model"] = values[f"{stem}_model"] or MODELS[number % 3]
    return Row(values, _text(kind, number))


def _spoilt(row: Row, lot: random.Random, dirty: float) -> bool:
    """Spoil a row in some way, perhaps; return whether it can no longer be a document."""
    if lot.random() < dirty:
        DIRT[lot.choice(list(DIRT))](row, lot)
    return row.expected != OK


def _drafts(drafts: int, links: int, lot: random.Random, dirty: float) -> dict[str, list[Row]]:
    """Compose drafts and links: half of a hundred repeat the bytes of an earlier one, and are known as it."""
    made: dict[str, list[Row]] = {DRAFT: [], LINK: []}
    healthy: list[Row] = []
    for name, count in ((DRAFT, drafts), (LINK, links)):
        for number in range(count):
            combo = f"combo_v1_{number // 4:012x}" if number % 10 else f"combo_{number // 4:03d}"
            row = _row(name, number, 24 * (number % 5) + lot.randrange(3), lot, combo_id=combo)
            if number % 50 == 7:
                row.values[f"{name.partition('_')[0]}_task_id"] += ',combo_v1|"quoted"\nand on a line of its own'
            if not _spoilt(row, lot, dirty):
                if healthy and lot.random() < 0.02:
                    row.response, row.expected = lot.choice(healthy).response, "duplicate_same_content"
                elif row.response is not None:
                    healthy.append(row)
            made[name].append(row)
    return made


def _known(drafts: dict[str, list[Row]]) -> list[tuple[str, Row]]:
    """Return the drafts that may be pointed to: documents, and those that are known as one."""
    fine = (OK, "duplicate_same_content")
    return [(name, row) for name, rows in drafts.items() for row in rows if row.expected in fine]


def _essays(count: int, drafts: dict[str, list[Row]], lot: random.Random, dirty: float) -> list[Row]:
    """Compose essays; one in thirty is before all drafts, one in thirty of a combo without drafts."""
    known, made = _known(drafts), []
    for number in range(count):
        _, draft = lot.choice(known)
        combo, model, hours = draft.values["combo_id"], draft.values["generation_model"], 24.0 * 30 + number % 100
        lost = lot.randrange(30)
        if lost == 0:
            hours = -24.0
        elif lost == 1:
            combo = f"combo_of_nobody_{number}"
        row = _row(ESSAY, number, hours, lot, combo_id=combo, generation_model=model)
        if not _spoilt(row, lot, dirty) and lost < 2:
            row.expected = "unresolved_parent"
        made.append(row)
    return made


def _evaluations(
    count: int, drafts: dict[str, list[Row]], essays: list[Row], lot: random.Random, dirty: float
) -> list[Row]:
    """Compose evaluations: of an essay, of a draft by either column, of what is no document, of nothing."""
    known, lost_essays = _known(drafts), [row for row in essays if row.expected != OK and row.values["essay_task_id"]]
    fine = [row for row in essays if row.expected == OK]
    made = []
    for number in range(count):
        essay, draft, expected = "", "", OK
        name, target = lot.choice(known)
        task = target.values[f"{name.partition('_')[0]}_task_id"]
        way = lot.randrange(20)
        if way < 11 and fine:
            essay = lot.choice(fine).values["essay_task_id"]
        elif way < 14:
            draft = task
        elif way < 16:
            essay, draft = "essay-of-nobody", task
        elif way < 17 and lost_essays:
            essay, expected = lot.choice(lost_essays).values["essay_task_id"], "unresolved_target"
        elif way < 18:
            essay, draft, expected = "essay-of-nobody", "draft-of-nobody", "unresolved_target"
        elif way < 19:
            expected = "unresolved_target"
        else:
            draft = task
        row = _row(EVALUATION, number, 24 * 60, lot, essay_task_id=essay, generation_task_id=draft,
                   combo_id=target.values["combo_id"] if number % 3 else "")  # fmt: skip
        if not _spoilt(row, lot, dirty):
            row.expected = expected
        made.append(row)
    return made


def _respond(world: World, row: Row, number: int) -> None:
    """Write the response of a row, where its name is still the one that it was composed with."""
    column = next(column for column in row.values if column.endswith("response_file"))
    file = row.values[column]
    if row.response is None or not file.endswith(".txt") or "/" in file or row.special == "missing":
        return
    folder = f"responses/{number // 1000:04d}"
    gen = world.roots[row.special == "second"]
    (gen / folder).mkdir(exist_ok=True)
    (gen / folder / file).write_bytes(row.response)
    row.values[column] = f"{folder}/../{number // 1000:04d}/{file}" if row.special == "dotted" else f"{folder}/{file}"


def _write_csv(path: Path, header: list[str], rows: list[Row], mark: bool, end: str) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end)
    writer.writerow(header)
    for number, row in enumerate(rows):
        cells = [row.values[name] for name in header]
        needed = len(header) - (header[-1] in ("response_size_bytes", "extra"))
        if row.short:
            cells = cells[: needed - 1]
        elif number % 9 == 0:
            cells = cells[:needed]  # an old row, from before the last column was there
        writer.writerow([*cells, *([""] * (len(header) - len(cells)) if row.extra else ()), *row.extra])
    path.write_bytes((b"\xef\xbb\xbf" if mark else b"") + text.getvalue().encode())
