"""The evaluation on a terminal: numbers in percent and percentage points, never cut.

Narrow terminals show less, and say what.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sweep.evaluation.records import Difference, Estimate, Evaluation, FinalistRecord, RowRecord
from sweep.evaluation.rows import RowKind
from sweep.evaluation.wording import counted, p_text, signed
from sweep.report.layout import LEAST_NAME, NAME_WIDTH, Column, Layout, fitted

LABELS = 5
BEST = "*"


def render(evaluation: Evaluation, width: int) -> RenderableType:
    """Everything a person should see, for a terminal of `width` columns."""
    parts: list[RenderableType] = [accuracy_table(evaluation, width)]
    if any(row.minus_baseline_by_shot for row in evaluation.rows):
        parts += ["", shot_table(evaluation, width)]
    if any(row.train is not None for row in evaluation.rows):
        parts += ["", train_table(evaluation, width)]
    if evaluation.finalists:
        parts += ["", seed_table(evaluation)]
    lines = [evaluation.winner.sentence, correlation_line(evaluation), *caveats(evaluation), *evaluation.notes]
    parts += ["", *(Text(line) for line in lines)]
    return Group(*parts)


def accuracy_table(evaluation: Evaluation, width: int) -> RenderableType:
    """Accuracy of every row per number of shots and over them, and the difference to the baseline."""
    settings = evaluation.settings
    title = (
        f"{settings.metric.capitalize()} VQA accuracy in % with 95 % intervals, "
        f"{counted(evaluation.questions, 'question')} of the {settings.split} split; ranked by {settings.measure} "
        f"({BEST} cannot be told from the best; p by Holm)"
    )
    details = [_Detail(), _Detail(whole=False)] if _is_wide(evaluation, width) else []
    details += [_Detail(False, False, counts, others) for others in _Others for counts in (True, False)]
    layouts = [_accuracy_layout(evaluation, detail) for detail in details]
    return fitted(title, [_name(row) for row in evaluation.rows], _dropped(evaluation.rows), layouts, width)


class _Others(Enum):
    """How accuracies are shown that do not rank."""

    INTERVALS = "intervals"
    VALUES = "values"
    NONE = "none"


@dataclass(frozen=True)
class _Detail:
    """How much of a row is shown. `whole`: intervals, not their half widths. `counts`: questions seen and failures."""

    whole: bool = True
    other_metrics: bool = True
    counts: bool = True
    others: _Others = _Others.INTERVALS


def _accuracy_layout(evaluation: Evaluation, detail: _Detail) -> Layout:
    settings, rows = evaluation.settings, evaluation.rows
    columns: list[Column] = []
    left_out: list[str] = []
    headers = [f"{shots}-shot" for shots in evaluation.shots] + (["mean"] if len(evaluation.shots) > 1 else [])
    for measure, header in enumerate(headers):
        ranks = measure == settings.rank_column
        if ranks or detail.others is not _Others.NONE:
            show = _value if not ranks and detail.others is _Others.VALUES else partial(_estimate, wide=detail.whole)
            columns.append(Column(header, [show(_measure(row, measure, evaluation)) for row in rows]))
    if len(headers) > 1 and detail.others is not _Others.INTERVALS:
        left_out.append(f"{'intervals of ' if detail.others is _Others.VALUES else ''}accuracies that do not rank")
    over = [row.minus_baseline for row in rows]
    columns.append(Column(f"minus\n{settings.baseline}", [_difference(one, detail.whole) for one in over]))
    columns.append(Column("p", [p_text(one.p_holm) if one is not None else "" for one in over]))
    for mode in rows[0].other_metrics:
        if detail.other_metrics:
            values = [row.other_metrics[mode][settings.rank_column] for row in rows]
            columns.append(Column(f"by\n{mode}", [_bare(value) for value in values]))
        else:
            left_out.append(f"accuracy by metric {mode}")
    counts = []
    if any(row.dropped_after is not None for row in rows):
        counts.append((Column("seen", [str(row.asked) for row in rows]), "questions seen"))
    if any(row.failures for row in rows):
        counts.append((Column("no\nanswer", [str(row.failures or "") for row in rows]), "prompts without an answer"))
    for column, what in counts:
        if detail.counts:
            columns.append(column)
        else:
            left_out.append(what)
    return Layout(columns, left_out)


def _measure(row: RowRecord, measure: int, evaluation: Evaluation) -> Estimate | None:
    """Accuracy at a number of shots, or over them; None where shots mean nothing to the row."""
    if measure == len(evaluation.shots):
        return row.mean
    return None if row.kind is RowKind.NO_DEMONSTRATIONS and len(evaluation.shots) > 1 else row.shots[measure]


def shot_table(evaluation: Evaluation, width: int) -> RenderableType:
    """Sign and size of the difference to the baseline per number of shots."""
    title = (
        f"Difference to {evaluation.settings.baseline} in points [95 %] by number of shots; the word says what is sure"
    )
    rows = [row for row in evaluation.rows if row.minus_baseline_by_shot]

    def layout(show: Callable[[Difference], str], *left_out: str) -> Layout:
        columns = []
        for place, shots in enumerate(evaluation.shots):
            found = [row.minus_baseline_by_shot[place] for row in rows]
            cells = [_sure(one, show) if one is not None else "" for one in found]
            columns.append(Column(f"{shots}-shot", cells, right=False))
        return Layout(columns, left_out)

    layouts = [layout(_interval)] if _is_wide(evaluation, width) else []
    layouts.append(layout(partial(_difference, wide=False)))
    layouts.append(layout(lambda one: signed(one.value), "intervals"))
    return fitted(title, [escape(row.name) for row in rows], _dropped(rows), layouts, width)


def train_table(evaluation: Evaluation, width: int) -> RenderableType:
    """Accuracy on the train split beside the held-out one."""
    settings = evaluation.settings
    title = f"Train split beside the held-out one: {settings.measure} in % [95 %] and gap in points"
    rows = [row for row in evaluation.rows if row.train is not None]
    trains = [row.train for row in rows if row.train is not None]
    measured = [(*train.shots, train.mean)[settings.rank_column] for train in trains]

    def layout(wide: bool) -> Layout:
        gaps = [train.gap for train in trains]
        gap_texts = [(_interval(gap) if wide else _half_interval(gap)) if gap is not None else "" for gap in gaps]
        return Layout(
            [
                Column("train", [_estimate(one, wide) for one in measured]),
                Column(settings.split.value, [_estimate(row.ranked_by, wide) for row in rows]),
                Column("train minus held-out" if wide else "gap", gap_texts),
            ]
        )

    return fitted(title, [escape(row.name) for row in rows], [False] * len(rows), [layout(True), layout(False)], width)


def seed_table(evaluation: Evaluation) -> RenderableType:
    """Finalists: accuracy under every fresh seed, and the spread between them beside the interval over questions."""
    title = f"Finalists under fresh seeds: {evaluation.settings.measure} in %"
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    table.add_column("row", overflow="fold", min_width=LEAST_NAME, max_width=NAME_WIDTH)
    for header in ("mean [95 % over questions]", "sd between seeds", "each seed"):
        table.add_column(header, justify="left" if header == "each seed" else "right")
    for finalist in evaluation.finalists:
        mean = evaluation.row(finalist.row).ranked_by
        spread = f"{100 * finalist.spread:.1f}" if finalist.spread is not None else "unknown"
        table.add_row(escape(finalist.row), _estimate(mean, True), spread, _seeds(finalist))
    return Group(Text(title, style="italic"), table)  # a table's own title would wrap at the table's width


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
        prompts = f"{total} of {counted(evaluation.work_items, 'prompt')} {'has' if total == 1 else 'have'}"
        found.append(f"{prompts} no answer ({kinds}){named}{more}.")
    if evaluation.excluded:
        were = "was" if evaluation.excluded == 1 else "were"
        excluded = f"{counted(evaluation.excluded, 'candidate')} {were}"
        found.append(f"{excluded} left out for sharing the image of their question.")
    short = [max(counts) for counts in zip(*(row.short_pools for row in evaluation.rows), strict=True)]
    small = [f"{count} at {shots} shots" for count, shots in zip(short, evaluation.shots, strict=True) if count]
    if small:
        found.append(f"Questions with fewer candidates than shots, which were shown all they have: {', '.join(small)}.")
    return found


def _dropped(rows: Sequence[RowRecord]) -> list[bool]:
    return [row.dropped_after is not None for row in rows]


def _is_wide(evaluation: Evaluation, width: int) -> bool:
    """Whether whole intervals fit; else half widths stand for them."""
    return width >= NAME_WIDTH + 19 * (len(evaluation.shots) + 2) + 20


def _name(row: RowRecord) -> str:
    name = escape(row.name) + (f" (= {escape(row.same_as)})" if row.same_as is not None else "")
    return f"{name} {BEST}" if row.in_best_set else name


def _bare(value: float | None) -> str:
    return f"{100 * value:.1f}" if value is not None else ""


def _value(estimate: Estimate | None) -> str:
    return _bare(estimate.value) if estimate is not None else ""


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
    return _interval(difference) if wide else _half_interval(difference)


def _interval(estimate: Estimate) -> str:
    return escape(f"{signed(estimate.value)} [{signed(estimate.low)}, {signed(estimate.high)}]")


def _half_interval(estimate: Estimate) -> str:
    return f"{signed(estimate.value)} ±{_bare(_half(estimate))}"


def _half(estimate: Estimate) -> float:
    """The longer side of an interval."""
    return max(estimate.high - estimate.value, estimate.value - estimate.low)


def _sure(difference: Difference, show: Callable[[Difference], str]) -> str:
    text = show(difference)
    if not difference.is_sure:
        return text
    return f"[green]{text} better[/green]" if difference.value > 0 else f"[red]{text} worse[/red]"


def _seeds(finalist: FinalistRecord) -> str:
    found: Sequence[str] = [
        f"{_bare(seed.ranked_by) or 'no answer'} (seed {seed.seed})" if seed.seed is not None else _bare(seed.ranked_by)
        for seed in finalist.seeds
    ]
    return ", ".join(found)
