"""Damages of the validation results, of what was said and how it sounds, and several damages at once."""

from __future__ import annotations

from dataclasses import replace

from resplice.pipelines import demo_tars
from resplice.pipelines.demo_audio import cut_short, phrases, timed
from resplice.pipelines.demo_plant import COLLAPSED, Damage, planter
from resplice.pipelines.demo_video import Draft, Result, Row, clean, collapsed, healthy_splits, originals_with_splits

TABLE: list[Damage] = []
plant = planter(TABLE)

NO_STATUS, OTHER_ORDER, FEW_COLUMNS = 0, 1, 2
UNEVEN_S = (3.0, 5.5, 2.2, 4.0, 7.0, 3.5, 2.0, 4.8, 6.4, 2.6)


@plant()
def history_in_two_shards(draft: Draft) -> None:
    """A clean video whose results stand complete in two shards."""
    clean(draft)
    draft.remember(shard=4)
    draft.remember(shard=5)


@plant()
def history_halved(draft: Draft) -> None:
    """A clean video with some results in one shard and the rest in another."""
    clean(draft, originals=4)
    draft.history = [replace(result, shard=3 + at % 2) for at, result in enumerate(draft.history)]


@plant()
def history_twice_in_one_shard(draft: Draft) -> None:
    """Every result stands twice in the same shard."""
    clean(draft)
    draft.remember()


@plant(*COLLAPSED)
def collapsed_in_two_shards(draft: Draft) -> None:
    """The old results to be replaced stand in two shards."""
    collapsed(draft)
    draft.history.clear()
    draft.remember_collapsed(shard=3)
    draft.remember_collapsed(shard=6)


@plant()
def old_shard_without_status(draft: Draft) -> None:
    """Results from before there was a status: they count as results."""
    clean(draft)
    draft.history = [replace(result, shard=NO_STATUS) for result in draft.history]


@plant()
def old_shard_in_other_order(draft: Draft) -> None:
    """Results in a shard whose columns are ordered and typed otherwise."""
    clean(draft)
    draft.history = [replace(result, shard=OTHER_ORDER) for result in draft.history]


@plant(*COLLAPSED)
def collapsed_in_old_shards(draft: Draft) -> None:
    """The old results to be replaced stand in shards with older columns."""
    collapsed(draft)
    draft.history.clear()
    draft.remember_collapsed(shard=NO_STATUS)
    draft.remember_collapsed(shard=FEW_COLUMNS)


@plant()
def history_error_then_passed(draft: Draft) -> None:
    """An error in one shard and a verdict in a later one: there is a result."""
    clean(draft)
    draft.history = [Result(3, draft.rows[0].segment_file, "error"), *(replace(r, shard=4) for r in draft.history)]


@plant()
def history_of_unknown_status(draft: Draft) -> None:
    """A status that no setting names: a result without a status."""
    clean(draft)
    draft.history = [replace(result, status="skipped") for result in draft.history]


@plant()
def history_failed_verdicts(draft: Draft) -> None:
    """Verdicts `failed` are results, never a reason."""
    clean(draft)
    draft.history = [replace(result, status="failed") for result in draft.history]


@plant()
def history_in_canonical_names(draft: Draft) -> None:
    """Results of splits that are named `X_splitD.flac`: read as rows they are the same segments."""
    healthy_splits(draft)
    draft.history = [replace(r, segment_file=r.segment_file.replace(".flac_split", "_split")) for r in draft.history]


@plant()
def history_of_unknown_segment(draft: Draft) -> None:
    """A result whose segment has no row."""
    clean(draft)
    draft.history.append(Result(draft.shard, "seg_0077.flac"))


@plant()
def only_in_history(draft: Draft) -> None:
    """Results of a video that nothing else knows any more."""
    clean(draft)
    draft.rows.clear()
    draft.raw, draft.audio, draft.in_videos = None, None, False


@plant("validation_missing")
def validation_missing_for_video(draft: Draft) -> None:
    """A right tar that was never validated."""
    clean(draft)
    draft.history.clear()


@plant("validation_missing")
def validation_missing_for_row(draft: Draft) -> None:
    """One segment has no result."""
    clean(draft)
    del draft.history[1]


@plant("validation_missing")
def validation_error(draft: Draft) -> None:
    """One segment's only result is an error."""
    clean(draft)
    draft.history[1] = replace(draft.history[1], status="error")


