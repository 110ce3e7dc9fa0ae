"""The rival of merge: DuckDB rewrites everything, without the replaced videos and with the backfill's rows.

    python benchmarks/rival_merge.py 'history/*.parquet' 'backfill/*.parquet' videos.txt OUT

One statement, its fastest public way: an anti-join over the parquet files, columns matched by name, zstd, as many files
and threads as it likes, in any order. Prints one line of JSON: the seconds after the import.
"""

import json
import sys
import time

import duckdb

MERGE = """
COPY (
    SELECT * FROM read_parquet('{history}') ANTI JOIN
        read_csv('{videos}', header=false, columns={{'video_id': 'VARCHAR'}}) USING (video_id)
    UNION ALL BY NAME
    SELECT * FROM read_parquet('{backfill}', union_by_name=true)
) TO '{out}' (FORMAT parquet, COMPRESSION zstd, PER_THREAD_OUTPUT true)
"""


def merge(history: str, backfill: str, videos: str, out: str) -> None:
    """Rewrite all results into `out`."""
    connection = duckdb.connect()
    connection.execute("SET preserve_insertion_order = false")
    connection.execute(MERGE.format(history=history, backfill=backfill, videos=videos, out=out))
    connection.close()


if __name__ == "__main__":
    began = time.perf_counter()
    merge(*sys.argv[1:5])
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": [seconds]}))
