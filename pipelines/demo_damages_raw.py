"""Damages of the raw tar, of its audio, and of the rows that should agree with it."""

from __future__ import annotations

from resplice.pipelines import demo_tars
from resplice.pipelines.demo_audio import cut_short, lying_md5, phrases, timed
from resplice.pipelines.demo_plant import COLLAPSED, Damage, planter
from resplice.pipelines.demo_video import Draft, Row, clean, collapsed, healthy_splits

TABLE: list[Damage] = []
plant = planter(TABLE)


@plant(*COLLAPSED, refused="raw_missing")
def raw_missing(draft: Draft) -> None:
    """Collapsed, and nothing to repair it from."""
    collapsed(draft)
    draft.raw = None


@plant()
def raw_missing_but_not_needed(draft: Draft) -> None:
    """No raw tar, and nothing to repair."""
    clean(draft)
    draft.raw = None


@plant(*COLLAPSED, refused="raw_unreadable")
def raw_truncated(draft: Draft) -> None:
    """The raw tar breaks off inside of a member."""
    collapsed(draft)
    draft.spoil_raw = demo_tars.cut_mid_member


@plant(*COLLAPSED, refused="raw_unreadable")
def raw_truncated_at_boundary(draft: Draft) -> None:
    """The raw tar breaks off between two members."""
    collapsed(draft)
    draft.spoil_raw = demo_tars.cut_at_boundary


@plant("tar_missing", refused="raw_unreadable")
def raw_garbage(draft: Draft) -> None:
    """The raw file is no tar, and the transcribed tar is missing."""
    clean(draft)
    draft.audio, draft.spoil_raw = None, demo_tars.garbage


@plant()
def raw_broken_but_not_needed(draft: Draft) -> None:
    """A broken raw tar, and nothing to repair."""
    clean(draft)
    draft.spoil_raw = demo_tars.bad_checksum


@plant(*COLLAPSED)
def raw_without_folder(draft: Draft) -> None:
    """The raw tar names its members `segments/…` without the id, in a folder of its own."""
    collapsed(draft)
    draft.raw_prefix = "segments/"


@plant(*COLLAPSED, refused="segment_undecodable")
def segment_undecodable(draft: Draft) -> None:
    """One raw FLAC breaks off."""
    collapsed(draft)
    (draft.raw or {})["seg_0001"] = cut_short(draft.originals["seg_0001"].flac)


@plant(*COLLAPSED, refused="segment_undecodable")
def segment_not_flac(draft: Draft) -> None:
    """One raw FLAC is a text."""
    collapsed(draft)
    (draft.raw or {})["seg_0001"] = b"<html>404 Not Found</html>\n" * 40


@plant(*COLLAPSED, refused="segment_undecodable")
def flac_md5_lies(draft: Draft) -> None:
    """One raw FLAC decodes, but not to the MD5 that its header names."""
    collapsed(draft)
    (draft.raw or {})["talk"] = lying_md5(draft.originals["talk"].flac)


@plant("members_missing", "validation_missing", refused="segment_mismatch")
def rows_without_audio(draft: Draft) -> None:
    """A row of an original that neither tar has."""
    clean(draft)
    draft.rows.append(Row("seg_0099.flac", "seg_0099", None, "Nobody has heard this.", 1.5))


@plant(*COLLAPSED, refused="segment_mismatch")
def audio_without_rows(draft: Draft) -> None:
    """An original none of whose pieces has a row, in a video that must be repaired."""
    collapsed(draft)
    draft.record("seg_0098", phrases(draft.rng, 2.0))


@plant()
def audio_without_rows_but_not_needed(draft: Draft) -> None:
    """The same in a video whose tar is right."""
    clean(draft)
    draft.record("seg_0098", phrases(draft.rng, 2.0))


@plant(*COLLAPSED, refused="segment_mismatch")
def split_without_row(draft: Draft) -> None:
    """One of the splits was never written to the DB."""
    collapsed(draft, phrases(draft.rng, 40.0))
    del draft.rows[1]


@plant(*COLLAPSED, refused="segment_mismatch")
def row_of_silent_original(draft: Draft) -> None:
    """A row and a pair of an original in which polish finds no sound."""
    collapsed(draft)
    draft.record("hush", timed((False, 3.0)))
    row = Row("hush.flac", "hush", None, "Hush.", 3.0)
    draft.rows.append(row)
    draft.put("hush", draft.originals["hush"].flac, row)


@plant(*COLLAPSED, refused="duration_mismatch")
def wrong_duration(draft: Draft) -> None:
    """A split's row is half a second longer than its audio."""
    collapsed(draft)
    draft.change_row(1, duration_s=round((draft.rows[1].duration_s or 0) + 0.5, 3))


@plant("split_rows", "tar_mismatch", refused="duration_mismatch")
def wrong_duration_beside_right_tar(draft: Draft) -> None:
    """The tar has the right splits, and a row says 80 ms more."""
    healthy_splits(draft)
    draft.change_row(0, duration_s=round((draft.rows[0].duration_s or 0) + 0.08, 3))


@plant("tar_missing", refused="duration_mismatch")
def wrong_duration_of_unsplit(draft: Draft) -> None:
    """An unsplit row that is off shows only when its tar has to be made anew."""
    clean(draft)
    draft.audio = None
    draft.change_row(0, duration_s=round((draft.rows[0].duration_s or 0) + 2.0, 3))


@plant()
def wrong_duration_but_not_compared(draft: Draft) -> None:
    """The same beside a right tar: unsplit audio is compared by name only."""
    clean(draft)
    draft.change_row(0, duration_s=round((draft.rows[0].duration_s or 0) + 2.0, 3))


@plant(*COLLAPSED)
def durations_within_tolerance(draft: Draft) -> None:
    """Every row is 40 ms off: still the same audio."""
    collapsed(draft)
    for at, row in enumerate(draft.rows):
        draft.change_row(at, duration_s=round((row.duration_s or 0) + (0.04 if at % 2 else -0.04), 3))


@plant(*COLLAPSED)
def durations_unknown(draft: Draft) -> None:
    """The rows have no duration."""
    collapsed(draft)
    for at in range(len(draft.rows)):
        draft.change_row(at, duration_s=None)


@plant("tar_mismatch", refused="no_rows")
def tar_without_rows(draft: Draft) -> None:
    """Both tars, and no row."""
    clean(draft)
    draft.rows.clear()
    draft.history.clear()


@plant("tar_unreadable", refused="no_rows")
def unreadable_tar_without_rows(draft: Draft) -> None:
    """A broken transcribed tar, and no row."""
    tar_without_rows(draft)
    draft.spoil = demo_tars.cut_mid_member


@plant()
def raw_without_rows(draft: Draft) -> None:
    """A raw tar that was never transcribed: not planned."""
    tar_without_rows(draft)
    draft.audio, draft.validation_status = None, None


@plant("tar_missing", "validation_missing", refused="raw_missing")
def rows_without_any_tar(draft: Draft) -> None:
    """Rows, and nothing else."""
    clean(draft)
    draft.raw = draft.audio = None
    draft.history.clear()


@plant()
def not_in_videos_table(draft: Draft) -> None:
    """Rows, tars and results of a video that the videos table does not know."""
    clean(draft)
    draft.in_videos = False
