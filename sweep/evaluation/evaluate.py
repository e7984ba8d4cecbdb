"""The evaluation: all rows' prompts merged and answered once per stage of the race, then the statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selector.arrays import Int64Array
from sweep.errors import RunError
from sweep.evaluation.accuracies import AnswerBook, AnswerCall, Board, ScoreAnswer, work_items
from sweep.evaluation.analysis import Measured, analyse, correlate, mean_per_measure, notes
from sweep.evaluation.answer_table import AnswerRecord
from sweep.evaluation.racing import Race, plan_race, survivors
from sweep.evaluation.records import Evaluation, FinalistRecord, SeedRecord, StageRecord
from sweep.evaluation.rows import Panel, PolicyRow, RowKind, Selections
from sweep.evaluation.statistics import with_mean
from sweep.evaluation.winner import Contest, decide
from sweep.evaluation.wording import counted
from sweep.settings.evaluation import EvaluationSettings
from sweep.vlm.work import WorkItem
from sweep.vqa.accuracy import AnswerNormalisation


@dataclass(frozen=True)
class Evaluated:
    """The evaluation, and every answer behind it."""

    evaluation: Evaluation
    answers: list[AnswerRecord]


def evaluate(
    panel: Panel,
    settings: EvaluationSettings,
    ask: AnswerCall,
    score: ScoreAnswer,
    train: Panel | None = None,
    verdicts: Sequence[Sequence[str]] = (),
) -> Evaluated:
    """Compare the rows of a panel.

    With the same answers the result is the same. A row's accuracies, intervals and difference to the baseline depend on
    that row and the baseline alone. Corrected p-values, the next row and the best set are about the table. With racing
    the questions that a trial sees depend on the other trials.

    Args:
        panel: questions and selections. A row named as `settings.baseline` is among them.
        settings: what is compared, and how.
        ask: answers distinct work items, one result each. Called once per stage.
        score: accuracy in [0, 1] of a text as the answer to an item's question, by normalisation.
        train: the same rows on questions of the train split, asked for the rows that racing left.
        verdicts: those of every complete trial. They say why no trial is among the rows.

    Raises:
        RunError: too many prompts have no answer, the baseline is not among the rows, or two rows have one name.
    """
    _check(panel, settings, train)
    normalisations = (settings.metric, *(other for other in AnswerNormalisation if other is not settings.metric))
    book = AnswerBook(ask, score, settings.failure_limit)
    board = Board(panel, settings.shot_numbers, normalisations, book)
    train_board = Board(train, settings.shot_numbers, normalisations[:1], book) if train is not None else None
    race = plan_race(len(panel.questions), settings.racing)
    stages = _ask_all(board, train_board, settings, race, book)
    measured = _measured(board, train_board, settings)
    finalists = _finalists(measured, settings)
    table = [row for row in measured if row.row.kind is not RowKind.FINALIST_SEED]
    table += [_merged(finalist, measured) for finalist in finalists]
    train_clusters_Q = train.questions.clusters_Q if train is not None else None
    records = analyse(table, settings, race, panel.questions.clusters_Q, train_clusters_Q)
    correlation, correlation_note = correlate(records, settings)
    contest = Contest(records, finalists, settings.baseline.value, settings.measure, tuple(verdicts))
    images = len(np.unique(panel.questions.clusters_Q))
    unit = "questions" if images == len(panel.questions) else "images with all their questions"
    evaluation = Evaluation(
        settings=settings,
        shots=settings.shot_numbers,
        questions=len(panel.questions),
        images=images,
        excluded=panel.questions.excluded,
        work_items=len(book),
        failures=book.failures(),
        failure_labels=book.failure_labels(),
        stages=stages,
        rows=records,
        finalists=finalists,
        correlation=correlation,
        correlation_note=correlation_note,
        winner=decide(contest),
        notes=notes(settings, race, unit, bool(finalists)),
    )
    answers = [record for part in (board, train_board) if part is not None for record in part.records(settings.metric)]
    return Evaluated(evaluation, answers)


def first_prompts(panel: Panel, settings: EvaluationSettings) -> list[WorkItem]:
    """What `evaluate` asks of these rows whatever the other rows are. With racing it is the first stage."""
    first = plan_race(len(panel.questions), settings.racing).stages[0]
    return list(dict.fromkeys(work_items(panel, settings.shot_numbers, first)))


def _check(panel: Panel, settings: EvaluationSettings, train: Panel | None) -> None:
    names = [selections.row.name for selections in panel.selections]
    if len(set(names)) < len(names):
        raise RunError(
            f"two rows have one name: {', '.join(sorted({name for name in names if names.count(name) > 1}))}"
        )
    if settings.baseline not in names:
        raise RunError(f"the baseline {settings.baseline} is none of the rows: {', '.join(names)}")
    if train is not None and [selections.row.name for selections in train.selections] != names:
        raise RunError("the rows on the train split are not those on the held-out one")


def _ask_all(
    board: Board, train_board: Board | None, settings: EvaluationSettings, race: Race, book: AnswerBook
) -> tuple[StageRecord, ...]:
    """Run the race's stages, with one call for answers each."""
    rows = list(range(len(board.panel.selections)))
    seen, stages = 0, []
    for end in race.stages:
        items = board.items(rows, seen, end)
        if end == race.questions and train_board is not None:
            items += train_board.items(rows, 0, len(train_board.panel.questions))
        asked = book.ask(items)
        board.fill(rows, seen, end)
        if end == race.questions and train_board is not None:
            train_board.fill(rows, 0, len(train_board.panel.questions))
        dropped = _dropped(board, rows, end, settings, race) if end < race.questions else []
        names = tuple(board.panel.selections[row].row.name for row in dropped)
        stages.append(StageRecord(questions=end, rows=len(rows), prompts=len(items), asked=asked, dropped=names))
        rows = [row for row in rows if row not in dropped]
        seen = end
    return tuple(stages)


