"""The report of a recovery: its facts (the content of report.json) as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from resplice.transforms import calibration_page
from resplice.transforms.coverage import Bucket
from resplice.transforms.distributions import from_json
from resplice.transforms.page import (
    Bar,
    Bars,
    Block,
    Change,
    Changes,
    Figure,
    Figures,
    Flow,
    Listening,
    Node,
    Page,
    Section,
    Tone,
)
from resplice.transforms.run_page import duration, refusals, time_spent

Facts = Mapping[str, Any]
NOT_AFFECTED, PLANNED = "not affected", "planned"
LEFT_OUT, NOT_PLANNABLE = "left out of the plan", "refused by the plan"
"""Where the video of a row stands, as `flow` of the facts calls it."""
_MOST_REASONS = 20
_TONES: dict[str, Tone] = {
    Bucket.VALIDATED: "good",
    Bucket.RAW_MISSING: "plain",
    Bucket.UNRECONSTRUCTABLE: "note",
    Bucket.RUNTIME_FAILURE: "warn",
    Bucket.UNACCOUNTED: "bad",
}
_VERDICTS: dict[str, tuple[str, Tone]] = {
    "passed": ("validated: passed", "good"),
    "failed": ("validated: failed", "warn"),
    "": ("validated: without a status", "plain"),
}
_CHANGES = {
    "videos_right_tar": "Videos whose tar is right",
    "rows_right_tar": "Rows whose audio and text are in a right tar",
    "rows_validated": "Rows with a result that can be relied on",
}


def page(facts: Facts, refused: Sequence[Sequence[str]], samples: Sequence[Listening], folder: str) -> Page:
    """Return the page; `refused` are (video, stage, reason, segment, detail), `folder` is where the run's files are."""
    sections = [
        _overview(facts),
        _flow(facts),
        _before_and_after(facts),
        _samples(samples),
        _reasons(facts),
        _measures(facts),
        calibration_page.section(facts.get("calibration")),
        _refused(facts, refused, folder),
        time_spent(facts),
    ]
    verdict, tone = _verdict(facts)
    return Page(f"Recovery {facts['run_id']}", verdict, tone, list(_about(facts)), [s for s in sections if s.blocks])


def _verdict(facts: Facts) -> tuple[str, Tone]:
    coverage = facts["coverage"]
    if coverage is None:
        return "Not finished: this is what is known so far", "warn"
    if coverage["complete"]:
        return "Complete: every row is validated or in a named bucket", "good"
    return f"Not complete: {coverage['buckets'][Bucket.UNACCOUNTED]:,} rows are unaccounted", "bad"


def _about(facts: Facts) -> Iterator[tuple[str, str]]:
    if facts["coverage"]:
        yield "snapshot", str(facts["coverage"]["snapshot"])
    yield "made", facts["time"]["at"][:19].replace("T", " ") + " UTC"
    yield "by", f"resplice {facts['code_version']}"


def _overview(facts: Facts) -> Section:
    figures = []
    if coverage := facts["coverage"]:
        share = coverage["validated"] / (coverage["rows"] or 1)
        figures.append(Figure(f"{coverage['rows']:,}", "rows"))
        figures.append(Figure(f"{share:.1%}", "validated", f"{coverage['validated']:,} rows", "good"))
        lost = coverage["buckets"][Bucket.UNACCOUNTED]
        figures.append(Figure(f"{lost:,}", "rows unaccounted", tone="bad" if lost else "good"))
    if plan := facts["plan"]:
        of = f"of {facts['baseline']['videos']:,}" if facts["baseline"] else ""
        figures.append(Figure(f"{plan['videos']:,}", "videos affected", of))
    if hours := facts["hours"]:
        figures.append(Figure(_hours(hours["planned"]), "of audio in affected videos"))
        figures.append(Figure(_hours(hours["repaired"]), "repaired, not transcribed again", tone="good"))
    figures.append(Figure(f"{facts['refused']:,}", "refusals", "each with its reason"))
    figures.append(Figure(duration(facts["time"]["total_s"]), "of work", _processes(facts["time"])))
    return Section("overview", "Overview", "", [Figures(figures)])


def _processes(time: Facts) -> str:
    text = f"{time['processes']} process" + ("es" if time["processes"] != 1 else "")
    return text + (f", {len(time['without_end'])} without a recorded end" if time["without_end"] else "")


def _flow(facts: Facts) -> Section:
    if not facts["flow"]:
        return Section("flow", "", "", [])
    ends: Counter[tuple[str, str]] = Counter()
    for line in facts["flow"]:
        ends[line["standing"], _end(line)] += line["rows"]
    there = {standing for standing, _ in ends}
    standings = [standing for standing in (NOT_AFFECTED, PLANNED, LEFT_OUT, NOT_PLANNABLE) if standing in there]
    order = [*(f"validated/{status}" for status in _VERDICTS), *(str(b) for b in Bucket if b != Bucket.VALIDATED)]
    nodes = [Node("rows", 0, "rows", "plain"), *(Node(s, 1, f"rows of videos {s}", "plain") for s in standings)]
    nodes += [_node(end) for end in order if any(e == end for _, e in ends)]
    links = [("rows", s, sum(count for (standing, _), count in ends.items() if standing == s)) for s in standings]
    links += [(s, end, ends[s, end]) for s in standings for end in order if ends[s, end]]
    text = (
        "From the rows of the database to the bucket in which each of them ended. "
        "Only planned videos were worked on; what was right stayed as it was."
    )
    flow = Flow("Rows by where they ended", "rows", nodes, links)
    return Section("flow", "Every row, from start to bucket", text, [flow])