@plant("split_rows", "validation_missing")
def split_without_result(draft: Draft) -> None:
    """A right tar with splits, one of which has no result."""
    healthy_splits(draft)
    del draft.history[0]


@plant("validation_failed")
def validation_failed(draft: Draft) -> None:
    """The video's status is `validation_failed`; its tar is right and its results are there."""
    clean(draft)
    draft.history = [replace(result, status="failed") for result in draft.history]
    draft.validation_status = "validation_failed"


@plant("validation_failed", "validation_missing")
def validation_failed_without_results(draft: Draft) -> None:
    """The same without results."""
    clean(draft)
    draft.history.clear()
    draft.validation_status = "validation_failed"


@plant()
def validation_failed_without_rows(draft: Draft) -> None:
    """The same without anything to validate."""
    draft.raw = draft.audio = None
    draft.validation_status = "validation_failed"


@plant("validation_missing")
def silent_segment(draft: Draft) -> None:
    """One segment of a right tar is digital silence."""
    draft.record("hush", replace(timed((False, 3.0)), texture="zero"))
    clean(draft)
    row = Row("hush.flac", "hush", None, "Somebody must have said something here once.", 3.0)
    draft.rows.append(row)
    draft.put("hush", draft.originals["hush"].flac, row)
    draft.history.clear()


@plant("validation_missing")
def undecodable_in_tar(draft: Draft) -> None:
    """One FLAC of a tar that is right by its names breaks off."""
    clean(draft)
    if draft.audio is not None:
        draft.audio["seg_0001"] = cut_short(draft.audio["seg_0001"])
    draft.history.clear()


@plant(*COLLAPSED)
def clipped_segment(draft: Draft) -> None:
    """One segment was recorded far too loud."""
    collapsed(draft, phrases(draft.rng, 18.0), timed((True, 3.0), texture="clipped"))


@plant(*COLLAPSED)
def quiet_segment(draft: Draft) -> None:
    """One segment is two faint beeps with silence in between: below -45 dBFS, though its frames count as loud."""
    collapsed(draft, phrases(draft.rng, 18.0), timed((True, 0.1), (False, 2.5), (True, 0.1), texture="tone"))


@plant("tar_missing")
def short_segment(draft: Draft) -> None:
    """One segment lasts a fifth of a second."""
    draft.record("blip", timed((True, 0.2)))
    clean(draft)
    draft.audio = None


@plant("validation_missing")
def empty_text(draft: Draft) -> None:
    """One row holds no text."""
    clean(draft)
    draft.change_row(0, text="")
    draft.history.clear()


def uneven(draft: Draft) -> None:
    """Make a clean video of ten originals of very different lengths, whose texts are all one row too early."""
    for number, seconds in enumerate(UNEVEN_S):
        draft.record(f"seg_{number:04d}", phrases(draft.rng, seconds))
    draft.transcribe()
    texts = [row.text for row in draft.rows]
    for at, text in enumerate([*texts[1:], texts[0]]):
        draft.change_row(at, text=text)
    draft.pack()
    draft.remember()


@plant("validation_missing")
def off_by_one_texts(draft: Draft) -> None:
    """Every row has the text of the next one."""
    uneven(draft)
    draft.history.clear()


@plant("tar_missing")
def off_by_one_texts_to_repair(draft: Draft) -> None:
    """The same in a video whose tar is missing."""
    uneven(draft)
    draft.audio = None


@plant("split_rows", "tar_unreadable", "validation_failed", "validation_missing")
def several_damages(draft: Draft) -> None:
    """Splits, a truncated tar, a failed status and no results: all of it can be mended."""
    originals_with_splits(draft)
    draft.pack()
    draft.spoil, draft.validation_status = demo_tars.cut_mid_member, "validation_failed"


@plant("split_rows", "tar_missing", "validation_failed", "validation_missing", refused="raw_missing")
def several_refusals(draft: Draft) -> None:
    """No tar at all, a bad name and a collision: the missing raw tar is the first reason that holds."""
    originals_with_splits(draft)
    draft.rows.append(replace(draft.rows[0], segment_file="talk_split0.flac"))
    draft.rows.append(Row("", "", None, "Lost.", 1.0))
    draft.raw = draft.audio = None
    draft.validation_status = "validation_failed"
