"""Look at an index of documents.

    resplice documents show 3zde0r6h5tbyx4vy
    resplice documents lineage 3zde0r6h5tbyx4vy
    resplice documents find --stage essay --model gemini_25_pro --json

Reads   the table documents. Writes nothing.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from resplice.io.index import FILTERS, Index, Line
from resplice.pipelines.documents_args import DocumentsFind, DocumentsLineage, DocumentsShow
from resplice.pipelines.indexed import url_of
from resplice.pipelines.show import cell, table
from resplice.transforms import provenance
from resplice.transforms.documents import small_of
from resplice.transforms.records import Exit, UserError

_FOUND = ("doc_id", "stage", "task_id", "template_id", "model_id", "run_id", "created_at")
_MOST = 100
_MOST_NAMED = 5


def run(args: Any) -> int:
    """Run the command: documents show, lineage, or find."""
    index = Index(url_of(args.db))
    if not index.exists():
        raise UserError(f"--db {args.db}: there is no index of documents; `resplice documents` makes one")
    if isinstance(args, DocumentsShow):
        return show(index, args)
    if isinstance(args, DocumentsLineage):
        return lineage(index, args)
    assert isinstance(args, DocumentsFind)
    return find(index, args)


def show(index: Index, args: DocumentsShow) -> int:
    """Print the row of one document."""
    line = _one(index, args.doc_id)
    if args.json:
        sys.stdout.write(provenance.document(_opened(line)).decode())
        return Exit.DONE
    if small := small_of(line):
        del line["meta_small"]
    width = max(map(len, (*line, *small)))
    for name, value in {**line, **small}.items():
        print(f"{name:{width}}  {cell(value)}")
    return Exit.DONE


def _one(index: Index, doc_id: str) -> Line:
    line = index.get(doc_id)
    if line is None and (ids := index.of_key(doc_id)):
        named = ", ".join(cell(id_) for id_ in ids[:_MOST_NAMED]) + (", …" if len(ids) > _MOST_NAMED else "")
        raise UserError(f"{doc_id} is a logical key of {len(ids)} document{'s' * (len(ids) != 1)}: {named}")
    if line is None:
        raise UserError(f"there is no document {doc_id!r} in this index; `resplice documents find` lists them")
    return line


def _opened(line: Line) -> Line:
    """Return a row with its small metadata as a value, where it is a JSON object."""
    return {**line, "meta_small": small_of(line) or line["meta_small"]}


def lineage(index: Index, args: DocumentsLineage) -> int:
    """Print the parents of a document, and below it all that comes from it."""
    above = _ancestors(index, _one(index, args.doc_id))
    below = _descendants(index, above[-1]["doc_id"])
    if args.json:
        sys.stdout.write(provenance.document(_nested(above, below)).decode())
        return Exit.DONE
    for text in _drawn(above, below):
        print(text)
    return Exit.DONE


def _ancestors(index: Index, line: Line) -> list[Line]:
    """Return a document after its parents, the first of them first; a parent that is not there ends them."""
    found, seen = [line], {line["doc_id"]}
    while (parent := found[0]["parent_doc_id"]) and parent not in seen and (above := index.get(parent)):
        seen.add(parent)
        found.insert(0, above)
    return found


def _descendants(index: Index, doc_id: str) -> dict[str, list[Line]]:
    """Return the children of a document, their children, and so on, by parent: one question a generation."""
    below: dict[str, list[Line]] = defaultdict(list)
    generation, seen = [doc_id], {doc_id}
    while generation:
        children = [line for line in index.children(generation) if line["doc_id"] not in seen]
        for line in children:
            below[line["parent_doc_id"]].append(line)
        generation = [line["doc_id"] for line in children]
        seen.update(generation)
    return below


def _nested(above: Sequence[Line], below: dict[str, list[Line]]) -> dict[str, Any]:
    def node(line: Line) -> dict[str, Any]:
        return {**_opened(line), "children": [node(child) for child in below[line["doc_id"]]]}

    tree = node(above[-1])
    for line in reversed(above[:-1]):
        tree = {**_opened(line), "children": [tree]}
    return tree


def _drawn(above: Sequence[Line], below: dict[str, list[Line]]) -> Iterator[str]:
    if above[0]["parent_doc_id"]:
        yield f"(the parent {cell(above[0]['parent_doc_id'])} is not in this index)"
    for depth, line in enumerate(above):
        branch = "   " * (depth - 1) + "└─ " if depth else ""
        yield branch + _told(line) + ("  ◀" if line is above[-1] and len(above) > 1 else "")
    yield from _branches(above[-1]["doc_id"], below, "   " * (len(above) - 1))


def _branches(doc_id: str, below: dict[str, list[Line]], indent: str) -> Iterator[str]:
    children = below[doc_id]
    for line in children:
        last = line is children[-1]
        yield f"{indent}{'└─ ' if last else '├─ '}{_told(line)}"
        yield from _branches(line["doc_id"], below, indent + ("   " if last else "│  "))


def _told(line: Line) -> str:
    names = ("stage", "doc_id", "task_id", "template_id", "model_id", "created_at")
    return "  ".join(cell(line[name]) for name in names)


def find(index: Index, args: DocumentsFind) -> int:
    """Print the documents that have the wanted values."""
    wanted = {name: value for name in FILTERS if (value := getattr(args, name)) is not None}
    most = args.limit if args.limit or args.json else _MOST
    total, lines = index.find(wanted, most)
    if args.json:
        sys.stdout.write(provenance.document([_opened(line) for line in lines]).decode())
        return Exit.DONE
    table(_FOUND, [[line[name] for name in _FOUND] for line in lines])
    rest = f", the latest {len(lines)} of them shown; --limit or --json shows more" if total > len(lines) else ""
    print(f"{total} documents{rest}")
    return Exit.DONE
