"""Parquet files: deterministic out, checked in. Columns are matched by name, with safe promotion only."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from resplice.io.store import Blob, Store
from resplice.transforms import footer
from resplice.transforms.records import Damage

MAX_UNCOMPRESSED = 16 << 30
_TAIL = 1 << 16
_MAGIC = b"PAR1"


class BlobFile(io.RawIOBase):
    """A blob as a seekable binary file, for readers that want one."""

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._at = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be positioned."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position."""
        self._at = offset + (0, self._at, self._blob.size)[whence]
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read from the position into `buffer`."""
        data = self._blob.read_at(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        """Close the blob, too."""
        if not self.closed:
            self._blob.close()
        super().close()


def encode(table: pa.Table, metadata: Mapping[str, str]) -> bytes:
    """Return a table as parquet bytes: the same table, metadata and library version give the same bytes."""
    sink = io.BytesIO()
    table = table.replace_schema_metadata(dict(sorted(metadata.items())))
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def open_file(store: Store, key: str, own: bool = False) -> pq.ParquetFile:
    """Open a parquet file after its footer was checked; `own`: one of many that were written here, which would take
    most of the time of reading a few columns. Raises Damage parquet_footer or parquet_too_large.
    """
    blob = store.open(key)
    raw = BlobFile(blob)  # closes the blob once, whoever else closes it: its number may be another file's by then
    try:
        metadata = None if own else _metadata(blob)
        file = pq.ParquetFile(io.BufferedReader(raw, 1 << 16), metadata=metadata, page_checksum_verification=True)
        file.schema_arrow.names  # noqa: B018  decodes them
        return file
    except Damage as damage:
        raw.close()
        raise Damage(damage.code, f"{key}: {damage.text}") from None
    except UnicodeDecodeError as error:
        raw.close()
        raise Damage("parquet_footer", f"{key}: the name {error.object!r} of a column is not UTF-8") from None
    except (pa.ArrowException, OSError) as error:
        raw.close()
        raise unreadable(key, error) from None


def _metadata(blob: Blob) -> pq.FileMetaData:
    """Return what the footer of a parquet file says, in one read where it is of the usual size."""
    end = blob.read_at(max(0, blob.size - _TAIL), _TAIL)
    size = footer.length(end[-footer.TAIL :], blob.size) + footer.TAIL
    end = end[-size:] if size <= len(end) else blob.read_at(blob.size - size, size)
    footer.check(end[: -footer.TAIL])
    metadata = pq.read_metadata(pa.BufferReader(_MAGIC + end))
    sizes = [metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)]
    if min(sizes, default=0) < 0:
        raise Damage("parquet_footer", f"a row group of {min(sizes)} bytes is declared")
    if sum(sizes) > MAX_UNCOMPRESSED:
        raise Damage("parquet_too_large", f"{sum(sizes)} bytes uncompressed, {MAX_UNCOMPRESSED} allowed")
    return metadata


def unreadable(key: str, error: Exception) -> Exception:
    """Return the Damage that a parquet error tells; an error of the system (no memory, disk or right) is none."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    return Damage("parquet_footer", f"{key}: {_first_line(error)}")


def read(store: Store, key: str, columns: Mapping[str, pa.DataType], optional: Sequence[str] = ()) -> pa.Table:
    """Return the named columns as the named types; an optional column that the file has not is null.

    Raises Damage parquet_type for a missing column or one that is not promotable without loss.
    """
    file = open_file(store, key)
    there = set(file.schema_arrow.names)
    try:
        table = file.read(columns=[name for name in columns if name in there])
    except (pa.ArrowException, OSError) as error:
        raise unreadable(key, error) from None
    if table.num_columns and table.num_rows != file.metadata.num_rows:
        raise Damage("parquet_footer", f"{key}: {table.num_rows} rows are there, {file.metadata.num_rows} declared")
    arrays = []
    for name, kind in columns.items():
        if name in there:
            arrays.append(promote(table.column(name), kind, f"{key}: column {name!r}"))
        elif name in optional:
            arrays.append(pa.nulls(table.num_rows, kind))
        else:
            raise Damage("parquet_type", f"{key}: there is no column {name!r} (it has: {', '.join(sorted(there))})")
    return pa.table(arrays, names=list(columns))


def current(store: Store) -> pa.Table:
    """Return the current rows of a folder of embeddings, sorted by key: of each key that of its latest run.

    Vectors are fixed-size lists where all have one dimension, else lists.
    """
    from resplice.io import vectors  # which reads shards by this module

    tables = [table.replace_schema_metadata(None) for _, table in vectors.current(store)]
    if len({table.column("dim")[0].as_py() for table in tables}) > 1:
        tables = [_with_lists(table) for table in tables]
    joined = pa.concat_tables(tables, promote_options="default") if tables else pa.table({"key": pa.array([], "str")})
    return sorted_by(joined, "key")


def _with_lists(table: pa.Table) -> pa.Table:
    at = table.schema.get_field_index("vector")
    return table.set_column(at, "vector", table.column("vector").cast(pa.list_(pa.float32())))


def check(schema: pa.Schema, what: str, columns: Mapping[str, pa.DataType], optional: Sequence[str] = ()) -> None:
    """Raise Damage parquet_type unless `read` would take the columns of a file with this schema."""
    for name, kind in columns.items():
        if name in schema.names:
            promote(pa.chunked_array([], schema.field(name).type), kind, f"{what}: column {name!r}")
        elif name not in optional:
            raise Damage("parquet_type", f"{what}: there is no column {name!r} (it has: {', '.join(schema.names)})")


def promote(array: pa.ChunkedArray, kind: pa.DataType, what: str) -> pa.ChunkedArray:
    """Return `array` as `kind` if nothing can be lost by it, else raise Damage parquet_type."""
    have = array.type
    if pa.types.is_dictionary(have):
        array, have = array.cast(have.value_type), have.value_type
    if have == kind:
        return array
    if pa.types.is_null(have) or _widens(have, kind):
        try:
            return array.cast(kind)
        except pa.ArrowInvalid as error:  # whole numbers that the wider type does not tell apart
            raise Damage("parquet_type", f"{what} is {have}, expected {kind}: {_first_line(error)}") from None
    raise Damage("parquet_type", f"{what} is {have}, expected {kind}")


def _widens(have: pa.DataType, kind: pa.DataType) -> bool:
    is_text = [pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_string_view(t) for t in (have, kind)]
    is_list = [pa.types.is_list(t) or pa.types.is_large_list(t) for t in (have, kind)]
    if all(is_list) and pa.types.is_null(have.value_type):
        return True
    if all(is_list):
        return bool(have.value_type == kind.value_type or _widens(have.value_type, kind.value_type))
    if pa.types.is_integer(have) and pa.types.is_integer(kind):
        return bool(have.bit_width <= kind.bit_width and pa.types.is_signed_integer(have))
    if pa.types.is_integer(have) and pa.types.is_float64(kind):
        return True
    if pa.types.is_floating(have) and pa.types.is_floating(kind):
        return bool(have.bit_width <= kind.bit_width)
    return all(is_text)


def sorted_by(table: pa.Table, *names: str) -> pa.Table:
    """Return a table sorted by columns, ascending, stable."""
    return table.take(pc.sort_indices(table, sort_keys=[(name, "ascending") for name in names]))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
