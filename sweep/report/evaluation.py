"""The evaluation by answers for people: numbers in percent and percentage points, tables of at most 80 columns.

What would make a row longer stands in lines below the tables; `evaluation.json` has every interval whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from sweep.evaluation.caveats import caveats
from sweep.evaluation.records import AuditRecord, Difference, Estimate, Evaluation, FinalistRecord, RowRecord
from sweep.evaluation.rows import RowKind
from sweep.evaluation.wording import counted, p_text, signed
from sweep.report.tables import plain_table, titled
from sweep.results.evaluations import DECLARED

BEST = "*"
BLOCK = 4
"""Numbers of shots side by side; more of them make another table below."""


def render(evaluation: Evaluation, name: str = DECLARED) -> RenderableType:
    """Everything a person should see but the verdict, which `sweep.report.verdict` shows.

    An evaluation that the space did not declare says its `name` on top.
    """
    parts = [accuracy_table(evaluation, name), *measure_tables(evaluation), *shot_tables(evaluation)]
    if any(row.train is not None for row in evaluation.rows):
        parts.append(train_table(evaluation))
    if evaluation.finalists:
        parts.append(seed_table(evaluation))
    if evaluation.audit is not None:
        parts.append(audit_table(evaluation.audit))
    if evaluation.audit is None:
        lines = [correlation_line(evaluation)]
    else:
        lines = [f"Correlations: {evaluation.correlation_note}."]
    lines += [*caveats(evaluation), *evaluation.notes]
    return Group(*(piece for part in parts for piece in (part, "")), *(Text(line) for line in lines))


def accuracy_table(evaluation: Evaluation, name: str = DECLARED) -> Group:
    """The measure that ranks, and the difference to the baseline, of every row."""
    settings = evaluation.settings
    named = "" if name == DECLARED else f"Evaluation {name}. "
    title = (
        f"{named}{settings.metric.capitalize()} VQA accuracy in % with 95 % intervals, "
        f"{counted(evaluation.questions, 'question')} of the {settings.split} split; ranked by {settings.measure} "
        f"({BEST} cannot be distinguished from the best; p by Holm)"
    )
    others = list(evaluation.rows[0].other_metrics)
    headers = [_headers(evaluation)[_rank_place(evaluation)], f"minus {settings.baseline}", "p"]
    table = plain_table(["row", *headers, *(f"by\n{mode}" for mode in others)])
    for row in evaluation.rows:
        over = row.minus_baseline
        name = row.name + (f" (= {row.same_as})" if row.same_as is not None else "")
        table.add_row(
            f"{name} {BEST}" if row.in_best_set else name,
            _interval(row.ranked_by),
            _difference(over),
            _p(over.p_holm) if over is not None else "",
            *(_percent(row.other_metrics[mode][settings.rank_column]) for mode in others),
            style=_style(row),
        )
    return titled(title, table)


def measure_tables(evaluation: Evaluation) -> list[Group]:
    """Accuracy per number of shots and over them, without the measure that ranks: it stands above."""
    headers = _headers(evaluation)
    title = "Accuracy in % by number of shots, ± the longer side of its 95 % interval"
    tables = []
    for places in _blocks([place for place in range(len(headers)) if place != _rank_place(evaluation)]):
        table = plain_table(["row", *(headers[place] for place in places)])
        for row in evaluation.rows:
            cells = [_measure(row, place, evaluation) for place in places]
            table.add_row(row.name, *(_half_interval(cell) for cell in cells), style=_style(row))
        tables.append(titled(title, table))
    return tables


def shot_tables(evaluation: Evaluation) -> list[Group]:
    """The difference to the baseline per number of shots, and which signs are sure."""
    title = (
        f"Difference to {evaluation.settings.baseline} in points by number of shots, ± the longer side "
        "of its 95 % interval; ▲ is surely better, ▼ surely "
        "worse"
    )
    rows = [row for row in evaluation.rows if row.minus_baseline_by_shot]
    tables = []
    for places in _blocks(range(len(evaluation.shots)) if rows else []):
        table = plain_table(["row", *(f"{evaluation.shots[place]}-shot" for place in places)])
        for row in rows:
            cells = [_sign(row.minus_baseline_by_shot[place]) for place in places]
            table.add_row(row.name, *cells, style=_style(row))
        tables.append(titled(title, table))
    return tables


def train_table(evaluation: Evaluation) -> Group:
    """Accuracy on the train split beside the held-out one."""
    settings = evaluation.settings
    table = plain_table(["row", "train", settings.split.value, "train minus held-out"])
    for row in evaluation.rows:
        if row.train is not None:
            measured = (*row.train.shots, row.train.mean)[settings.rank_column]
            gap = _difference(row.train.gap)
            table.add_row(row.name, _half_interval(measured), _half_interval(row.ranked_by), gap)
    title = f"Train split beside the held-out one: {settings.measure} in % and gap in points [95 %]"
    return titled(title, table)


def seed_table(evaluation: Evaluation) -> Group:
    """Finalists: accuracy under every fresh seed, and the spread between them beside the interval over questions."""
    table = plain_table(["row", "mean [95 %]", "sd between\nseeds", "each seed"], left=("row", "each seed"))
    for finalist in evaluation.finalists:
        mean = evaluation.row(finalist.row).ranked_by
        spread = f"{100 * finalist.spread:.1f}" if finalist.spread is not None else "unknown"
        table.add_row(finalist.row, _interval(mean), spread, _seeds(finalist))
    return titled(f"Finalists under fresh seeds: {evaluation.settings.measure} in %", table)


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


def audit_table(audit: AuditRecord) -> Group:
    """How each metric of the validation split ranks the evaluated rows, and what follows from that."""
    table = plain_table(["metric", "Spearman", "95 %", ""], left=("metric", ""))
    for ruler in audit.rulers:
        rho = "" if ruler.rho is None else f"{ruler.rho:+.2f}"
        interval = "" if ruler.interval is None else f"[{ruler.interval[0]:+.2f}, {ruler.interval[1]:+.2f}]"
        table.add_row(ruler.metric, rho, interval, "ranks the trials" if ruler.ranked else "")
    title = (
        f"Rank correlation of each metric on the validation split with accuracy, over {counted(audit.rows, 'row')} "
        "(-1 is best)"
    )
    return titled(title, table, Text(audit.conclusion))


def _headers(evaluation: Evaluation) -> list[str]:
    """The measures: one per number of shots, then their mean where there are several."""
    return [f"{shots}-shot" for shots in evaluation.shots] + (["mean"] if len(evaluation.shots) > 1 else [])


def _rank_place(evaluation: Evaluation) -> int:
    """Where the measure that ranks stands among them. The mean over one number of shots is that number's."""
    return min(evaluation.settings.rank_column, len(_headers(evaluation)) - 1)


