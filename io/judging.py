"""Judge the segments of planned videos: a shard a work item, decoded where it can be killed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from resplice.io import asking, ledger, measured, refusals, results, sidecars
from resplice.io.context import Context
from resplice.io.costs import Spent, skipping
from resplice.io.engines import ChainSpec, Judged
from resplice.io.inventory import read_names
from resplice.io.ledger import Entry, remembered
from resplice.io.measured import Stored
from resplice.io.rebuild import old_tar
from resplice.io.rows import Row
from resplice.io.store import Changed, Place
from resplice.io.tars import Member
from resplice.io.tarstate import RAW, TRANSCRIBED, OpenTar, open_tar, opened
from resplice.io.work import Item, Planned
from resplice.transforms import audit, provenance
from resplice.transforms.affected import UNREADABLE
from resplice.transforms.again import alone, is_ambiguous, with_video_reasons
from resplice.transforms.audit import RowName
from resplice.transforms.names import stem
from resplice.transforms.provenance import shown
from resplice.transforms.records import Reason, Refusal, Segment
from resplice.transforms.repack import tar_name
from resplice.transforms.retry import ALL, again, result_again
from resplice.transforms.verdict import video_reasons

Result = dict[str, Any]
_TAR, _ROWS = "{the digest of the tar}", "{the digest of the rows}"


def shard_key(context: Context, item: Item) -> str:
    """Return the key of an item's shard; it depends on the plan alone."""
    return f"{context.stage('validate')}/shards/{item.name}.parquet"


class Prints:
    """Fingerprints of the results of videos; what all of them share is put into words once."""

    def __init__(self, context: Context, chain: ChainSpec, versions: Mapping[str, str]) -> None:
        self._words = provenance.words(
            tar=_TAR, rows=_ROWS, columns=context.settings.database.columns, chain=chain.deciding,
            versions=dict(versions), tools=sidecars.tools(),
        )  # fmt: skip

    def of(self, tar_sha256: str, video: Planned) -> str:
        """Return the fingerprint of a video whose tar has this digest."""
        words = self._words.replace(_TAR, tar_sha256).replace(_ROWS, video.rows_digest)
        return provenance.sha256(words.encode())


@dataclass(frozen=True)
class Source:
    """Where the audio of a video is: its tar, open, and the member of each segment."""

    place: Place
    key: str
    tar: OpenTar
    members: Mapping[Segment, Member]


