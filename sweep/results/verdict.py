"""The verdict of a run: does its best trial beat what needs no training, by how much, how sure, and what comes next.

It is made from numbers that others own. The screen, `ranking.json` and the card of an export show the same one.
"""

from __future__ import annotations

from collections.abc import Sequence

from selector.data import Split
from selector.health import Verdict
from selector.settings import ValidationMetric
from sweep.evaluation.power import questions_to_tell
from sweep.evaluation.records import Evaluation
from sweep.evaluation.winner import nothing_correct
from sweep.evaluation.wording import counted
from sweep.plan.plan import Plan
from sweep.plan.splits import informative_groups
from sweep.results import verdict_words as words
from sweep.results.comparison import Comparison, by_answers, by_held_out
from sweep.results.held_out import BASELINE, HeldOutRow
from sweep.results.run_verdict import RunVerdict, VerdictKind
from sweep.runs.paths import RunPaths
from sweep.runs.record import read_record
from sweep.settings.evaluation import LEVEL
from sweep.study import TrialState, TrialSummary, read_summaries
from sweep.study.ranking import rank

ONE_POINT = 0.01


def verdict_of(
    plan: Plan, ranked: Sequence[TrialSummary], rows: Sequence[HeldOutRow], evaluation: Evaluation | None
) -> RunVerdict:
    """`conclude`, with the groups of the plan's validation split. Under `rce` all of them decide val_loss."""
    summary = plan.summary
    if plan.space.validation.metric is ValidationMetric.RCE:
        return conclude(ranked, evaluation, rows)
    return conclude(ranked, evaluation, rows, informative_groups(summary), summary.queries[Split.VAL])


def verdict_on_evaluation(plan: Plan, paths: RunPaths, evaluation: Evaluation) -> RunVerdict:
    """The verdict that one evaluation of a run gives, whether or not the run's result rests on it."""
    record = read_record(paths)
    return verdict_of(plan, rank(read_summaries(record.storage_url(paths), record.study)), [], evaluation)


def conclude(
    ranked: Sequence[TrialSummary],
    evaluation: Evaluation | None,
    rows: Sequence[HeldOutRow] | None,
    informative: int | None = None,
    total: int | None = None,
) -> RunVerdict:
    """The verdict, by the answers where the model was asked, else by the held-out table. A pure function.

    Args:
        ranked: all trials, the complete ones first, best on top.
        evaluation: the one that counts. None where the model was not asked.
        rows: of the held-out table. None or empty where there is none.
        informative: groups of the validation split whose beams differ in reward. None if that is not known.
        total: all groups of that split.
    """
    found = _conclude(ranked, evaluation, rows or ())
    complete = [row for row in ranked if row.is_complete]
    if complete and found.kind is not VerdictKind.NOTHING_CORRECT:
        found = found.replace(details=(*found.details, *words.about_val_loss(complete, informative, total)))
    return found.replace(informative_groups=informative, validation_groups=total)


def _conclude(ranked: Sequence[TrialSummary], evaluation: Evaluation | None, rows: Sequence[HeldOutRow]) -> RunVerdict:
    complete = [row for row in ranked if row.is_complete]
    if not complete:
        return _no_complete_trial(ranked)
    if evaluation is not None:
        return verdict_by_answers(evaluation)
    if not rows:
        return RunVerdict(
            kind=VerdictKind.NOT_COMPARED,
            sentence=f"nothing was compared with {BASELINE}: there is no test split",
            next_steps=("give data.split.test a share, or add the sections items, vlm and evaluation",),
        )
    compared = by_held_out(complete, rows)
    return _compared(compared) if compared is not None else _not_in_table(complete)


def verdict_by_answers(evaluation: Evaluation) -> RunVerdict:
    """What one evaluation says of the trials in it."""
    if nothing_correct(evaluation.rows):
        return _nothing_correct(evaluation)
    compared = by_answers(evaluation)
    return _compared(compared) if compared is not None else _not_answered(evaluation)


def _no_complete_trial(ranked: Sequence[TrialSummary]) -> RunVerdict:
    """All were pruned, or failed, or none was begun."""
    pruned, failed = (sum(row.state is state for row in ranked) for state in (TrialState.PRUNED, TrialState.FAIL))
    parts = [f"{count} {name}" for count, name in ((pruned, "pruned"), (failed, "failed")) if count]
    prune = "prune later (pruner.n_warmup_steps, pruner.n_startup_trials), or take `pruner: {type: none}`"
    mend = "mend the reason of the failures, which stands below the table of trials"
    return RunVerdict(
        kind=VerdictKind.NO_COMPLETE_TRIAL,
        sentence=f"no trial was completed{': ' if parts else ''}{', '.join(parts)}",
        next_steps=(*([prune] if pruned else []), *([mend] if failed else [])),
    )


def _nothing_correct(evaluation: Evaluation) -> RunVerdict:
    all_rows = counted(len(evaluation.rows), "row")
    return RunVerdict(
        kind=VerdictKind.NOTHING_CORRECT,
        sentence=f"the model answered nothing correctly: {all_rows} with 0.0 % of "
        f"{counted(evaluation.questions, 'question')}",
        details=("So this evaluation says nothing about the trials.",),
        next_steps=(
            "check the prompt (`python -m sweep show-prompt`), the reference answers, and whether the model can know "
            "their vocabulary",
        ),
        baseline=evaluation.settings.baseline.value,
        measure=evaluation.settings.measure,
        example=evaluation.example,
    )


def _not_answered(evaluation: Evaluation) -> RunVerdict:
    """No trial is a row of the table, or the best one and the baseline have no question in common."""
    winner, baseline = evaluation.winner, evaluation.settings.baseline.value
    if winner.row is None:
        return RunVerdict(
            kind=VerdictKind.NO_TRIAL_COMPARED,
            sentence=f"no trial was compared with {baseline}",
            details=(winner.sentence,),
            next_steps=(words.MOVE_FURTHER,),
            baseline=baseline,
        )
    return RunVerdict(
        kind=VerdictKind.NOT_COMPARED,
        sentence=f"{winner.row} cannot be compared with {baseline}: no question was answered for both",
        details=(winner.sentence,),
        next_steps=("mend the failures that the table names, and evaluate again",),
        best=winner.row,
        trial=winner.trial,
        baseline=baseline,
    )


def _not_in_table(complete: Sequence[TrialSummary]) -> RunVerdict:
    no_op = all(Verdict.NO_OP in row.verdicts for row in complete)
    why = "all are labelled no_op" if no_op else "they are labelled no_op, or their checkpoints are gone (see run.log)"
    return RunVerdict(
        kind=VerdictKind.NO_TRIAL_COMPARED,
        sentence=f"no trial was compared with {BASELINE}: {why}",
        next_steps=(words.MOVE_FURTHER,),
        baseline=BASELINE,
    )


def _compared(found: Comparison) -> RunVerdict:
    difference = found.difference
    needed = None
    if difference.error is not None:
        level = LEVEL / max(found.comparisons, 1)
        needed = questions_to_tell(difference.error, difference.questions, ONE_POINT, level)
    return RunVerdict(
        kind=found.kind,
        sentence=words.sentence(found),
        details=words.details(found),
        next_steps=words.next_steps(found, needed),
        best=found.best,
        trial=found.trial,
        others=() if found.kind is VerdictKind.BEATS_BASELINE else found.others,
        baseline=found.baseline,
        measure=found.measure,
        difference=difference,
        questions_to_tell=needed,
        more_questions=None if needed is None else max(0, needed - difference.questions),
    )
