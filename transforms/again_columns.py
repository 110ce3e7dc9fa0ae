"""`again` for a whole shard: verdicts from stored measures, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from resplice.transforms import neighbours
from resplice.transforms.again import ALL_UNSURE, MISMATCH, UNDECODABLE, Chain, told
from resplice.transforms.kinds import SIGNAL
from resplice.transforms.records import Reason
from resplice.transforms.verdict import VIDEO_REASONS

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
OF_VIDEO = ("duplicate_audio", "duration_outlier", "shifted_transcripts")
STATUSES = ("passed", "failed", "error")
_PASSED, _FAILED, _ERROR = range(3)
_REACHED, _UNSURE = 1, 2


class Shard:
    """The columns of a shard that decide, read once: any chain may be asked about it."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.count = len(table)
        self._of: dict[str, Floats] = {}
        self._of_videos: dict[float, Bools] = {}
        self.measured = np.asarray(pc.is_valid(self._column("pcm_md5")))
        self._parent, self._reasons = _flat(self.table, "reasons")
        self._engine_of, versions = _flat(self.table, "engine_versions")
        coded = versions.dictionary_encode()
        self._engine = np.asarray(coded.indices) if len(versions) else np.zeros(0, np.int64)
        self._names = [version.partition(" ")[0] for version in coded.dictionary.to_pylist()]
        self._former = np.asarray(pc.is_null(self._column("engine_versions")))

    def _column(self, name: str) -> pa.Array:
        there = name in self.table.column_names
        return _array(self.table.column(name)) if there else pa.nulls(self.count)

    def floats(self, name: str) -> Floats:
        """Return a measure as float64, NaN where it is missing."""
        if name not in self._of:
            self._of[name] = self._column(name).cast(pa.float64()).to_numpy(zero_copy_only=False)
        return self._of[name]

    def numbers(self, name: str) -> npt.NDArray[np.int64]:
        """Return the values of a column of strings as numbers, equal ones alike; null is 0."""
        coded = self._column(name).cast(pa.string()).dictionary_encode().indices
        return np.asarray(pc.fill_null(coded, 0), dtype=np.int64)

    def asked(self, name: str) -> Bools:
        """Return which rows have the measures of an engine."""
        found: Bools = self._former & self.measured if name == SIGNAL.name else np.zeros(self.count, np.bool_)
        for number in (n for n, known in enumerate(self._names) if known == name):
            found[self._engine_of[self._engine == number]] = True
        return found

    def has(self, reason: str) -> Bools:
        """Return which rows have a reason."""
        found = np.zeros(self.count, np.bool_)
        found[self._parent[np.asarray(pc.equal(self._reasons, reason))]] = True
        return found

    def of_videos(self, iqr: float) -> Bools:
        """Return which reasons of `OF_VIDEO` each row has, shape (n, 3); `iqr` is their one threshold."""
        if iqr not in self._of_videos:
            video, chars, seconds = self.numbers("video_id"), self.floats("chars"), self.floats("duration_s")
            columns = (
                neighbours.duplicates(video, self.numbers("pcm_md5"), self.measured),
                neighbours.outliers(video, chars, seconds, self.measured, iqr),
                neighbours.shifted(video, chars, seconds, self.measured),
            )
            self._of_videos[iqr] = np.stack(columns, axis=1)
        return self._of_videos[iqr]

    @property
    def any_asked(self) -> Bools:
        """Return which rows have the measures of any engine."""
        found: Bools = self._former & self.measured
        found[self._engine_of] = True
        return found

    @property
    def alone(self) -> npt.NDArray[np.int64]:
        """Return the former statuses; what failed for its neighbours alone passed by itself."""
        former = np.asarray(pc.index_in(self._column("status"), value_set=pa.array(STATUSES)))
        alone, some = np.zeros(self.count, np.bool_), np.zeros(self.count, np.bool_)
        alone[self.own[0]] = True
        some[self._parent] = True
        return np.where((former == _FAILED) & ~alone & some, _PASSED, former)

    @property
    def own(self) -> tuple[npt.NDArray[np.int64], pa.Array]:
        """Return the reasons that stand for a segment alone: their rows, and the reasons."""
        alone = np.asarray(pc.invert(pc.is_in(self._reasons, value_set=pa.array(sorted(VIDEO_REASONS)))))
        return self._parent[alone], self._reasons.filter(pa.array(alone))


