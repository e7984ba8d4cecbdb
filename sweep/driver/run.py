"""A run as a story: create, embed, collect, train, evaluate, rank."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from selector.data import Split
from sweep.driver.collection import collect
from sweep.driver.create import NewRun, created
from sweep.driver.embedding import embed
from sweep.driver.evaluation import evaluate, evaluate_trials
from sweep.driver.loggers import on_screen_of
from sweep.driver.model_start import starting_model
from sweep.driver.nodes import fit_nodes
from sweep.driver.notify import notified
from sweep.driver.overlap import overlapping
from sweep.driver.room import check_room
from sweep.driver.session import OpenScreen, Session, open_session
from sweep.driver.training import Training, train
from sweep.driver.trial_records import rebuild_study
from sweep.errors import RunError
from sweep.evaluation.records import Evaluation, read_evaluation
from sweep.execution.loggers.follow import Loggers
from sweep.execution.ray.options import RayOptions
from sweep.execution.simulated import SimulatedBackend
from sweep.plan.plan import AnyPlan, Plan
from sweep.results.best import best_of
from sweep.results.evaluations import Purpose, main_name, make_main
from sweep.results.held_out import HeldOutRow
from sweep.results.ledger import HELD_OUT, Look, begin_look, end_look, split_digest
from sweep.results.outcome import RunOutcome
from sweep.results.ranking import held_out_rows, ranking_document
from sweep.results.seal import seal
from sweep.results.unaltered import check_unaltered
from sweep.results.verdict import verdict_of
from sweep.runs.driver import Phase
from sweep.runs.paths import EvaluationPaths, RunPaths
from sweep.settings.evaluation import SplitName
from sweep.storage.hashes import canonical_hash
from sweep.study import TrialSummary, read_summaries
from sweep.study.ranking import rank
from sweep.terminal.console import quiet
from sweep.trials.given import keep_given

EDITABLE = ("space.yaml",)
"""What people may change between two commands: the study's owner says which sections of it."""


def execute(
    plan: AnyPlan,
    run: NewRun | RunPaths,
    ray: RayOptions,
    open_screen: OpenScreen = quiet,
    started: Callable[[Session], None] = lambda session: None,
    rebuild: bool = False,
    loggers: Loggers | None = None,
    simulated: SimulatedBackend | None = None,
) -> RunOutcome:
    """Carry out a plan, or what is left of it.

    Every stage finds by itself what an earlier driver has done already, so that a run that was interrupted anywhere
    goes on from there.

    Args:
        plan: what is to be done. Items that are still to be embedded, and data to be measured, come first.
        run: a run to be created, or one that exists and goes on.
        ray: which Ray is used.
        open_screen: gives the console that people see.
        started: called when all checks have passed and Ray is up, as the work begins.
        rebuild: build a study that was lost again first, from the records of its trials.
        loggers: services that follow the trials. Who opened them tells them of the end.
        simulated: replays curves in place of training. There are no selectors then, so nothing can be evaluated.

    Raises:
        RunError: another driver holds the run, the data changed, or the study failed on the way.
        ClusterError: Ray cannot be had. A run that was created for this is removed again.
        KeyboardInterrupt: interrupted while no trial was running. The run can be resumed.
    """
    loggers = loggers or Loggers()
    with (
        notified(plan.space.notify) as end,
        created(run, plan) as end.paths,
        open_session(end.paths, ray, open_screen, started=started) as session,
        on_screen_of(session, loggers),
    ):
        end.pulse = session.pulse
        session.check_cluster = partial(check_room, plan)
        has_trials = session.paths.trials_folder.exists()
        if not has_trials:
            session.keep_overrides(plan.request.overrides)
        plan = collect(embed(fit_nodes(plan, session), session), session)
        if rebuild:
            rebuild_study(plan, session)
        session.check_unchanged(plan)
        if plan.init is not None:
            keep_given(session.paths, plan.init)
        if has_trials:
            check_unaltered(session.paths, EDITABLE)
            session.keep_overrides(plan.request.overrides)
        command = "resume" if isinstance(run, RunPaths) else "run"
        with overlapping(plan, session, command) as overlap, starting_model(plan, session) as model:
            training = train(plan, session, loggers, overlap, simulated, model)
            evaluation = evaluate(plan, training, session, command, overlap or model)
        end.outcome = _rank(plan, training, evaluation, session, command)
    return end.outcome


