"""The whole story of a large library: 13,464 keys in many spellings, 12,116 files, 10,704 of them pending, in 6 parts.

    python benchmarks/story.py [--workers 2]

The files are 0.3 s of noise each; one in a thousand is no audio. Of the keys 3,817 name no file, the others 5,622
files, most of them twice; 1,412 files are embedded by another program. `gaps`, `embed-chunks` with --library twice, and
`gaps` are commands of their own, start included. After each the counts must add up: pending = missing_meta +
missing_embedding_ref, parts = pending / 2,000 rounded up; in the end what is no audio is pending, no path has more keys
than before, and a new one has one. Exit 1 where that does not hold.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from resplice.transforms.paths import normal

FILES, NO_META, NO_REF, KEYS, DEAD = 12_116, 6_494, 4_210, 13_464, 3_817
BAD_EVERY = 1000
SPELLINGS = (
    lambda path: f"{path}/",
    lambda path: path.replace("/music/", "/music//./"),
    lambda path: path.replace("é", "e\u0301"),
)


def lay_out(root: Path) -> int:
    """Write the files and the library; return how many of the pending files are no audio."""
    noise = np.random.default_rng(1)
    files = [str(root / f"music/é {number % 97}/{number // 97}/same stem {number}.wav") for number in range(FILES)]
    bad = set(files[::BAD_EVERY])
    for path in files:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if path in bad:
            Path(path).write_bytes(b"no audio")
        else:
            soundfile.write(path, noise.normal(0, 0.1, 4800), 16000)
    random.Random(1).shuffle(files)
    known = files[NO_META:]
    spelt = [spell(path) for spell in SPELLINGS for path in known][: KEYS - DEAD]
    embedded = set(known[NO_REF:])
    (root / "theirs.npy").write_bytes(b"a vector")
    tracks: dict[str, Any] = {
        key: {"embedding": "theirs.npy"} if normal(key) in embedded else {"title": key} for key in spelt
    }
    tracks |= {f"{root}/old/{number}.wav": {"title": "gone"} for number in range(DEAD)}
    (root / "meta.json").write_text(json.dumps({"tracks": tracks}))
    return len(bad - embedded)


def run(root: Path, *words: str) -> float:
    """Run a command; return its seconds."""
    began = time.monotonic()
    command = [sys.executable, "-m", "resplice.pipelines", *words, "--quiet"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    print(f"{words[0]}: {time.monotonic() - began:.1f} s, exit {done.returncode}", flush=True)
    print("\n".join(line for line in done.stdout.splitlines() if line.startswith("embed-chunks: ")), flush=True)
    if done.returncode not in (0, 3):
        raise SystemExit(done.stderr)
    return time.monotonic() - began


def gap(root: Path) -> dict[str, Any]:
    """Return the counters of a scan."""
    run(root, "gaps", "--music-root", "music", "--library", "meta.json")
    return json.loads((root / "data/pending_embedding_paths.json").read_bytes())  # type: ignore[no-any-return]


def spellings(root: Path) -> Counter[str]:
    """Return how many keys each path has."""
    return Counter(map(normal, json.loads((root / "meta.json").read_bytes())["tracks"]))


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", default="2")
    workers = parser.parse_args().workers
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        bad = lay_out(root)
        keys, before = spellings(root), gap(root)
        chunks = ("embed-chunks", "--library", "meta.json", "--music-root", "music", "--workers", workers)
        run(root, *chunks)
        run(root, *chunks)
        after, now = gap(root), spellings(root)
    names = ("audio_files_scanned", "missing_meta_total", "missing_embedding_ref_total", "pending_embedding_total")
    held = [
        [before[name] for name in names] == [FILES, NO_META, NO_REF, NO_META + NO_REF],
        len(before["chunk_files"]) == -(-(NO_META + NO_REF) // 2000),
        (before["stale_meta_paths_total"], sum(keys.values())) == (DEAD, KEYS),
        (after["pending_embedding_total"], after["ok"]) == (bad, FILES - bad),
        after["duplicate_paths_total"] == before["duplicate_paths_total"],
        all(count == keys.get(path, 1) for path, count in now.items()),
    ]
    print(f"{bad} files are no audio; {sum(now.values()):,} keys; what must hold: {held}")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