@dataclass(frozen=True)
class Verdicts:
    """What a chain says of each row of a shard. `held`: which of `reasons` hold, shape (n, reasons); rows in `kept`
    have the reasons that they had instead, but for those of `OF_VIDEO`. `lacking`: an engine that they were to be asked
    of has no measures.
    """

    status: npt.NDArray[np.int8]
    reasons: tuple[str, ...]
    held: Bools
    kept: Bools
    lacking: Bools
    engine: npt.NDArray[np.int64]
    attempts: npt.NDArray[np.int64]
    code: npt.NDArray[np.int64]
    chain: Chain

    @property
    def failed(self) -> Bools:
        """Return which rows failed."""
        return np.asarray(self.status == _FAILED)


def judged(shard: Shard, chain: Chain) -> Verdicts:
    """Decide every row of a shard, as `again` does for the rows of each video."""
    count, rules = shard.count, [rule.reason for _, decider in chain for rule in decider.rules]
    reasons = (MISMATCH, *rules, Reason.ENGINE_FAILED.value, *OF_VIDEO)
    held = np.zeros((count, len(reasons)), np.bool_)
    kept = ~shard.any_asked | shard.has(UNDECODABLE)
    held[:, 0] = shard.has(MISMATCH) & ~kept
    status = np.full(count, _ERROR, np.int8)
    engine, attempts, code = (np.full(count, value, np.int64) for value in (len(chain) - 1, 0, 0))
    open_, at, shift = ~kept & ~held[:, 0], 1, 0
    lacking = np.zeros(count, np.bool_)
    for number, (name, decider) in enumerate(chain):
        failed, unsure, of = decider.columns({measure: shard.floats(measure) for measure in decider.measures})
        here = open_ & shard.asked(name)
        decides, width = here & ~unsure, len(decider.rules)
        attempts += here
        lacking |= open_ & ~here
        status[decides] = np.where(failed[decides], _FAILED, _PASSED)
        engine[decides] = number
        mismatched = held[:, 0] & failed & shard.asked(name) if name == SIGNAL.name else np.zeros(count, np.bool_)
        held[:, at : at + width] = of & (decides | mismatched)[:, None]
        bits = (of & (here & unsure)[:, None]) @ (1 << np.arange(width, dtype=np.int64))
        code |= (np.where(open_ & ~decides, np.where(here, _UNSURE, _REACHED), 0) | bits << 2) << shift
        open_, at, shift = open_ & ~decides, at + width, shift + width + 2
    held[:, at] = open_
    status[held[:, 0]] = _FAILED
    status[kept] = shard.alone[kept]
    if SIGNAL.name in dict(chain):
        held[:, at + 1 :] = shard.of_videos(dict(chain)[SIGNAL.name].thresholds["duration_outlier_iqr"])
    status[(status == _PASSED) & held[:, at + 1 :].any(axis=1)] = _FAILED
    return Verdicts(status, reasons, held, kept, lacking, engine, attempts, code, chain)


