"""The evaluation on a terminal: numbers in percent and percentage points, readable from 100 columns on."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sweep.evaluation.records import Difference, Estimate, Evaluation, FinalistRecord, RowRecord
from sweep.evaluation.rows import RowKind
from sweep.evaluation.winner import p_text, signed

LABELS = 5
NAME_WIDTH = 26
LEAST_NAME = 12
BEST = "*"


def render(evaluation: Evaluation, width: int) -> RenderableType:
    """Everything a person should see, for a terminal of `width` columns."""
    parts: list[RenderableType] = [accuracy_table(evaluation, width), "", shot_table(evaluation, width)]
    if any(row.train is not None for row in evaluation.rows):
        parts += ["", train_table(evaluation)]
    if evaluation.finalists:
        parts += ["", seed_table(evaluation)]
    lines = [evaluation.winner.sentence, correlation_line(evaluation), *caveats(evaluation), *evaluation.notes]
    parts += ["", *(Text(line) for line in lines)]
    return Group(*parts)


def accuracy_table(evaluation: Evaluation, width: int) -> RenderableType:
    """Accuracy of every row per number of shots and over them, and the difference to the baseline."""
    settings = evaluation.settings
    wide = _is_wide(evaluation, width)
    title = (
        f"{settings.metric.capitalize()} VQA accuracy in % with 95 % intervals, {evaluation.questions} questions of "
        f"the {settings.split} split; ranked by {settings.measure} ({BEST} cannot be told from the best; p by Holm)"
    )
    table = _table()
    table.add_column("row", overflow="fold", min_width=LEAST_NAME, max_width=NAME_WIDTH)
    several = len(evaluation.shots) > 1
    others = list(evaluation.rows[0].other_metrics) if wide else []
    raced = any(row.dropped_after is not None for row in evaluation.rows)
    failed = any(row.failures for row in evaluation.rows)
    headers = [f"{shots}-shot" for shots in evaluation.shots] + (["mean"] if several else [])
    headers += [f"minus\n{settings.baseline}", "p"]
    headers += [f"by\n{mode}" for mode in others]
    headers += ["seen"] if raced else []
    headers += ["no\nanswer"] if failed else []
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for row in evaluation.rows:
        shown = row.kind is not RowKind.NO_DEMONSTRATIONS or not several  # shots mean nothing to it
        cells = [_estimate(estimate, wide) if shown else "" for estimate in row.shots]
        cells += [_estimate(row.mean, wide)] if several else []
        difference = row.minus_baseline
        cells += [_difference(difference, wide), p_text(difference.p_holm) if difference is not None else ""]
        cells += [_bare(row.other_metrics[mode][settings.rank_column]) for mode in others]
        cells += [str(row.asked)] if raced else []
        cells += [str(row.failures or "")] if failed else []
        table.add_row(_name(row), *cells, style="dim" if row.dropped_after is not None else None)
    return _titled(title, table)


def shot_table(evaluation: Evaluation, width: int) -> RenderableType:
    """Sign and size of the difference to the baseline per number of shots."""
    wide = _is_wide(evaluation, width)
    baseline = evaluation.settings.baseline
    title = f"Difference to {baseline} in points [95 %] by number of shots; the word says what is sure"
    table = _table()
    table.add_column("row", overflow="fold", min_width=LEAST_NAME, max_width=NAME_WIDTH)
    for shots in evaluation.shots:
        table.add_column(f"{shots}-shot", no_wrap=True)
    for row in evaluation.rows:
        if row.minus_baseline_by_shot:
            cells = [_signed_difference(difference, wide) for difference in row.minus_baseline_by_shot]
            table.add_row(escape(row.name), *cells, style="dim" if row.dropped_after is not None else None)
    return _titled(title, table)


def train_table(evaluation: Evaluation) -> RenderableType:
    """Accuracy on the train split beside the held-out one."""
    settings = evaluation.settings
    title = f"Train split beside the held-out one: {settings.measure} in % [95 %] and gap in points"
    table = _table()
    table.add_column("row", overflow="fold", min_width=LEAST_NAME, max_width=NAME_WIDTH)
    for header in ("train", settings.split.value, "train minus held-out"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in evaluation.rows:
        if row.train is not None:
            gap = _interval(row.train.gap) if row.train.gap is not None else ""
            train = (*row.train.shots, row.train.mean)[settings.rank_column]
            table.add_row(escape(row.name), _estimate(train, True), _estimate(row.ranked_by, True), gap)
    return _titled(title, table)


def seed_table(evaluation: Evaluation) -> RenderableType:
    """Finalists: accuracy under every fresh seed, and the spread between them beside the interval over questions."""
    title = f"Finalists under fresh seeds: {evaluation.settings.measure} in %"
    table = _table()
    table.add_column("row", overflow="fold", min_width=LEAST_NAME, max_width=NAME_WIDTH)
    for header in ("mean [95 % over questions]", "sd between seeds", "each seed"):
        table.add_column(header, justify="left" if header == "each seed" else "right")
    for finalist in evaluation.finalists:
        mean = evaluation.row(finalist.row).ranked_by
        spread = f"{100 * finalist.spread:.1f}" if finalist.spread is not None else "unknown"
        table.add_row(escape(finalist.row), _estimate(mean, True), spread, _seeds(finalist))
    return _titled(title, table)


def correlation_line(evaluation: Evaluation) -> str:
    """The rank correlation between validation loss and accuracy, in a sentence."""
    found = evaluation.correlation
    if found is None:
        return f"Validation loss and accuracy: {evaluation.correlation_note}."
    interval = f" [{found.interval[0]:+.2f}, {found.interval[1]:+.2f}]" if found.interval is not None else ""
    return (
        f"Validation loss and accuracy: Spearman {found.rho:+.2f}{interval}, p {p_text(found.p)} "
        f"(negative is as it should be); {evaluation.correlation_note}."
    )


def caveats(evaluation: Evaluation) -> list[str]:
    """What was left out: prompts without an answer, candidates, and pools that were too small."""
    found = []
    for stage in evaluation.stages:
        if stage.dropped:
            found.append(f"Dropped after {stage.questions} questions: {', '.join(stage.dropped)}.")
    if evaluation.failures:
        kinds = ", ".join(f"{count} {kind}" for kind, count in evaluation.failures.items())
        labels = [f"{label} ({count})" for label, count in evaluation.failure_labels.items()]
        named = f": {', '.join(labels[:LABELS])}" if labels else ""
        more = f" and {len(labels) - LABELS} more" if len(labels) > LABELS else ""
        total = sum(evaluation.failures.values())
        found.append(f"{total} of {evaluation.work_items} prompts have no answer ({kinds}){named}{more}.")
    if evaluation.excluded:
        found.append(f"{evaluation.excluded} candidates were left out for sharing the image of their question.")
    short = [max(counts) for counts in zip(*(row.short_pools for row in evaluation.rows), strict=True)]
    small = [f"{count} at {shots} shots" for count, shots in zip(short, evaluation.shots, strict=True) if count]
    if small:
        found.append(f"Questions with fewer candidates than shots, which were shown all they have: {', '.join(small)}.")
    return found


def _table() -> Table:
    return Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)


def _titled(title: str, table: Table) -> RenderableType:
    """A table's own title would wrap at the table's width."""
    return Group(Text(title, style="italic"), table)


def _is_wide(evaluation: Evaluation, width: int) -> bool:
    """Whether whole intervals fit; else half widths stand for them."""
    return width >= NAME_WIDTH + 19 * (len(evaluation.shots) + 2) + 20


def _name(row: RowRecord) -> str:
    name = escape(row.name) + (f" (= {escape(row.same_as)})" if row.same_as is not None else "")
    return f"{name} {BEST}" if row.in_best_set else name


def _bare(value: float | None) -> str:
    return f"{100 * value:.1f}" if value is not None else ""


def _estimate(estimate: Estimate | None, wide: bool) -> str:
    if estimate is None:
        return ""
    value = _bare(estimate.value)
    if wide:
        return escape(f"{value} [{_bare(estimate.low)}, {_bare(estimate.high)}]")
    return f"{value} ±{_bare(_half(estimate))}"


def _difference(difference: Difference | None, wide: bool) -> str:
    if difference is None:
        return ""
    return _interval(difference) if wide else f"{signed(difference.value)} ±{_bare(_half(difference))}"


def _interval(estimate: Estimate) -> str:
    return escape(f"{signed(estimate.value)} [{signed(estimate.low)}, {signed(estimate.high)}]")


def _half(estimate: Estimate) -> float:
    """The longer side of an interval."""
    return max(estimate.high - estimate.value, estimate.value - estimate.low)


def _signed_difference(difference: Difference | None, wide: bool) -> str:
    if difference is None:
        return ""
    text = _difference(difference, wide)
    if not difference.is_sure:
        return text
    return f"[green]{text} better[/green]" if difference.value > 0 else f"[red]{text} worse[/red]"


def _seeds(finalist: FinalistRecord) -> str:
    found: Sequence[str] = [
        f"{_bare(seed.ranked_by) or 'no answer'} (seed {seed.seed})" if seed.seed is not None else _bare(seed.ranked_by)
        for seed in finalist.seeds
    ]
    return ", ".join(found)