class Judge:
    """Validate a work item: item → one entry a video, after the item's shard and sidecar are durable."""

    def __init__(self, context: Context, chain: ChainSpec | None, versions: Mapping[str, str]) -> None:
        self._context = context
        self._stage = context.stage("validate")
        self._chain = chain or ChainSpec(())
        self._versions = dict(versions)

    @cached_property
    def _prints(self) -> Prints:
        return Prints(self._context, self._chain, self._versions)

    def __call__(self, item: Item) -> Iterator[Entry]:
        """Validate every video of the item that is to do; what earlier processes achieved is kept."""
        key = shard_key(self._context, item)
        store, shards = self._context.workspace.store, {e.inputs.get("shard", "") for e in item.before if e}
        before_ = {name: measured.load(store, name) for name in shards if name}
        rows = self._context.rows.of([video.video_id for video in item.videos if video.video_id not in item.held])
        entries: list[Entry] = []
        made: list[Result] = []
        kept: dict[str, Stored] = {}
        for video, before in zip(item.videos, item.before, strict=True):
            there = before_.get(before.inputs.get("shard", "")) if before else None
            known = there.rows.get(video.video_id) if there else None
            if video.video_id in item.held:
                entry, results_ = before, known or []
            else:
                entry, results_ = self._outcome(video, rows[video.video_id], before, known)
            if there and before and entry and entry.fingerprint == before.fingerprint:
                kept[before.inputs["shard"]] = there
            if entry is not None and results_ and entry.inputs.get("shard") != key:
                entry = replace(entry, seq=self._context.run.seq, inputs={**entry.inputs, "shard": key})
            entries += [entry] if entry else []
            made += results_
        self._publish(key, item, entries, made, list(kept.values()))
        ledger.save(store, self._stage, item.name, entries)
        yield from entries

    def _publish(self, key: str, item: Item, entries: list[Entry], made: list[Result], kept: list[Stored]) -> None:
        """Write the shard and its sidecar, unless they are there already; without results, remove them."""
        store = self._context.workspace.store
        if not made:
            store.delete(key + sidecars.SUFFIX)
            store.delete(key)
            return
        data = results.encode(made, self._context.rows.id_type, self._context.run.metadata())
        if refusals.put(store, key, data) or not sidecars.vouches(store, key, provenance.sha256(data)):
            self._write_sidecar(key, item, entries, made, kept)

    def _outcome(
        self, video: Planned, rows: list[Row], before: Entry | None, former: list[Result] | None
    ) -> tuple[Entry, list[Result]]:
        retry = self._context.settings.run.retry
        if before and before.outcome == "refused" and not again("refused", retry, False):
            return before, []
        try:
            return self._judged(video, rows, before, former)
        except Refusal as refusal:
            entry = Entry.refused(video.video_id, refusal, "", self._context.run.seq)
            return (before if before and entry.same_as(before) else entry), []

    def _judged(
        self, video: Planned, rows: list[Row], before: Entry | None, former: list[Result] | None
    ) -> tuple[Entry, list[Result]]:
        with self.source(video, rows, before) as (source, names):
            return self._from_source(source, names, video, rows, before, former)

    def _from_source(
        self, source: Source, names: list[RowName], video: Planned, rows: list[Row], before: Entry | None,
        former: list[Result] | None,
    ) -> tuple[Entry, list[Result]]:  # fmt: skip
        retry = self._context.settings.run.retry
        inputs = {"tar": remembered(before, "tar", source.tar.token) or [source.tar.token, source.tar.digest()]}
        print_ = self._prints.of(inputs["tar"][1], video)
        unchanged = before is not None and before.fingerprint == print_ and former is not None
        known = {row["segment_file"]: row for row in former or []} if unchanged else {}
        if before and unchanged and not any(result_again(r["status"], retry) for r in known.values()):
            skipping = self._skipping(before.counts)
            same = skipping == before.counts
            entry = before if same else replace(before, counts=skipping, seq=self._context.run.seq)
            return entry, list(known.values())
        kept = {
            name: alone(row)
            for name, row in known.items()
            if not (result_again(row["status"], retry) or is_ambiguous(row))
        }
        spent = Spent(before.counts if before and unchanged else {})
        made = self._segments(video, rows, names, source, kept, spent)
        if retry == ALL and _differ(known.values(), made):
            raise RuntimeError(f"{video.video_id}: the same inputs gave other results: an engine is not deterministic")
        seconds = sum(row.get("duration_s") or 0.0 for row in made)
        counts: dict[str, float] = {"segments": len(made), "seconds": round(seconds, 3), **spent.counts}
        for row in made:
            counts[row["status"]] = counts.get(row["status"], 0) + 1
        entry = Entry(video.video_id, "done", print_, self._context.run.seq, at=provenance.now(), inputs=inputs,
                      counts=self._skipping(counts))  # fmt: skip
        return entry, made

    def _skipping(self, counts: Mapping[str, float]) -> dict[str, float]:
        return skipping(counts, self._context.settings.validate.engines, self._chain.names)

    @contextmanager
    def source(
        self, video: Planned, rows: list[Row], before: Entry | None = None
    ) -> Iterator[tuple[Source, list[RowName]]]:
        """Give the tar to validate and the names of the rows; raise its refusal if it cannot be trusted."""
        context, id_ = self._context, video.video_id
        if provenance.rows_digest(row.columns for row in rows) != video.rows_digest:
            raise Refusal(Reason.DRIFTED, "the rows are not those of the baseline; --refresh freezes them anew")
        raw = open_tar(context.raw.store, f"{id_}.tar", id_, RAW)
        if raw.token != video.raw_token:
            raise Refusal(Reason.DRIFTED, "the raw tar is not that of the baseline; --refresh freezes it anew")
        place, key = tar_of(context, video)
        with opened(place.store, key, id_, TRANSCRIBED) as tar:
            if tar is None:
                raise Refusal(Reason.TAR_MISSING, f"there is no {key}")
            in_corpus = not video.wrong_tar and video.repaired is None
            if in_corpus and tar.token != video.transcribed_token:
                detail = "the transcribed tar is not that of the baseline; --refresh freezes it anew"
                raise Refusal(Reason.DRIFTED, detail)
            if not remembered(before, "tar", tar.token):
                tar.bring()
            names, _ = read_names(rows, raw.names)
            try:
                yield Source(place, key, tar, _members(key, tar, names, raw.names)), names
            except Changed:
                raise Refusal(Reason.DRIFTED, f"{key} changed while it was read") from None

    def _segments(
        self, video: Planned, rows: list[Row], names: list[RowName], source: Source, kept: Mapping[str, Result],
        spent: Spent,
    ) -> list[Result]:  # fmt: skip
        """Judge the segments in stem order, those in `kept` excepted; then add what only neighbours show."""
        by_id = {row.id: row for row in rows}
        settings = self._context.settings
        order = [(segment, name) for segment, name in audit.in_stem_order(names)]
        todo = [(source.members[segment], by_id[name.id]) for segment, name in order if stem(segment) not in kept]
        verdicts = asking.judged(self._context, self._chain, source.tar, todo)
        for judged in verdicts:
            spent.take(judged.spent)
        fresh = iter(verdicts)
        made = [kept.get(stem(segment)) or self._result(video, segment, name, next(fresh)) for segment, name in order]
        if "signal" not in self._chain.names:
            return made
        found = video_reasons([row if "pcm_md5" in row else None for row in made], settings.validate.signal)
        return [with_video_reasons(row, reasons) for row, reasons in zip(made, found, strict=True)]

    def _result(self, video: Planned, segment: Segment, name: RowName, judged: Judged) -> Result:
        return {
            "video_id": video.video_id,
            "segment_file": stem(segment),
            "db_segment_file": shown(name.segment_file),
            "row_id": name.id,
            "split_index": results.split_index(segment),
            "status": judged.status,
            "reasons": list(judged.reasons),
            "engine": judged.engine,
            "attempts": judged.attempts,
            "run_id": self._context.run.id,
            "detail": judged.detail or None,
            "engine_versions": [f"{engine} {self._versions[engine]}" for engine in judged.asked],
            **{measure: value for measure, value in judged.measures.items() if value is not None},
        }

    def _write_sidecar(
        self, key: str, item: Item, entries: list[Entry], made: list[Result], kept: list[Stored]
    ) -> None:
        place = self._context.workspace
        done = {entry.unit: entry.inputs["tar"][1] for entry in entries if entry.outcome == "done"}
        inputs = {
            f"tar:{video.video_id}": sidecars.described(*tar_of(self._context, video), done[video.video_id])
            for video in item.videos
            if video.video_id in done
        }
        statuses = {status: sum(row["status"] == status for row in made) for status in ("passed", "failed", "error")}
        further = measured.carried(kept, self._chain, made)
        versions = {name: old.versions[name] for old in kept for name in further.names if name in old.versions}
        whole = ChainSpec((*self._chain.engines, *further.engines))
        sidecar = sidecars.content(
            self._context,
            "validate-shard",
            stats={"videos": len(item.videos), "rows": len(made), **statuses},
            inputs=inputs,
            outputs={"shard": sidecars.described(place, key)},
            refused=[{"unit": e.unit, "reason": e.reason, "detail": e.detail} for e in entries if e.reason],
            chain=provenance.plain(self._chain),
            engine_versions={**versions, **self._versions},
            **({"measured": provenance.plain(whole)} if further.engines else {}),
        )
        sidecars.write(place.store, key, sidecar)