def written(shard: Shard, verdicts: Verdicts) -> pa.Table:
    """Return the table of a shard with its verdicts in place of the former ones."""
    names = [name for name, _ in verdicts.chain]
    undone = ~verdicts.kept & ~verdicts.held[:, 0] & ~_as_before(shard, verdicts, names)
    columns = {
        "status": pa.array(STATUSES).take(pa.array(verdicts.status)),
        "reasons": _reasons(shard, verdicts),
        "engine": _chosen(undone, pa.array(names).take(pa.array(verdicts.engine)), shard._column("engine")),
        "attempts": _chosen(undone, pa.array(verdicts.attempts), shard._column("attempts")),
        "detail": _chosen(undone, _details(verdicts), shard._column("detail")),
    }
    table = shard.table
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def _as_before(shard: Shard, verdicts: Verdicts, names: Sequence[str]) -> Bools:
    """Return which rows have their former verdict although an engine has no measures of them: it raised then."""
    if not verdicts.lacking.any():
        return verdicts.lacking
    width = len(verdicts.reasons) - len(OF_VIDEO)
    held = verdicts.held[:, :width]
    status = np.where(held[:, width - 1], _ERROR, np.where(held[:, : width - 1].any(axis=1), _FAILED, _PASSED))
    engine = pa.array(names).take(pa.array(verdicts.engine))
    engines = pc.fill_null(pc.equal(engine, shard._column("engine").cast(pa.string())), False)
    same: Bools = verdicts.lacking & (status == shard.alone) & np.asarray(engines)
    same &= held.sum(axis=1) == np.bincount(shard.own[0], minlength=shard.count)
    for number, reason in enumerate(verdicts.reasons[:width]):
        same &= held[:, number] == shard.has(reason)
    return same


def _chosen(where: Bools, new: pa.Array, former: pa.Array) -> pa.Array:
    return pc.if_else(pa.array(where), new, former.cast(new.type))


def _reasons(shard: Shard, verdicts: Verdicts) -> pa.Array:
    """Return the lists of reasons: a row's own ones, kept or decided, then those of its video."""
    words = pa.array(verdicts.reasons)
    rows, codes = np.nonzero(verdicts.held)
    parent, former = shard.own
    mine = verdicts.kept[parent]
    coded = former.filter(pa.array(mine)).dictionary_encode()
    kept = np.asarray(coded.indices, dtype=np.int64) - len(coded.dictionary)  # before those of a video
    of_row = np.concatenate((parent[mine], rows))
    order = np.lexsort((np.concatenate((np.zeros(len(kept), np.int64), codes + 1)), of_row))
    vocabulary = pa.concat_arrays([coded.dictionary.cast(pa.string()), words])
    values = (np.concatenate((kept, codes)) + len(coded.dictionary))[order]
    offsets = np.concatenate(([0], np.bincount(of_row, minlength=shard.count).cumsum()))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), vocabulary.take(pa.array(values)))


def _details(verdicts: Verdicts) -> pa.Array:
    """Return what the engines that did not decide said; null where the first one decided."""
    ended = verdicts.held[:, len(verdicts.reasons) - len(OF_VIDEO) - 1]
    keys, inverse = np.unique(verdicts.code * 2 + ended, return_inverse=True)
    return pa.array([_detail(int(key), verdicts.chain) for key in keys], pa.string()).take(pa.array(inverse))


def _detail(key: int, chain: Chain) -> str | None:
    """Return the detail that a code stands for; its lowest bit says that no engine decided."""
    said, code, unsure = [], key >> 1, 0
    for name, decider in chain:
        state, bits = code & 3, code >> 2
        reasons = [rule.reason for number, rule in enumerate(decider.rules) if bits >> number & 1]
        said += [told(name, reasons if state == _UNSURE else None)] if state else []
        unsure += state == _UNSURE
        code >>= len(decider.rules) + 2
    return ALL_UNSURE if key & 1 and unsure == len(chain) else "; ".join(said) or None


def _array(column: pa.ChunkedArray) -> pa.Array:
    chunks: Sequence[pa.Array] = column.chunks
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks) if chunks else pa.array([], column.type)


def _flat(table: pa.Table, name: str) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """Return the values of a column of lists, each with its row."""
    if name not in table.column_names or pa.types.is_null(table.schema.field(name).type):
        return np.zeros(0, np.int64), pa.array([], pa.string())
    lists = _array(table.column(name))
    return np.asarray(pc.list_parent_indices(lists), dtype=np.int64), pc.list_flatten(lists)
