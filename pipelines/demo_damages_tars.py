"""Damages of the transcribed tar, and tars that only look damaged."""

from __future__ import annotations

from dataclasses import replace

from resplice.pipelines import demo_tars
from resplice.pipelines.demo_audio import between_silences, phrases, timed
from resplice.pipelines.demo_plant import COLLAPSED, Damage, planter
from resplice.pipelines.demo_video import Draft, clean, collapsed, healthy_splits, originals_with_splits, stem

TABLE: list[Damage] = []
plant = planter(TABLE)


@plant(*COLLAPSED)
def collapsed_splits(draft: Draft) -> None:
    """The bug: k splits, one JSON with the last writer's text, the unsplit audio."""
    collapsed(draft)


@plant(*COLLAPSED)
def many_splits(draft: Draft) -> None:
    """More than ten splits: their order is by number, not by letter."""
    collapsed(draft, phrases(draft.rng, 172.0))


@plant(*COLLAPSED)
def several_split_originals(draft: Draft) -> None:
    """Three originals of one video were split."""
    collapsed(draft, *(phrases(draft.rng, seconds) for seconds in (18.0, 27.0, 33.0)))


@plant(*COLLAPSED)
def forced_cuts(draft: Draft) -> None:
    """Nothing to cut at within 15 s: cuts at exactly 15 s and 30 s."""
    collapsed(draft, timed((True, 36.0)))


@plant(*COLLAPSED)
def silent_pieces(draft: Draft) -> None:
    """Pieces between the cuts hold no sound and are dropped: two splits are left of five pieces."""
    collapsed(draft, timed((True, 4.0), (False, 30.0), (True, 4.0)))


@plant(*COLLAPSED)
def one_piece_left(draft: Draft) -> None:
    """A second original is cut at exactly 15 s, and nothing but pad is left after it: not a split."""
    collapsed(draft, phrases(draft.rng, 20.0), timed((True, 15.0), (False, 1.0)))


@plant(*COLLAPSED)
def trimmed_originals(draft: Draft) -> None:
    """Originals that begin and end with silence are trimmed to the pad, and so encoded anew."""
    layouts = [between_silences(phrases(draft.rng, seconds), 70, 110) for seconds in (19.0, 4.0)]
    collapsed(draft, *layouts)


@plant(*COLLAPSED)
def silent_original(draft: Draft) -> None:
    """An original without any sound gives no segment, and it has no row."""
    collapsed(draft)
    draft.record("hush", timed((False, 3.0)))


@plant(*COLLAPSED)
def stereo_and_24_bit(draft: Draft) -> None:
    """Two channels, and 24 bits: both stay as they are."""
    stereo, deep = phrases(draft.rng, 18.0), phrases(draft.rng, 17.0)
    collapsed(draft, replace(stereo, channels=2), replace(deep, bits=24))


@plant(*COLLAPSED)
def other_rates(draft: Draft) -> None:
    """8, 22.05 and 44.1 kHz: frames of 80, 220 (not a whole 10 ms) and 441 samples."""
    collapsed(draft, *(phrases(draft.rng, 17.0, rate) for rate in (8000, 22050, 44100)))


@plant("tar_missing")
def tar_missing(draft: Draft) -> None:
    """The packaging never wrote a tar."""
    clean(draft)
    draft.audio = None


@plant("split_rows", "tar_missing")
def tar_missing_with_splits(draft: Draft) -> None:
    """No tar, though every split has a result."""
    healthy_splits(draft)
    draft.audio = None


@plant("tar_unreadable")
def tar_truncated_mid_member(draft: Draft) -> None:
    """The tar breaks off inside of a member."""
    clean(draft)
    draft.spoil = demo_tars.cut_mid_member


@plant("tar_unreadable")
def tar_truncated_at_boundary(draft: Draft) -> None:
    """The tar breaks off between two members: fewer of them, and no end blocks."""
    clean(draft)
    draft.spoil = demo_tars.cut_at_boundary