def _dropped(board: Board, rows: Sequence[int], seen: int, settings: EvaluationSettings, race: Race) -> list[int]:
    """Racing rows that cannot be the best racing row any more."""
    racing = [row for row in rows if board.panel.selections[row].row.kind.races]
    if len(racing) < 2:
        return []
    values_RQ = with_mean(board.accuracy_RQS[settings.metric][racing, :seen])[:, :, settings.rank_column]
    clusters_Q = board.panel.questions.clusters_Q[:seen]
    kept = survivors(values_RQ, clusters_Q, race.look_alpha, settings.resamples, settings.seed)
    return [row for row, stays in zip(racing, kept, strict=True) if not stays]


def _measured(board: Board, train_board: Board | None, settings: EvaluationSettings) -> list[Measured]:
    """Every row with what was measured of it."""
    first: dict[str, str] = {}
    sizes_Q = board.panel.questions.sizes_Q
    measured = []
    for index, selections in enumerate(board.panel.selections):
        row, asked = selections.row, int(board.asked_R[index])
        earlier = first.setdefault(selections.fingerprint(), row.name)
        train = train_board is not None and train_board.asked_R[index] > 0
        measured.append(
            Measured(
                row=row,
                accuracy_QS=board.accuracy_RQS[settings.metric][index],
                asked=asked,
                dropped_after=asked if asked < len(board.panel.questions) else None,
                failures=int(board.failures_R[index]),
                short_pools=_short_pools(selections, sizes_Q[:asked], settings.shot_numbers),
                same_as=earlier if earlier != row.name else None,
                others={
                    normalisation: mean_per_measure(values_RQS[index])
                    for normalisation, values_RQS in board.accuracy_RQS.items()
                    if normalisation is not settings.metric
                },
                train_QS=train_board.accuracy_RQS[settings.metric][index] if train_board and train else None,
            )
        )
    return measured


def _short_pools(selections: Selections, sizes_Q: Int64Array, shots: Sequence[int]) -> tuple[int, ...]:
    if selections.row.kind is RowKind.NO_DEMONSTRATIONS:
        return tuple(0 for _ in shots)
    return tuple(int((sizes_Q < number).sum()) for number in shots)


def _finalists(measured: Sequence[Measured], settings: EvaluationSettings) -> tuple[FinalistRecord, ...]:
    """Finalists in the order of their first seed, with the spread between their seeds."""
    by_trial: dict[int | None, list[Measured]] = {}
    for row in measured:
        if row.row.kind is RowKind.FINALIST_SEED:
            by_trial.setdefault(row.row.trial, []).append(row)
    found = []
    for trial, rows in by_trial.items():
        seeds = tuple(_seed_record(row, settings) for row in rows)
        values = [seed.ranked_by for seed in seeds if seed.ranked_by is not None]
        name = f"trial {trial}, {counted(len(rows), 'fresh seed')}"
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        found.append(FinalistRecord(row=name, trial=trial, seeds=seeds, spread=spread))
    return tuple(found)


def _seed_record(measured: Measured, settings: EvaluationSettings) -> SeedRecord:
    values = mean_per_measure(measured.accuracy_QS)
    return SeedRecord(
        name=measured.row.name,
        seed=measured.row.seed,
        val_loss=measured.row.val_loss,
        checkpoint=measured.row.checkpoint,
        shots=values[:-1],
        mean=values[-1],
        ranked_by=values[settings.rank_column],
    )


def _merged(finalist: FinalistRecord, measured: Sequence[Measured]) -> Measured:
    """A finalist's row: the mean over its seeds, question by question. NaN where one of them has no answer."""
    names = {seed.name for seed in finalist.seeds}
    rows = [row for row in measured if row.row.name in names]
    trains = [row.train_QS for row in rows if row.train_QS is not None]
    return Measured(
        row=PolicyRow(finalist.row, RowKind.FINALIST, trial=finalist.trial),
        accuracy_QS=np.mean([row.accuracy_QS for row in rows], axis=0),
        asked=rows[0].asked,
        dropped_after=None,
        failures=sum(row.failures for row in rows),
        short_pools=rows[0].short_pools,
        same_as=None,
        others={other: _mean_of([row.others[other] for row in rows]) for other in rows[0].others},
        train_QS=np.mean(trains, axis=0) if trains else None,
    )


def _mean_of(values: Sequence[Sequence[float | None]]) -> tuple[float | None, ...]:
    """Means per measure over seeds. None where one of them is."""
    columns = zip(*values, strict=True)
    return tuple(
        float(np.mean([value for value in column if value is not None])) if None not in column else None
        for column in columns
    )
