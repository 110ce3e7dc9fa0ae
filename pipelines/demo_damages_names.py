"""Names that invite a wrong reading: of originals, of rows and of videos."""

from __future__ import annotations

import tarfile
from dataclasses import replace

from resplice.pipelines.demo_audio import phrases
from resplice.pipelines.demo_plant import COLLAPSED, Damage, planter
from resplice.pipelines.demo_video import Draft, Row, clean, collapsed, stem

TABLE: list[Damage] = []
plant = planter(TABLE)


def odd_originals(draft: Draft) -> None:
    """Record originals with names that invite a wrong reading."""
    for name in ("12.5", "50% off", "a_split01", "plain", "talk_split3", "größe"):
        draft.record(name, phrases(draft.rng, draft.rng.uniform(1.0, 4.0)))
    draft.transcribe()
    draft.remember()
    draft.tar_format = tarfile.PAX_FORMAT


@plant()
def odd_names_as_rows(draft: Draft) -> None:
    """A clean video with such names; the tar names its members like the rows."""
    odd_originals(draft)
    draft.pack()


@plant()
def odd_names_as_stems(draft: Draft) -> None:
    """A clean video with such names; the tar names its members by canonical stems."""
    odd_originals(draft)
    draft.pack_right()


@plant()
def canonical_rows(draft: Draft) -> None:
    """The rows hold canonical stems already, in the tar and in history too."""
    draft.record("12.5", phrases(draft.rng, 22.0))
    draft.record("a_split3", phrases(draft.rng, 2.0))
    draft.transcribe()
    for at, row in enumerate(draft.rows):
        name = stem(row.original, row.index)
        draft.change_row(at, segment_file=f"{name}.flac" if at % 2 else name)
    draft.pack_right()
    draft.remember()


@plant()
def long_names_pax(draft: Draft) -> None:
    """Names of more than 100 bytes in pax headers, and directory entries."""
    draft.record("l" * 140, phrases(draft.rng, 2.0))
    clean(draft)
    draft.tar_format, draft.folders = tarfile.PAX_FORMAT, True


@plant(*COLLAPSED)
def long_names_gnu(draft: Draft) -> None:
    """Names of more than 100 bytes in GNU headers, and directory entries."""
    draft.record("l" * 140, phrases(draft.rng, 18.0))
    collapsed(draft)
    draft.tar_format, draft.folders = tarfile.GNU_FORMAT, True


@plant(*COLLAPSED)
def splits_of_split_named_original(draft: Draft) -> None:
    """The original itself is called `…_split3.flac`."""
    draft.record("talk_split3", phrases(draft.rng, 24.0))
    collapsed(draft)


@plant(*COLLAPSED)
def splits_of_dotted_original(draft: Draft) -> None:
    """The original itself is called `12.5.flac`."""
    draft.record("12.5", phrases(draft.rng, 21.0))
    collapsed(draft)


@plant(*COLLAPSED)
def splits_beside_their_namesake(draft: Draft) -> None:
    """An unsplit original is called like the first split of another."""
    draft.record("talk_split0", phrases(draft.rng, 3.0))
    collapsed(draft)


@plant()
def split_named_without_raw(draft: Draft) -> None:
    """Without a raw tar `talk_split3.flac` can only be read as a split, in the row, in the tar and in history."""
    draft.record("talk_split3", phrases(draft.rng, 3.0))
    clean(draft, originals=0)
    draft.raw = None
    recording = draft.originals["talk_split3"]
    draft.change_row(0, original="talk", index=3)
    draft.known_md5 = {"talk_split3": recording.md5(0, recording.layout.length)}


@plant(*COLLAPSED, refused="name_collision")
def name_collision(draft: Draft) -> None:
    """Two rows of one stem: `talk.flac_split0` and `talk_split0.flac`."""
    collapsed(draft)
    draft.rows.append(replace(draft.rows[0], segment_file="talk_split0.flac"))


@plant(*COLLAPSED, refused="bad_name")
def bad_name_in_split_form(draft: Draft) -> None:
    """A split number with a leading zero after the extension."""
    collapsed(draft)
    draft.rows.append(replace(draft.rows[0], segment_file="talk.flac_split01", index=None))


@plant("members_missing", "validation_missing", refused="bad_name")
def bad_name_leading_zero(draft: Draft) -> None:
    """A row `a_split01.flac`, and raw holds no such file."""
    clean(draft)
    draft.rows.append(Row("a_split01.flac", "a_split01", None, "Lost.", 1.0))


@plant("members_missing", "validation_missing", refused="bad_name")
def bad_name_empty(draft: Draft) -> None:
    """A row without a name."""
    clean(draft)
    draft.rows.append(Row("", "", None, "Lost.", 1.0))


@plant(*COLLAPSED, refused="bad_name")
def bad_name_and_collision(draft: Draft) -> None:
    """Both: the bad name is the first reason that holds."""
    name_collision(draft)
    draft.rows.append(Row("", "", None, "Lost.", 1.0))


@plant(*COLLAPSED, video_id="-dash-first")
def id_leading_dash(draft: Draft) -> None:
    """The id looks like an option."""
    collapsed(draft)


@plant(*COLLAPSED, video_id="clip_split0")
def id_with_split(draft: Draft) -> None:
    """The id looks like a split."""
    collapsed(draft)


@plant(video_id="clean_split1x")
def id_with_split_clean(draft: Draft) -> None:
    """The id looks like a split, and nothing is wrong with the video."""
    clean(draft)


@plant(*COLLAPSED, video_id="CaseTwin_01")
def id_in_upper_case(draft: Draft) -> None:
    """An id that differs only by case from that of a clean video."""
    collapsed(draft)


@plant(video_id="casetwin_01")
def id_in_lower_case(draft: Draft) -> None:
    """The clean video of the pair."""
    clean(draft)


@plant(*COLLAPSED, video_id="v1.2:a@b-c")
def id_with_punctuation(draft: Draft) -> None:
    """Every sign that an id may hold."""
    collapsed(draft)


@plant(*COLLAPSED, video_id="L" + "o" * 198 + "g")
def id_of_200_bytes(draft: Draft) -> None:
    """The longest id that is allowed."""
    collapsed(draft)
    draft.tar_format = tarfile.GNU_FORMAT


def only_in_database(draft: Draft) -> None:
    """Make a video whose id cannot name a file, so that only the DB knows it."""
    clean(draft)
    draft.raw = draft.audio = None
    draft.history.clear()


@plant(refused="bad_name", video_id="bad..id")
def id_with_two_dots(draft: Draft) -> None:
    """An id that the plan refuses."""
    only_in_database(draft)


@plant(refused="bad_name", video_id="bad/id")
def id_with_slash(draft: Draft) -> None:
    """An id that the plan refuses."""
    only_in_database(draft)


@plant(refused="bad_name", video_id="bad id")
def id_with_space(draft: Draft) -> None:
    """An id that the plan refuses."""
    only_in_database(draft)