@plant("members_missing", "tar_mismatch")
def tar_shortened(draft: Draft) -> None:
    """A crashed writer closed its file: a valid tar with fewer members, FLACs without their JSON."""
    clean(draft)
    draft.metadata, draft.spoil = "", demo_tars.shortened


@plant("tar_unreadable")
def tar_garbage(draft: Draft) -> None:
    """The file is no tar."""
    clean(draft)
    draft.spoil = demo_tars.garbage


@plant("tar_unreadable")
def tar_bad_checksum(draft: Draft) -> None:
    """A header in the middle does not have its checksum."""
    clean(draft)
    draft.spoil = demo_tars.bad_checksum


@plant("tar_unreadable")
def tar_bad_size(draft: Draft) -> None:
    """A header names a negative size."""
    clean(draft)
    draft.spoil = demo_tars.bad_size


@plant("split_rows", "tar_unreadable", "validation_missing")
def tar_duplicate_members(draft: Draft) -> None:
    """The unsplit FLAC was added once for each split, under one name."""
    collapsed(draft)
    draft.more = [(f"{draft.video_id}/segments/talk.flac", draft.originals["talk"].flac)]


@plant("tar_unreadable")
def tar_no_bytes(draft: Draft) -> None:
    """The tar is an empty file."""
    clean(draft)
    draft.spoil = demo_tars.no_bytes


@plant("members_missing")
def tar_without_members(draft: Draft) -> None:
    """The tar is readable and holds nothing."""
    clean(draft)
    draft.spoil = demo_tars.no_members


@plant("tar_unreadable")
def tar_trailing_data(draft: Draft) -> None:
    """Something follows the end blocks."""
    clean(draft)
    draft.spoil = demo_tars.trailing_data


@plant("tar_unreadable")
def tar_with_symlink(draft: Draft) -> None:
    """One member is a link."""
    clean(draft)
    draft.spoil = demo_tars.with_symlink


@plant("tar_unreadable")
def tar_unsafe_path(draft: Draft) -> None:
    """One member would be unpacked outside of its folder."""
    clean(draft)
    draft.spoil = demo_tars.with_unsafe_path


@plant("split_rows", "tar_mismatch")
def half_fixed_tar(draft: Draft) -> None:
    """The names are right, and every FLAC is still the whole original."""
    originals_with_splits(draft)
    for row in draft.rows:
        draft.put(stem(row.original, row.index), draft.originals[row.original].flac, row)
    draft.remember()


@plant("members_missing", "tar_mismatch")
def flac_missing(draft: Draft) -> None:
    """One FLAC is gone; its JSON stands alone."""
    clean(draft)
    (draft.audio or {}).pop("seg_0002")


@plant("members_missing", "tar_mismatch")
def json_missing(draft: Draft) -> None:
    """One JSON is gone; its FLAC stands alone."""
    clean(draft)
    draft.texts.pop("seg_0002")


@plant("members_missing")
def pair_missing(draft: Draft) -> None:
    """One segment is gone from the tar, FLAC and JSON."""
    clean(draft)
    (draft.audio or {}).pop("seg_0002")
    draft.texts.pop("seg_0002")


@plant("members_missing", "split_rows")
def split_pair_missing(draft: Draft) -> None:
    """One split is gone from a tar that is right otherwise."""
    healthy_splits(draft)
    (draft.audio or {}).pop("talk_split1")
    draft.texts.pop("talk_split1")


@plant("tar_mismatch")
def extra_members(draft: Draft) -> None:
    """The tar holds a pair that no row knows."""
    clean(draft)
    draft.put("seg_0099", draft.originals["seg_0001"].flac, draft.rows[0])


@plant("tar_mismatch")
def two_members_of_one_segment(draft: Draft) -> None:
    """`12.5` and `12%2E5` in one tar name the same segment."""
    draft.record("12.5", phrases(draft.rng, 3.0))
    clean(draft)
    draft.put("12%2E5", draft.originals["12.5"].flac, draft.rows[0])


@plant()
def healthy_split_tar(draft: Draft) -> None:
    """A video of the mended packaging: nothing to do."""
    healthy_splits(draft)