def _blocks(places: Sequence[int]) -> list[Sequence[int]]:
    return [places[start : start + BLOCK] for start in range(0, len(places), BLOCK)]


def _measure(row: RowRecord, place: int, evaluation: Evaluation) -> Estimate | None:
    """Accuracy at a number of shots, or over them; None where shots mean nothing to the row."""
    if place == len(evaluation.shots):
        return row.mean
    return None if row.kind is RowKind.NO_DEMONSTRATIONS and len(evaluation.shots) > 1 else row.shots[place]


def _style(row: RowRecord) -> str | None:
    return "dim" if row.dropped_after is not None else None


def _percent(value: float | None) -> str:
    return f"{100 * value:.1f}" if value is not None else ""


def _interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{_percent(estimate.value)} [{_percent(estimate.low)}, {_percent(estimate.high)}]"


def _half_interval(estimate: Estimate | None) -> str:
    return f"{_percent(estimate.value)} ±{_half(estimate)}" if estimate is not None else ""


def _difference(difference: Estimate | None) -> str:
    if difference is None:
        return ""
    return f"{signed(difference.value)} [{signed(difference.low)}, {signed(difference.high)}]"


def _half(estimate: Estimate) -> str:
    """The longer side of an interval."""
    return _percent(max(estimate.high - estimate.value, estimate.value - estimate.low))


def _sign(difference: Difference | None) -> str | Text:
    if difference is None:
        return ""
    text = f"{signed(difference.value)} ±{_half(difference)}"
    if not difference.is_sure:
        return f"{text}  "
    better = difference.value > 0
    return Text(f"{text} ▲", style="green") if better else Text(f"{text} ▼", style="red")


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else p_text(value)


def _seeds(finalist: FinalistRecord) -> str:
    named = [f" (seed {seed.seed})" if seed.seed is not None else "" for seed in finalist.seeds]
    found = [_percent(seed.ranked_by) or "no answer" for seed in finalist.seeds]
    return ", ".join(value + name for value, name in zip(found, named, strict=True))
