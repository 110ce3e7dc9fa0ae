"""Rows that are decided, held against the index and made ready: lines of the bad list, rows and folders of documents.

What a step leaves for the next one stands below `live/` of the stage, a file a block, and is removed in the end.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from resplice.io import csvs, doctree, documents_evidence, remembered, responses
from resplice.io.backfill import DECIDED, Places
from resplice.io.context import Context
from resplice.io.csvs import Block
from resplice.io.index import Index, Line
from resplice.io.local import prune
from resplice.io.parcels import Parcels
from resplice.transforms import provenance
from resplice.transforms.documents import (
    LINK,
    SOURCES,
    Row,
    folder,
    is_another,
    iso,
    logical_parts,
    shown,
    small_of,
    ticks,
)
from resplice.transforms.lineage import Decision, collision
from resplice.transforms.records import Exit, Reason, Refusal, UserError

STAGE = "documents"
BAD = ("source_csv", "reason", "row_index", "task_id", "combo_id", "template_id", "model_id", "response_file",
       "timestamp", "detail")  # fmt: skip
BLOCKS = "blocks"
_AGAIN = "run the same command again"


def _key(context: Context, name: str) -> str:
    return f"{context.stage(STAGE)}/live/{context.run.seq:04d}-blocks/{name}"


def left(context: Context, name: str) -> list[dict[str, Any]]:
    """Return what a step left under a name, [] if nothing."""
    try:
        data = context.workspace.store.read(_key(context, name))
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in data.splitlines()]


def _leave(context: Context, name: str, lines: Sequence[dict[str, Any]]) -> None:
    if lines:
        data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        context.workspace.store.replace(_key(context, name), data, None)


def clear(context: Context) -> None:
    """Remove what steps left."""
    store = context.workspace.store
    for head in list(store.list(_key(context, ""))):
        store.delete(head.key)
    prune(context.workspace, _key(context, "").rstrip("/"))


class Settle:
    """Hold the decided rows of a block against the index: its bad rows, and the documents that are still to make."""

    def __init__(self, context: Context, places: Places, parcels: Parcels) -> None:
        self._context = context
        self._places = places
        self._parcels = parcels

    @cached_property
    def _memory(self) -> remembered.Known:
        """What is remembered of the files that are there, so that those that are as they were are not read."""
        return remembered.known(self._context.workspace, documents_evidence.KIND, self._places.docs)

    def __call__(self, group: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[dict[str, Any]]:
        """Settle one block, and yield its counts."""
        name, sides = group
        (block,) = sides[BLOCKS]
        decisions = _one_each(block, self._parcels.get(sides[DECIDED], Decision.of))
        rows = list(csvs.read(block))
        made = [(row, d) for row in rows if not (d := decisions[row.number]).reason]
        out, changed, todo, known = self._against_index(made)
        decisions |= {decision.ref[1]: decision for decision in (*out, *changed)}
        bad = [_bad(row, d) for row in rows if (d := decisions[row.number]).reason]
        _leave(self._context, f"{name}.bad", bad)
        _leave(self._context, f"{name}.made", [self._line(*some) for some in todo])
        reasons = Counter(line["reason"] for line in bad)
        yield {
            "block": name, "source": block.layout.source, "rows": len(rows), "known": known, "made": len(todo),
            "new": sum(line is None for *_, line in todo), "reasons": dict(sorted(reasons.items())),
            "out": [list(decision) for decision in out],
        }  # fmt: skip

    def _against_index(
        self, made: Sequence[tuple[Row, Decision]]
    ) -> tuple[list[Decision], list[Decision], list[tuple[Row, Decision, Line | None]], int]:
        """Return what can be no document (its id is of another one there, or its row made another one of this run),
        what has other bytes there, what is to be made (and its line there, if it has one), and how many are there.
        """
        if not self._places.indexed:
            return [], [], [(row, decision, None) for row, decision in made], 0
        index = Index(self._places.db)
        there = index.known([decision.doc_id for _, decision in made])
        keys = index.with_keys([decision.logical_id for _, decision in made])
        own = self._of_this_run(index, [row for row, decision in made if decision.doc_id not in there])
        out, changed, known = [], [], 0
        todo: list[tuple[Row, Decision, Line | None]] = []
        for row, decision in made:
            line, key = there.get(decision.doc_id), keys.get(decision.logical_id)
            parts = logical_parts(row.source, row.combo_id, decision.parent_id, row.template, row.model)
            if key and is_another(key, parts):
                out.append(collision(decision.ref, decision.logical_id, f"document {key['doc_id']} of the index"))
            elif line is None and (other := own.get(row.key)):
                out.append(_moved(decision, other))
            elif line is None:
                todo.append((row, decision, None))
            elif small_of(line).get("row_key") != row.key:
                out.append(collision(decision.ref, decision.doc_id, f"a row of run {line['run_id']}"))
            elif line["content_hash"] != decision.sha256:
                changed.append(_changed(decision, line))
            else:
                known += 1
                if not doctree.is_whole(self._places.docs, line, self._memory):
                    todo.append((row, decision, line))
        return out, changed, todo, known

    def _of_this_run(self, index: Index, rows: Sequence[Row]) -> dict[str, Line]:
        """Return the documents that rows of one CSV became under this run before, by row key."""
        if not rows:
            return {}
        stage = SOURCES[rows[0].source].stage
        return index.of_run(self._context.run.id, stage, {row.task_id for row in rows})

    def _line(self, row: Row, decision: Decision, there: Line | None) -> dict[str, Any]:
        """Return a document that is to be made: its row in the index (as it is `there`), and where its files come from.

        The prompt of one that is made again is its own, if it still has it.
        """
        stage = SOURCES[row.source].stage
        doc_dir = folder(stage, decision.logical_id, decision.doc_id)
        prompt = responses.prompt(self._places.roots, row.task_id) if row.source == LINK else ""
        small = {
            "source_csv": SOURCES[row.source].csv, "row_key": row.key, "combo_id": row.combo_id,
            "response_file": row.file, "timestamp": row.timestamp,
        }  # fmt: skip
        line: Line = {
            "doc_id": decision.doc_id,
            "logical_key_id": decision.logical_id,
            "stage": stage,
            "task_id": row.task_id,
            "parent_doc_id": decision.parent_id or None,
            "template_id": row.template,
            "model_id": row.model,
            "run_id": self._context.run.id,
            "prompt_path": f"{doc_dir}/{doctree.PROMPT}" if prompt else None,
            "parser": None,
            "status": "ok",
            "created_at": iso(ticks(row.timestamp) or 0),
            "doc_dir": doc_dir,
            "raw_chars": decision.chars,
            "parsed_chars": decision.chars,
            "content_hash": decision.sha256,
            "meta_small": provenance.line(small),
        }
        if there:
            line |= {name: there[name] for name in ("prompt_path", "meta_small")}
            kept = f"{self._places.docs}/{doc_dir}/{doctree.PROMPT}"
            prompt = (kept if Path(kept).is_file() else prompt) if there["prompt_path"] else ""
        return {"row": line, "file": row.file, "root": decision.root, "prompt": prompt, "new": there is None}


def _one_each(block: Block, decisions: Iterable[Decision]) -> dict[int, Decision]:
    """Return the decision of each row of a block by its index. RuntimeError unless each row has just one."""
    given = list(decisions)
    found = {decision.ref[1]: decision for decision in given}
    if not len(found) == len(given) == block.rows:
        raise RuntimeError(f"block {block.name} has {block.rows} rows, but {len(given)} decisions of {len(found)} rows")
    return found


def _changed(decision: Decision, line: Line) -> Decision:
    detail = f"document {line['doc_id']} has the sha256 {line['content_hash']}, the file {decision.sha256}"
    return Decision(decision.ref, str(Reason.CONTENT_CHANGED), f"{detail}; a new --run-id takes it")


def _moved(decision: Decision, other: Line) -> Decision:
    detail = f"document {other['doc_id']} of this run came from this row; its parent or content changed"
    return Decision(decision.ref, str(Reason.CONTENT_CHANGED), f"{detail}; a new --run-id takes it")


def _bad(row: Row, decision: Decision) -> dict[str, Any]:
    cells = (SOURCES[row.source].csv, decision.reason, row.number, row.task_id, row.combo_id, row.template, row.model,
             row.file, row.timestamp, decision.detail)  # fmt: skip
    line = {name: shown(cell) if isinstance(cell, str) else cell for name, cell in zip(BAD, cells, strict=True)}
    return {**line, "key": shown(row.key)}


def bad_list(context: Context, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the bad rows of the named blocks, in their order."""
    for name in names:
        yield from left(context, f"{name}.bad")


