"""The comparison by answers: the table, accuracy per number of shots, and how val_loss ranks the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sweep.evaluation.caveats import caveats
from sweep.evaluation.records import AuditRecord, Estimate, Evaluation, RowRecord
from sweep.evaluation.row_kinds import RowKind
from sweep.evaluation.wording import counted, p_text
from sweep.results.evaluations import DECLARED
from sweep.results.ledger import HELD_OUT, asked_sentences, ledgers_beside, read_ledger
from sweep.results.overview.model import (
    Axis,
    Block,
    Chart,
    Column,
    Format,
    Interval,
    Mark,
    Role,
    Section,
    Series,
    Table,
    Text,
)
from sweep.results.overview.sources import Sources

LINES = 8
"""Rows in the chart over shots. The table has all."""
BY_SHOT = (Role.FIRST, Role.SECOND, Role.THIRD, Role.FOURTH, Role.FIFTH)


def answers_section(sources: Sources) -> Section:
    """Every row by the measure that ranks, with the set of the best. Without answers, the held-out comparison."""
    title, key = "Results by answers", "answers"
    if sources.evaluation is not None:
        return Section(key, title, tuple(_answers(sources, sources.evaluation)))
    if sources.held_out:
        return Section(key, "Results on held-out queries", (_held_out(sources),))
    return Section(key, title, (Text((_why_none(sources),)),))


def _why_none(sources: Sources) -> str:
    if sources.space.evaluation is None:
        return (
            "No model was asked: the space has no section evaluation. `python -m sweep evaluate RUN --space FILE` "
            "asks one afterwards."
        )
    if not sources.complete:
        return "No model was asked: no trial is complete."
    return "The model has not been asked yet: that happens when the trials have ended."


def _answers(sources: Sources, evaluation: Evaluation) -> Iterator[Block]:
    settings, place = evaluation.settings, sources.place
    named = "" if place is None or place.name == DECLARED else f" Evaluation {place.name}."
    yield Text(
        (
            f"{settings.metric.capitalize()} VQA accuracy with 95 % intervals on "
            f"{counted(evaluation.questions, 'question')} of the {settings.split} split, ranked by "
            f"{settings.measure}.{named}",
            "Rows in the best set cannot be distinguished from the best one. The last columns compare each row with "
            f"{settings.baseline}, question by question; p is corrected for all comparisons (Holm).",
        )
    )
    others = list(evaluation.rows[0].other_metrics)
    columns = (
        Column("row", "row"),
        Column("in_best_set", "in best set"),
        Column("accuracy", f"accuracy ({settings.measure})", Format.SHARE),
        Column("minus_baseline", f"points above {settings.baseline}", Format.POINTS),
        Column("p_holm", "p", Format.P),
        Column("val_loss", "val_loss", Format.LOSS),
        Column("questions", "questions", Format.COUNT),
        *(Column(f"accuracy_{mode}", f"accuracy by {mode}", Format.SHARE) for mode in others),
    )
    rows = tuple(
        (
            row.name + (f" (shows the same as {row.same_as})" if row.same_as is not None else ""),
            row.in_best_set,
            interval(row.ranked_by),
            interval(row.minus_baseline),
            None if row.minus_baseline is None else row.minus_baseline.p_holm,
            row.val_loss,
            row.asked,
            *(row.other_metrics[mode][settings.rank_column] for mode in others),
        )
        for row in evaluation.rows
    )
    marked = frozenset(place for place, row in enumerate(evaluation.rows) if row.in_best_set)
    notes = (*caveats(evaluation), *evaluation.notes, *_asked(sources))
    yield Table("accuracy", "Accuracy of every row", columns, rows, marked, notes)
    yield from _train(evaluation)
    yield from _seeds(evaluation)


def interval(found: Estimate | None) -> Interval | None:
    """An estimate of an evaluation as a value of a table."""
    return None if found is None else Interval(found.value, found.low, found.high)


def _asked(sources: Sources) -> list[str]:
    """How often the questions were asked."""
    name = HELD_OUT if sources.place is None else sources.place.name
    own = read_ledger(sources.paths.ledger_file)
    last = next((look for look in reversed(own) if look.evaluation == name), None)
    return [] if last is None else asked_sentences(own, ledgers_beside(sources.paths), last)


def _train(evaluation: Evaluation) -> Iterator[Block]:
    """Accuracy on the train split beside the held-out one."""
    settings = evaluation.settings
    rows = tuple(
        (
            row.name,
            interval((*row.train.shots, row.train.mean)[settings.rank_column]),
            interval(row.ranked_by),
            interval(row.train.gap),
        )
        for row in evaluation.rows
        if row.train is not None
    )
    if rows:
        columns = (
            Column("row", "row"),
            Column("train", "train split", Format.SHARE),
            Column("held_out", f"{settings.split} split", Format.SHARE),
            Column("gap", "points lost", Format.POINTS),
        )
        yield Table("train_gap", "Overfitting: the train split beside the held-out one", columns, rows)


def _seeds(evaluation: Evaluation) -> Iterator[Block]:
    """Finalists under fresh seeds."""
    rows = tuple(
        (one.row, seed.seed, seed.ranked_by, seed.val_loss, one.spread)
        for one in evaluation.finalists
        for seed in one.seeds
    )
    if rows:
        columns = (
            Column("row", "row"),
            Column("seed", "seed"),
            Column("accuracy", "accuracy", Format.SHARE),
            Column("val_loss", "val_loss", Format.LOSS),
            Column("spread", "standard deviation between seeds", Format.SHARE),
        )
        yield Table("seeds", "Finalists trained again under fresh seeds", columns, rows)


def _held_out(sources: Sources) -> Table:
    """What `ranking.json` says of policies on held-out queries."""
    shots = max(len(row.get("test_accuracy_by_shots") or ()) for row in sources.held_out)
    columns = (
        Column("row", "policy"),
        Column("preferred_reward", "reward of the preferred beam", Format.NUMBER),
        Column("preferred_gain", "minus similarity", Format.NUMBER),
        Column("agreement", "pairs in order", Format.SHARE),
        Column("agreement_gain", "points above similarity", Format.POINTS),
        *(Column(f"accuracy_{shot}", f"accuracy, {shot}-shot", Format.SHARE) for shot in range(1, shots + 1)),
    )
    rows = tuple(
        (
            row["name"],
            row["test_preferred_reward"],
            _gain(row["test_preferred_reward_minus_similarity"]),
            row["test_order_agreement"],
            _gain(row["test_order_agreement_minus_similarity"]),
            *(row.get("test_accuracy_by_shots") or (None,) * shots),
        )
        for row in sources.held_out
    )
    notes = (
        "No model was asked. A policy is measured by the reward of the measured beam that it prefers, and by the "
        "share of pairs of beams that it orders as their rewards do.",
        *_asked(sources),
    )
    return Table("held_out", "Policies on held-out queries", columns, rows, notes=notes)


def _gain(found: dict[str, Any] | None) -> Interval | None:
    return None if found is None else Interval(found["value"], found["low"], found["high"])


def shots_section(sources: Sources) -> Section | None:
    """Accuracy by number of demonstrations. None without answers."""
    evaluation = sources.evaluation
    if evaluation is None or len(evaluation.shots) < 2:
        return None
    baseline = evaluation.settings.baseline
    columns = (Column("row", "row"), *(_shot_column(shots, Format.SHARE) for shots in evaluation.shots))
    rows = tuple((row.name, *map(interval, _by_shot(row, evaluation))) for row in evaluation.rows)
    apart = tuple(
        (row.name, *map(interval, row.minus_baseline_by_shot)) for row in evaluation.rows if row.minus_baseline_by_shot
    )
    sure = [
        f"{row.name} at {shots}"
        for row in evaluation.rows
        for shots, one in zip(evaluation.shots, row.minus_baseline_by_shot, strict=False)
        if one is not None and one.is_sure and one.value > 0
    ]
    note = f"Surely above {baseline}, corrected for all of these comparisons: {', '.join(sure) or 'none'}."
    difference = (Column("row", "row"), *(_shot_column(shots, Format.POINTS) for shots in evaluation.shots))
    return Section(
        "shots",
        "By number of demonstrations",
        (
            _shot_chart(evaluation),
            Table("accuracy_by_shots", "Accuracy", columns, rows),
            Table("difference_by_shots", f"Points above {baseline}", difference, apart, notes=(note,)),
        ),
    )


def _shot_column(shots: int, form: Format) -> Column:
    return Column(f"shots_{shots}", f"{shots}-shot", form)


def _by_shot(row: RowRecord, evaluation: Evaluation) -> Sequence[Estimate | None]:
    """Without demonstrations the number of them means nothing."""
    return [None] * len(evaluation.shots) if row.kind is RowKind.NO_DEMONSTRATIONS else row.shots


def _shot_chart(evaluation: Evaluation) -> Chart:
    shown = [row for row in evaluation.rows if row.kind is not RowKind.NO_DEMONSTRATIONS][:LINES]
    series = []
    for place, row in enumerate(shown):
        known = [(shots, one) for shots, one in zip(evaluation.shots, row.shots, strict=True) if one is not None]
        series.append(
            Series(
                row.name,
                Mark.LINE,
                tuple(shots for shots, _ in known),
                tuple(100 * one.value for _, one in known),
                BY_SHOT[place] if place < len(BY_SHOT) else Role.QUIET,
                tuple(100 * one.low for _, one in known),
                tuple(100 * one.high for _, one in known),
                tuple(f"{row.name}, {shots}-shot: {100 * one.value:.1f} %" for shots, one in known),
            )
        )
    words = [
        f"{row.name} from {100 * row.shots[0].value:.1f} to {100 * row.shots[-1].value:.1f} %"
        for row in shown
        if row.shots[0] is not None and row.shots[-1] is not None
    ]
    alt = f"Accuracy from {evaluation.shots[0]} to {evaluation.shots[-1]} demonstrations: {'; '.join(words)}."
    axes = Axis("demonstrations"), Axis("accuracy in %")
    return Chart("by_shots", "Accuracy over demonstrations, with 95 % intervals", *axes, tuple(series), alt)


def agreement_section(sources: Sources) -> Section:
    """Whether val_loss, by which trials were pruned and ranked, ranks the rows as the answers do."""
    title, key = "Does val_loss rank as the answers do?", "agreement"
    evaluation = sources.evaluation
    if evaluation is None:
        return Section(key, title, (Text(("That cannot be said without an evaluation by answers.",)),))
    sentences = [f"About the correlation: {evaluation.correlation_note}."]
    found = evaluation.correlation
    if found is not None:
        ends = "" if found.interval is None else f" [{found.interval[0]:+.2f}, {found.interval[1]:+.2f}]"
        sentences.insert(
            0,
            f"Spearman correlation of val_loss with accuracy: {found.rho:+.2f}{ends}, p {p_text(found.p)}, over "
            f"{counted(found.rows, 'row')}. Negative is as it should be: a lower loss, a higher accuracy.",
        )
    blocks: list[Block] = [Text(tuple(sentences))]
    blocks += _loss_chart(evaluation)
    if evaluation.audit is not None:
        blocks.append(_audit(evaluation.audit))
    return Section(key, title, tuple(blocks))


def _loss_chart(evaluation: Evaluation) -> list[Chart]:
    rows = [
        (row, row.val_loss, row.ranked_by)
        for row in evaluation.rows
        if row.val_loss is not None and row.ranked_by is not None
    ]
    if not rows:
        return []
    series = Series(
        "rows",
        Mark.POINTS,
        tuple(loss for _, loss, _ in rows),
        tuple(100 * one.value for _, _, one in rows),
        Role.FIRST,
        tuple(100 * one.low for _, _, one in rows),
        tuple(100 * one.high for _, _, one in rows),
        tuple(f"{row.name}: val_loss {loss:.4f}, {100 * one.value:.1f} %" for row, loss, one in rows),
    )
    alt = "Accuracy against val_loss: " + "; ".join(series.labels) + "."
    axes = Axis("val_loss (lower is better)"), Axis("accuracy in %")
    return [Chart("loss_and_accuracy", "Accuracy against val_loss, with 95 % intervals", *axes, (series,), alt)]


def _audit(audit: AuditRecord) -> Table:
    columns = (
        Column("metric", "metric on the validation split"),
        Column("rho", "Spearman with accuracy", Format.SIGNED),
        Column("interval", "95 %", Format.SIGNED),
        Column("ranked", "ranked the trials"),
    )
    rows = tuple(
        (one.metric, one.rho, None if one.interval is None else Interval(None, *one.interval), one.ranked)
        for one in audit.rulers
    )
    title = f"Which metric ranks {counted(audit.rows, 'row')} best (-1 is perfect)"
    return Table("audit", title, columns, rows, notes=(audit.conclusion,))