def _rank(plan: Plan, training: Training, evaluation: Evaluation | None, session: Session, command: str) -> RunOutcome:
    """Compare what was trained, and write `ranking.json`, which says that the run has ended."""
    session.pulse.phase(Phase.RANKING)
    ranked, paths = training.ranked, session.paths
    held_out = _held_out(plan, ranked, paths, command) if evaluation is None and training.completed else []
    verdict = None
    if not training.interrupted:
        verdict = verdict_of(plan, ranked, held_out, evaluation)
        paths.ranking_file.write_json(ranking_document(plan, ranked, held_out, evaluation))
        seal(paths)
    best = best_of(paths, ranked, evaluation)
    gone = "" if best is None else best.gone
    return RunOutcome(paths, ranked, held_out, evaluation, training.interrupted, training.ended_because, verdict, gone)


def _held_out(plan: Plan, ranked: list[TrialSummary], paths: RunPaths, command: str) -> list[HeldOutRow]:
    """The comparison on held-out queries. It is a look at the test split too, though no model is asked."""
    questions = len(plan.dataset.indices(Split.TEST))
    if not questions:
        return []
    items = plan.summary.fingerprint if plan.evaluation is None else plan.evaluation.items.fingerprint()
    look = Look(
        command=command,
        evaluation=HELD_OUT,
        split=SplitName.TEST,
        split_digest=split_digest(plan.dataset, SplitName.TEST, items),
        settings_digest=canonical_hash([HELD_OUT, plan.space.validation.model_dump(mode="json")]),
        questions=questions,
        rows={},
    )
    begin_look(paths, look)
    rows = held_out_rows(plan, paths, ranked)
    end_look(paths, look)
    return rows


def evaluate_again(
    plan: Plan, paths: RunPaths, ray: RayOptions, open_screen: OpenScreen = quiet, purpose: Purpose | None = None
) -> EvaluationPaths:
    """Evaluate a run again, or for the first time. Trials that have not ended are left alone.

    The run's result changes only if the evaluation is the main one. It becomes that where `purpose` says so, or where
    the run has none and its space asks for none.

    Raises:
        RunError: no trial is complete, another driver holds the run, or the evaluation cannot be done.
    """
    purpose = purpose or Purpose()
    with open_session(paths, ray, open_screen, "evaluate") as session:
        session.check_unchanged(plan)
        check_unaltered(paths, EDITABLE)
        ranked = rank(read_summaries(session.record.storage_url(paths), session.record.study))
        if not any(row.is_complete for row in ranked):
            raise RunError(f"run {paths.name} has no complete trial yet, so there is nothing to evaluate")
        place = evaluate_trials(fit_nodes(plan, session), ranked, session, purpose)
        if purpose.main or _is_first(plan, paths, place):
            make_main(paths, place.name)
        if main_name(paths) == place.name and _has_ended(paths, ranked):
            paths.ranking_file.write_json(ranking_document(plan, ranked, [], read_evaluation(place.file)))
        seal(paths)
    return place


def _is_first(plan: Plan, paths: RunPaths, place: EvaluationPaths) -> bool:
    """Whether a run whose space asks for no evaluation has its first one of the test split now."""
    on_test = plan.evaluation is not None and plan.evaluation.settings.split is SplitName.TEST
    return plan.space.evaluation is None and on_test and not paths.main_file.exists()


def _has_ended(paths: RunPaths, ranked: list[TrialSummary]) -> bool:
    return paths.ranking_file.exists() or all(row.state.is_finished() for row in ranked)
