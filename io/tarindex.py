"""What a baseline keeps of the tars of a range, one row a readable tar, and what of it a later one takes over.

A tar is known by its version: `token`. The files of an index are replaced as a whole, so that a row is never of two
versions, even while another process rewrites them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from resplice.io import shards
from resplice.io.store import Store
from resplice.io.tarstate import TarState
from resplice.transforms.audit import TarContent
from resplice.transforms.flac import StreamInfo
from resplice.transforms.settled import split_like

Contents = tuple[TarContent, dict[str, StreamInfo | None]]
INFO: dict[str, pa.DataType] = {
    "rate": pa.int64(),
    "channels": pa.int64(),
    "bits": pa.int64(),
    "samples": pa.int64(),
    "md5": pa.string(),
}
"""The STREAMINFO of a FLAC; null where it has none that can be read."""
TAR_INDEX = pa.schema(
    [
        ("video_id", pa.string()),
        ("token", pa.string()),
        ("split_like", pa.bool_()),  # whether a FLAC is named as a split is
        ("flacs", pa.list_(pa.struct([("stem", pa.string()), *INFO.items()]))),
        ("jsons", pa.list_(pa.string())),
        ("extra", pa.list_(pa.string())),
    ]
)


def table(tars: Iterable[tuple[str, TarState]]) -> pa.Table:
    """Return the index of readable tars."""
    return pa.Table.from_pylist([_row(video, tar) for video, tar in tars], TAR_INDEX)


def _row(video: str, tar: TarState) -> dict[str, Any]:
    infos, stems = tar.infos or {}, sorted(tar.content.flacs)
    flacs = [{"stem": stem, **(asdict(info) if (info := infos.get(stem)) else {})} for stem in stems]
    return {
        "video_id": video,
        "token": tar.token,
        "split_like": bool(pc.any(split_like(pa.array(stems, pa.string()))).as_py()),
        "flacs": flacs,
        "jsons": sorted(tar.content.jsons),
        "extra": sorted(tar.content.extra),
    }


def joined(parts: Iterable[pa.Table]) -> pa.Table:
    """Return one index of several, sorted: the same whichever tars were known."""
    whole = pa.concat_tables([TAR_INDEX.empty_table(), *parts])
    return shards.sorted_by(whole, "video_id").combine_chunks()


def known(store: Store, keys: Sequence[str], code: str, wanted: pa.Table) -> pa.Table:
    """Return what the objects of earlier indexes (later ones first) tell of the `wanted` tars: `video_id, token`."""
    left, found = _versions(wanted), [TAR_INDEX.empty_table()]
    for key in reversed(keys):
        part = _earlier(store, key, code)
        versions = _versions(part)
        same = pc.is_in(versions, value_set=left)
        found.append(part if pc.all(same).as_py() else part.filter(same))
        left = left.filter(pc.invert(pc.is_in(left, value_set=versions)))
    return pa.concat_tables(found)


def _versions(tars: pa.Table) -> pa.Array:
    return pc.binary_join_element_wise(tars["video_id"], tars["token"], "\n").combine_chunks()


def _earlier(store: Store, key: str, code: str) -> pa.Table:
    """Return an earlier index; an empty one if the file is not there, or of another version of the code."""
    try:
        file = shards.open_file(store, key)
    except FileNotFoundError:
        return TAR_INDEX.empty_table()
    schema = file.schema_arrow
    same = (schema.metadata or {}).get(b"code_version") == code.encode() and schema.equals(TAR_INDEX)
    return file.read().replace_schema_metadata(None) if same else TAR_INDEX.empty_table()


def contents(video_id: str, row: Mapping[str, Any]) -> Contents:
    """Return what a row of the index says is in a tar; members have the names that their segments give them."""
    flacs = {flac["stem"]: f"{video_id}/segments/{flac['stem']}.flac" for flac in row["flacs"]}
    jsons = {stem: f"{video_id}/transcriptions/{stem}.json" for stem in row["jsons"]}
    infos = {flac["stem"]: _info(flac) for flac in row["flacs"]}
    return TarContent(flacs, jsons, extra=tuple(row["extra"])), infos


def _info(flac: Mapping[str, Any]) -> StreamInfo | None:
    return None if flac["rate"] is None else StreamInfo(**{name: flac[name] for name in INFO})


def by_video(tars: pa.Table) -> Iterator[tuple[str, Contents]]:
    """Yield each video with what is in its tar."""
    for row in tars.to_pylist():
        yield row["video_id"], contents(row["video_id"], row)