def bad_csv(lines: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the bad list as CSV."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, BAD, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()


class Write:
    """Make the folders of a block's documents; `shop` is where they are made before they get their names."""

    def __init__(self, context: Context, places: Places, shop: str) -> None:
        self._context = context
        self._places = places
        self._shop = shop

    def __call__(self, name: str) -> Iterator[Any]:
        """Make the folders of one block."""
        for line in left(self._context, f"{name}.made"):
            self._make(line)
        yield from ()

    def _make(self, line: Mapping[str, Any]) -> None:
        row = line["row"]
        try:
            _, path = responses.find([self._places.roots[line["root"]]], line["file"])
            raw, prompt = responses.read(path), responses.read(line["prompt"]) if line["prompt"] else None
        except (Refusal, FileNotFoundError) as error:
            raise UserError(f"a response is gone since it was hashed ({error}); {_AGAIN}", Exit.AGAIN) from None
        if provenance.sha256(raw) != row["content_hash"]:
            raise UserError(f"{path} changed since it was hashed; {_AGAIN}", Exit.AGAIN)
        files = {doctree.RAW: raw, doctree.PARSED: raw} | ({doctree.PROMPT: prompt} if prompt is not None else {})
        small = json.loads(row["meta_small"])
        facts = {n: row[n] for n in _OF_METADATA} | small
        files[doctree.METADATA] = (provenance.line(facts) + "\n").encode()
        doctree.place(self._places.docs, row["doc_dir"], self._shop, files)


_OF_METADATA = ("doc_id", "logical_key_id", "stage", "task_id", "parent_doc_id", "template_id", "model_id", "run_id",
                "content_hash", "created_at", "raw_chars", "parsed_chars")  # fmt: skip
