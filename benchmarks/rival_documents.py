"""The rival of documents: DuckDB joins the CSVs with SQL, and a bare loop writes the same files and rows.

    python benchmarks/rival_documents.py WORLD OUT

The checks of a cell are those of the contract, as SQL can say them; responses are read and hashed by a bare loop (SQL
needs their digests to tell duplicates). No plan, no ledger, no bad list, nothing synced, nothing to go on with.
Prints one line of JSON: the seconds of hashing, joining and writing, and the number of documents.
"""

import hashlib
import json
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

SQL = """
CREATE TABLE good AS SELECT r.*, h.sha FROM rows r JOIN hashes h USING (source, number);
CREATE TABLE firsts AS SELECT *, min((source, number)) OVER (PARTITION BY sha) AS first FROM good WHERE source < 2;
CREATE TABLE parents AS SELECT e.source, e.number, arg_max(d.first, (d.ts, -d.source, -d.number)) AS parent FROM good e
    JOIN firsts d ON e.combo = d.combo AND e.model = d.model AND d.ts <= e.ts WHERE e.source = 2 GROUP BY ALL;
CREATE TABLE essays AS SELECT g.task, arg_max((g.source, g.number), (g.ts, -g.number)) AS target FROM good g
    JOIN parents USING (source, number) GROUP BY ALL;
CREATE TABLE drafts AS SELECT task, arg_max(first, (ts, -source, -number)) AS target FROM firsts GROUP BY ALL;
CREATE TABLE targets AS SELECT v.source, v.number, coalesce(e.target, d.target) AS parent FROM good v
    LEFT JOIN essays e ON v.essay = e.task LEFT JOIN drafts d ON v.generation = d.task
    WHERE v.source = 3 AND coalesce(e.target, d.target) IS NOT NULL;
CREATE TABLE made AS SELECT f.source, f.number, NULL AS parent FROM firsts f WHERE first = (source, number)
    UNION ALL SELECT * FROM parents UNION ALL SELECT * FROM targets;
SELECT g.source, g.number, g.task, g.template, g.model, g.ts, g.path, g.sha, m.parent FROM made m
    JOIN good g USING (source, number) ORDER BY ALL;
"""


def join(world: Path, connection: duckdb.DuckDBPyConnection) -> tuple[list[tuple[Any, ...]], dict[str, float]]:
    """Return the documents, and the seconds that it took to find them."""
    began = time.perf_counter()
    connection.execute(f"CREATE TABLE rows AS SELECT * FROM '{world / 'rows.parquet'}'")  # typed, checked, resolved
    paths = connection.execute("SELECT source, number, path FROM rows").fetchall()
    told = [(s, n, hashlib.sha256(Path(path).read_bytes()).hexdigest()) for s, n, path in paths]
    hashed = time.perf_counter()
    hashes = pa.table(dict(zip(("source", "number", "sha"), zip(*told, strict=True), strict=True)))
    connection.register("hashes", hashes)
    found = connection.execute(SQL).fetchall()
    return found, {"hash": hashed - began, "join": time.perf_counter() - hashed}


def write(found: list[tuple[Any, ...]], out: Path) -> None:
    """Write the files and the rows."""
    database = sqlite3.connect(out / "index.sqlite")
    database.execute("CREATE TABLE documents(doc_id TEXT PRIMARY KEY, task TEXT, template TEXT, model TEXT, ts TEXT, "
                     "path TEXT, sha TEXT, parent TEXT, meta TEXT)")  # fmt: skip
    rows = []
    for source, number, *rest in found:
        id_ = hashlib.sha256(f"{source}-{number}".encode()).hexdigest()[:16]
        folder = out / "docs" / str(source) / id_ / id_
        folder.mkdir(parents=True)
        data = Path(rest[4]).read_bytes()
        meta = json.dumps([id_, *map(str, rest)] * 2)
        for name, content in (("raw.txt", data), ("parsed.txt", data), ("metadata.json", meta.encode())):
            (folder / name).write_bytes(content)
        rows.append((id_, *map(str, rest), meta[:300]))
    with database:
        database.executemany(f"INSERT INTO documents VALUES ({', '.join('?' * 9)})", rows)


if __name__ == "__main__":
    documents, seconds = join(Path(sys.argv[1]), duckdb.connect())
    start = time.perf_counter()
    write(documents, Path(sys.argv[2]))
    print(json.dumps({"seconds": {**seconds, "write": time.perf_counter() - start}, "documents": len(documents)}))
