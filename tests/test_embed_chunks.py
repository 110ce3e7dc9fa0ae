from pathlib import Path

import pytest

from resplice.pipelines import embed_chunks
from resplice.transforms.records import UserError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(pattern: str, start: int = 1, end: int = 0) -> list[str]:
    return [path.name for path in embed_chunks.chunks(pattern, start, end)]


def test_parts_come_in_the_order_of_their_numbers() -> None:
    for name in ("p.part999.txt", "p.part1000.txt", "p.part002.txt", "p.txt", "p.part003.txt.bak"):
        Path(name).touch()
    Path("p.part004.txt").mkdir()
    assert names("p.part*.txt") == ["p.part002.txt", "p.part999.txt", "p.part1000.txt"]
    assert names("p.part*.txt", 2) == ["p.part999.txt", "p.part1000.txt"]
    assert names("p.part*.txt", 2, 2) == ["p.part999.txt"]


@pytest.mark.parametrize(
    ("pattern", "start", "end", "said"),
    [
        ("none*.txt", 1, 0, "matches no file"),
        ("p*.txt", 0, 0, "2 files match"),
        ("p*.txt", 3, 0, "give 1 to 2"),
        ("p*.txt", 2, 1, "the start before the end"),
        ("p*.txt", 1, 3, "give 1 to 2"),
        ("**/p1.txt", 1, 0, "their checkpoints would be one"),
    ],
)
def test_what_selects_nothing_or_too_much_is_exit_2(pattern: str, start: int, end: int, said: str) -> None:
    Path("x").mkdir()
    for name in ("p1.txt", "p2.txt", "x/p1.txt"):
        Path(name).touch()
    with pytest.raises(UserError, match=said) as raised:
        embed_chunks.chunks(pattern, start, end)
    assert raised.value.exit_code == 2


def work(codes: dict[str, int]) -> tuple[int, list[str], list[str]]:
    """Return the exit code, what was embedded, and what was said, where the parts end with these codes."""
    done: list[str] = []
    said: list[str] = []

    def embed(part: Path, checkpoint: Path) -> int:
        done.append(str(checkpoint))
        return codes[part.name]

    code = embed_chunks.each(
        [Path(name) for name in codes], Path("d"), embed, lambda: 2000 - 700 * len(done), said.append
    )
    return code, done, said


def test_each_part_has_its_checkpoint_and_the_gap_is_told_after_it() -> None:
    code, done, said = work({"p.part001.txt": 0, "p.part002.txt": 0})
    assert (code, done) == (0, ["d/p.part001.json", "d/p.part002.json"])
    assert said == [
        "embed-chunks: 2 parts; 2,000 files pending",
        "embed-chunks: p.part001.txt (1 of 2): 2,000 → 1,300 pending (-700)",
        "embed-chunks: p.part002.txt (2 of 2): 1,300 → 600 pending (-700)",
    ]


@pytest.mark.parametrize(
    ("codes", "code", "worked"), [((3, 0), 3, 2), ((0, 3, 0), 3, 3), ((0, 75, 0), 75, 2), ((1, 0), 1, 1)]
)
def test_a_part_of_bad_files_does_not_end_the_work_but_a_failure_does(
    codes: tuple[int, ...], code: int, worked: int
) -> None:
    found, done, _ = work({f"{number}.txt": code for number, code in enumerate(codes)})
    assert (found, len(done)) == (code, worked)