def _end(line: Facts) -> str:
    return f"validated/{line['status']}" if line["bucket"] == Bucket.VALIDATED else str(line["bucket"])


def _node(end: str) -> Node:
    bucket, _, status = end.partition("/")
    label, tone = _VERDICTS[status] if bucket == Bucket.VALIDATED else (bucket, _TONES[bucket])
    return Node(end, 2, label, tone)


def _before_and_after(facts: Facts) -> Section:
    blocks: list[Block] = []
    if changes := facts["changes"]:
        rows = [Change(_CHANGES[name], c["before"], c["after"], c["of"]) for name, c in changes.items()]
        note = "Before: what the run found right and left alone. Old results of affected videos are not relied on."
        blocks = [Changes("What the run changed", rows, note)]
    return Section("before-after", "Before and after", "", blocks)


def _samples(samples: Sequence[Listening]) -> Section:
    text = (
        "A few repaired originals: the audio that the tar held before, and the pieces it holds now. Shaded "
        "stretches are the new segments, dashed lines the cuts between them. The buttons play their "
        "first seconds."
    )
    return Section("listen", "Look and listen", text, list(samples))


def _reasons(facts: Facts) -> Section:
    blocks: list[Block] = []
    if plan := facts["plan"]:
        note = "A video has all reasons that hold."
        if plan["not_selected"]:
            note += f" {plan['not_selected']:,} affected videos were left out of the plan."
        blocks.append(_bars("plan: why videos are affected", plan["by_reason"], "plain", note))
    if facts["stages"]:
        rows = [Bar(stage, units["refused"], _share(units), "note") for stage, units in facts["stages"].items()]
        blocks.append(Bars("Refused by each stage", rows, ("stage", "count")))
    for stage, units in facts["stages"].items():
        if units["refused"]:
            blocks.append(_bars(f"{stage}: why refused", units["by_reason"], "note", _balance(units)))
    if results := facts["results"]:
        blocks.append(_bars("validate: why segments failed", results["reasons"], "warn",
                            f"{results['segments']:,} segments judged: {_listed(results['statuses'])}. "
                            "A segment has all reasons that hold."))  # fmt: skip
        skipped = results.get("skipped", [])
        note = f"Not installed, so skipped, and nothing passed by it: {', '.join(skipped)}." if skipped else ""
        blocks.append(_bars("validate: which engine decided", results["engines"], "plain", note, "engine"))
        blocks += _costs(results)
    return Section("reasons", "Reasons by stage", "", blocks)


def _costs(results: Facts) -> Iterator[Bars]:
    """Yield what each engine cost, those that took longest first."""
    costs = results.get("costs", {})
    order = sorted(costs, key=lambda name: -costs[name]["seconds"])
    rows = [Bar(name, costs[name]["seconds"], _cost(costs[name], results["engines"].get(name, 0))) for name in order]
    note = "In the workers, all processes of the run together; decode: the FLAC, before any engine."
    yield from [Bars("validate: what each engine cost", rows, ("engine", "seconds"), note=note)] if rows else []


def _cost(cost: Facts, decided: int) -> str:
    return f"{cost['seconds']:,.1f} s: {cost['asked']:,.0f} asked, {decided:,} decided"


def _bars(title: str, counts: Mapping[str, int], tone: Tone, note: str = "", column: str = "reason") -> Bars:
    """Return the most frequent reasons first; engines of others may give any number of them."""
    most = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    rows = [Bar(name, count, f"{count:,}", tone) for name, count in most[:_MOST_REASONS]]
    if rest := most[_MOST_REASONS:]:
        others = sum(count for _, count in rest)
        rows.append(Bar(f"{len(rest)} others", others, f"{others:,}", tone))
    return Bars(title, rows, (column, "count"), note=note)


def _share(units: Facts) -> str:
    return f"{units['refused']:,} of {_number(units['in'])}"


def _number(count: int | None) -> str:
    """Return a count as people read it; None is one that only an ended stage knows."""
    return "?" if count is None else f"{count:,}"


def _balance(units: Facts) -> str:
    done, skipped, refused = (
        f"{units['done']:,} done",
        f"{_number(units['skipped'])} that need nothing",
        units["refused"],
    )
    return f"{_number(units['in'])} {units['unit']}s = {done} + {skipped} + {refused:,} refused"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _measures(facts: Facts) -> Section:
    text = (
        "The segments that this run judged and could measure. Dashed lines are the thresholds in force; "
        "the shaded side of each fails."
    )
    drawn = facts["results"]["distributions"] if facts["results"] else []
    return Section("measures", "Measures and thresholds", text, [from_json(values) for values in drawn])


def _refused(facts: Facts, refused: Sequence[Sequence[str]], folder: str) -> Section:
    columns = ("video", "stage", "reason", "segment", "detail")
    text = "What could not be done, and why. Of these videos no file was changed; their old results are shown no more."
    listing = refusals(facts, refused, columns, f"{folder}/*/refused.jsonl")
    return Section("refused", "Refused videos", text, [listing] if refused else [])


def _hours(hours: float) -> str:
    return f"{hours:,.2f} h" if hours < 100 else f"{hours:,.0f} h"