def _members(key: str, tar: OpenTar, names: list[RowName], raw_names: frozenset[str] | None) -> dict[Segment, Member]:
    """Return the FLAC of each segment; refuse a tar that does not hold just the segments of the rows."""
    if tar.state.state == UNREADABLE:
        raise Refusal(Reason.TAR_UNREADABLE, tar.state.detail)
    reading = audit.read_names(tar.state.content, names, raw_names)
    if not reading.fits:
        raise Refusal(Reason.TAR_UNREADABLE, f"{key} does not hold just the segments of the rows")
    flacs = tar.state.content.flacs
    return {segment: tar.members[flacs[name]] for segment, name in reading.member_of().items()}


def _differ(former: Iterable[Result], made: Iterable[Result]) -> bool:
    """Return whether results changed that were no errors."""
    now = {row["segment_file"]: row for row in made}
    return any(row["status"] != "error" and not results.same(row, now[row["segment_file"]]) for row in former)


def tar_of(context: Context, video: Planned) -> tuple[Place, str]:
    """Return where the tar to validate is: the repaired one, or the original where that is right."""
    if video.wrong_tar:
        return context.workspace, f"{context.stage('repair')}/transcribed/{tar_name(video.video_id)}"
    return old_tar(context, video)


def refused_in(context: Context, *stages: str) -> dict[str, refusals.Refused]:
    """Return the refusal of each video that some stages of the run refused (the first stage's, if several did).

    A single result of others that was refused (`validate --from`) is no refusal of its video.
    """
    found: dict[str, refusals.Refused] = {}
    for stage in stages:
        for line in refusals.load(context.workspace.store, context.stage(stage)):
            if line.reason not in (Reason.NOT_PLANNED, Reason.DUPLICATE_RESULT):
                found.setdefault(line.unit, line)
    return found
