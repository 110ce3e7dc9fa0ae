"""Rebuild one video's transcribed tar from its raw tar and its rows, without transcribing again.

Memory follows the largest segment: pieces are spooled to disk as they are made, and the tar is written from there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from resplice.io import ledger, pool, sidecars
from resplice.io.context import Context
from resplice.io.cut import Cut, Regenerated, write_json
from resplice.io.inventory import read_names
from resplice.io.ledger import Entry, remembered
from resplice.io.rows import Row
from resplice.io.sandbox import Sandbox
from resplice.io.snapshots import object_key
from resplice.io.spool import Spool
from resplice.io.store import Changed, Place
from resplice.io.tars import Member
from resplice.io.tarstate import RAW, TRANSCRIBED, OpenTar, opened
from resplice.io.work import Item, Planned
from resplice.transforms import provenance, repack
from resplice.transforms.affected import UNREADABLE
from resplice.transforms.audit import RowName, in_stem_order
from resplice.transforms.names import stem
from resplice.transforms.provenance import fingerprint
from resplice.transforms.records import Damage, Reason, Refusal, Segment
from resplice.transforms.repack import Piece, member_names, tar_name
from resplice.transforms.retry import again
from resplice.transforms.settings import Repair

_JSON_BATCH = 256
BUILT_IN_JSON = Repair().json
Pieces = dict[Segment, Piece]


class Rebuild:
    """Rebuild the tars of a work item: item → one entry a video; every outcome is in the ledger before it is yielded.

    `stage` is "repair" or "pack"; `frozen` says whether a baseline froze the inputs (pack has none).
    """

    def __init__(self, context: Context, stage: str, plugins: Mapping[str, str], frozen: bool = True) -> None:
        self._context = context
        self._stage = context.stage(stage)
        self._plugins = dict(plugins)
        self._frozen = frozen

    def __call__(self, item: Item) -> Iterator[Entry]:
        """Rebuild every video of the item that is to do."""
        rows = self._context.rows.of([video.video_id for video in item.videos])
        entries = {entry.unit: entry for entry in item.before if entry}
        with ledger.entering(self._context.workspace.store, self._stage, item.name, entries) as enter:
            for video, before in zip(item.videos, item.before, strict=True):
                entry = self._outcome(video, rows[video.video_id], before)
                entries[entry.unit] = entry
                enter()
        yield from (entries[video.video_id] for video in item.videos)

    def _outcome(self, video: Planned, rows: list[Row], before: Entry | None) -> Entry:
        retry = self._context.settings.run.retry
        if before and before.outcome == "refused" and not again("refused", retry, False):
            return before
        try:
            return self._rebuilt(video, rows, before)
        except Refusal as refusal:
            made = {"fingerprint": before.fingerprint, "inputs": before.inputs} if before else {"fingerprint": ""}
            entry = Entry.refused(video.video_id, refusal, seq=self._context.run.seq, **made)
            return before if before and entry.same_as(before) else entry

    def _rebuilt(self, video: Planned, rows: list[Row], before: Entry | None) -> Entry:
        with opened(self._context.raw.store, f"{video.video_id}.tar", video.video_id, RAW) as raw:
            if raw is None:
                raise Refusal(Reason.RAW_MISSING, f"there is no {video.video_id}.tar")
            try:
                return self._from_raw(raw, video, rows, before)
            except Changed:
                raise Refusal(Reason.DRIFTED, "the raw tar changed while it was read") from None

    def _from_raw(self, raw: OpenTar, video: Planned, rows: list[Row], before: Entry | None) -> Entry:
        context, id_ = self._context, video.video_id
        self._check_raw(raw, video, before)
        rows_digest = provenance.rows_digest(row.columns for row in rows)
        if self._frozen and rows_digest != video.rows_digest:
            raise Refusal(Reason.DRIFTED, "the rows are not those of the baseline; --refresh freezes them anew")
        names, bad = read_names(rows, raw.state.names)
        repack.check_names(names, bad)
        metadata = self._metadata(video, raw)
        inputs = {"raw": remembered(before, "raw", raw.token) or [raw.token, raw.digest()]}
        print_ = self._fingerprint(inputs["raw"][1], rows_digest, metadata)
        tar_key = f"{self._stage}/transcribed/{tar_name(id_)}"
        intact = before is not None and before.fingerprint == print_ and self._intact(before, tar_key)
        if before and not again(before.outcome, context.settings.run.retry, intact):
            return before if before.outcome == "done" else before.done_after_all(context.run.seq)
        with tempfile.TemporaryFile() as file, tempfile.NamedTemporaryFile() as tar:
            spool = Spool(file)
            pieces = self._regenerate(raw, names, id_, spool)
            self._jsons(id_, {row.id: row for row in rows}, names, pieces, spool)
            spool.add("metadata.json", metadata)
            index, sha = spool.write_tar(tar.file)
            self._check_same(before, print_, sha, id_)
            context.workspace.store.replace(tar_key, Path(tar.name), None)
            token = spool.token_in(context.workspace.store, tar_key, Path(tar.name))
            if not token:
                raise RuntimeError(f"{id_}: the repaired tar does not read back as it was written")
            size = Path(tar.name).stat().st_size
        inputs["tar"] = [token, sha]
        evidence = {
            "fingerprint": print_,
            "rows_digest": rows_digest,
            "metadata_sha256": provenance.sha256(metadata),
            "plugins": self._plugins,
        }
        return self._finish(id_, (tar_key, size), (raw.size, inputs), index, pieces, evidence)

    def _check_raw(self, raw: OpenTar, video: Planned, before: Entry | None) -> None:
        """Refuse a raw tar that is not as the baseline froze it, or cannot be read."""
        if self._frozen and raw.token != video.raw_token:
            detail = (
                f"the raw tar is version {raw.token}, the baseline saw {video.raw_token}; --refresh freezes it anew"
            )
            raise Refusal(Reason.DRIFTED, detail)
        if not remembered(before, "raw", raw.token):
            raw.bring()
        if raw.state.state == UNREADABLE:
            raise Refusal(Reason.RAW_UNREADABLE, raw.state.detail)

    def _metadata(self, video: Planned, raw: OpenTar) -> bytes:
        """Return metadata.json: the readable old transcribed tar's, else the raw tar's, else an empty object."""
        place, key = old_tar(self._context, video)
        with opened(place.store, key, video.video_id, TRANSCRIBED) as old:
            for tar in (old, raw):
                if tar is not None and tar.state.content.metadata is not None:
                    return tar.read(tar.members[tar.state.content.metadata])
        return b"{}\n"

    def _fingerprint(self, raw_sha256: str, rows_digest: str, metadata: bytes) -> str:
        settings = self._context.settings
        return fingerprint(
            raw=raw_sha256,
            rows=rows_digest,
            metadata=provenance.sha256(metadata),
            polish=settings.polish,
            repair=settings.repair,
            columns=settings.database.columns,
            plugins=self._plugins,
            tools=sidecars.tools(),
        )

    def _intact(self, before: Entry, tar_key: str) -> bool:
        """Return whether the artifact of an entry is there, finished, and what it was."""
        store = self._context.workspace.store
        head = store.head(tar_key)
        if head is None or "tar" not in before.inputs or store.head(index_key(tar_key)) is None:
            return False
        if not sidecars.exists(store, tar_key):
            return False
        token, sha = before.inputs["tar"]
        published = store.head(object_key(sha, ".tar"))  # merge links the tar: a new token, the same bytes
        if head.token == token or (published and published.token == head.token):
            return True
        return bool(sidecars.digest(store, tar_key) == sha)

    def _regenerate(self, raw: OpenTar, names: Sequence[RowName], id_: str, spool: Spool) -> Pieces:
        """Cut every original into the spool; raise the first refusal of the contract's order that holds."""
        settings, flacs = self._context.settings, raw.state.content.flacs
        pieces: Pieces = {}
        skip: set[str] = set()
        if settings.repair.originals_without_rows == "leave_out":
            skip = set(repack.originals_without_rows(flacs, names))
        failed: Refusal | None = None
        with pool.borrowed(settings.run.timeout_s, settings.run.memory_mb) as sandbox:
            for original in sorted(set(flacs) - skip):
                try:
                    flac, made = self._cut(sandbox, raw, raw.members[flacs[original]], only_check=failed is not None)
                except Damage as damage:
                    raise Refusal(Reason.SEGMENT_UNDECODABLE, str(damage), stem(Segment(original))) from None
                except Refusal as refusal:
                    failed = failed or Refusal(refusal.reason, refusal.detail, stem(Segment(original)))
                    continue
                for segment, cut in zip(repack.number_pieces(original, len(made.cuts)), made.cuts, strict=True):
                    pieces[segment] = _piece(segment, cut, made.rate)
                    spool.add(member_names(id_, stem(segment))[0], flac if cut.flac is None else cut.flac)
        absent = {n.segment.original for n in names if n.segment} - set(flacs)
        if failed and not absent:
            raise failed
        repack.check_segments(pieces, [n for n in names if n.segment])
        repack.check_durations(pieces, names, settings.repair.duration_tolerance_s)
        return pieces

    def _cut(self, sandbox: Sandbox, raw: OpenTar, member: Member, only_check: bool) -> tuple[bytes, Regenerated]:
        """Cut one original in the killable worker; `only_check`: decode it, and cut nothing."""
        settings = self._context.settings
        limit = settings.run.memory_mb << 19
        if member.size > limit:
            raise Damage("flac_too_large", f"{member.size} bytes, {limit} allowed; raise run.memory_mb")
        flac = raw.read(member)
        if only_check:
            sandbox.call("resplice.io.cut:check", flac, limit)
            return flac, Regenerated(0, ())
        polish = settings.polish
        made: Regenerated = sandbox.call(
            "resplice.io.cut:regenerate", flac, polish.splitter, splitter_settings(polish), limit
        )
        return flac, made

    def _jsons(
        self, id_: str, rows: Mapping[int | str, Row], names: Sequence[RowName], pieces: Pieces, spool: Spool
    ) -> None:
        """Write the JSON of every segment into the spool."""
        settings = self._context.settings
        ordered = in_stem_order(names)
        for first in range(0, len(ordered), _JSON_BATCH):
            batch = ordered[first : first + _JSON_BATCH]
            objects = [
                repack.segment_object(id_, name, pieces[segment], rows[name.id].columns) for segment, name in batch
            ]
            if settings.repair.json == BUILT_IN_JSON:
                files = write_json(settings.repair.json, objects)
            else:
                with pool.borrowed(settings.run.timeout_s, settings.run.memory_mb) as sandbox:
                    files = sandbox.call("resplice.io.cut:write_json", settings.repair.json, objects)
            for object_, data in zip(objects, files, strict=True):
                spool.add(member_names(id_, object_["stem"])[1], data)

    def _check_same(self, before: Entry | None, print_: str, sha: str, id_: str) -> None:
        if before and before.fingerprint == print_ and before.inputs.get("tar", ["", sha])[1] != sha:
            raise RuntimeError(
                f"{id_}: the same inputs gave another tar ({sha}, before {before.inputs['tar'][1]}): "
                "the splitter or the JSON writer is not deterministic"
            )

    def _finish(
        self, id_: str, tar: tuple[str, int], given: tuple[int, dict[str, Any]], index: Sequence[Mapping[str, Any]],
        pieces: Pieces, evidence: Mapping[str, Any],
    ) -> Entry:  # fmt: skip
        """Write index and sidecar; `tar` is its key and bytes, `given` the bytes of the raw tar, and the digests."""
        context, place, (tar_key, size), (raw_bytes, inputs) = self._context, self._context.workspace, tar, given
        listed = provenance.document(index)
        place.store.replace(index_key(tar_key), listed, None)
        counts = {"segments": len(pieces), "seconds": round(sum(p.duration_s for p in pieces.values()), 3)}
        sidecar = sidecars.content(
            context,
            "repaired-tar",
            stats=counts,
            inputs={"raw": sidecars.known(context.raw, f"{id_}.tar", inputs["raw"][1], raw_bytes)},
            outputs={
                "tar": sidecars.known(place, tar_key, inputs["tar"][1], size),
                "index": sidecars.known(place, index_key(tar_key), provenance.sha256(listed), len(listed)),
            },
            video_id=id_,
            **evidence,
        )
        sidecars.write(place.store, tar_key, sidecar)
        return Entry(
            id_, "done", evidence["fingerprint"], context.run.seq, at=provenance.now(), inputs=inputs, counts=counts
        )


def index_key(tar_key: str) -> str:
    """Return the key of a repaired tar's index."""
    return tar_key.removesuffix("_transcribed.tar") + ".index.json"


def old_tar(context: Context, video: Planned) -> tuple[Place, str]:
    """Return where the tar of a video is before this run: the snapshot's object, else the corpus's."""
    if video.repaired is not None:
        return context.workspace, video.repaired.key
    return context.transcribed, tar_name(video.video_id)


def splitter_settings(polish: Any) -> dict[str, Any]:
    """Return what the splitter is given: every key of [polish] but its own name."""
    values = {name: value for name, value in asdict(polish).items() if name not in ("splitter", "extra")}
    return {**values, **dict(polish.extra)}


def _piece(segment: Segment, cut: Cut, rate: int) -> Piece:
    start, end = (None, None) if cut.start is None or cut.end is None else (cut.start / rate, cut.end / rate)
    return Piece(segment, start, end, cut.frames / rate)
