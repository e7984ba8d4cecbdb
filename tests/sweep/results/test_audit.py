"""The audit of metrics on a run's own checkpoints: what it computes is what the trials were ranked by."""

from __future__ import annotations

import pytest
import yaml
from scipy import stats

from selector.settings import ValidationMetric
from sweep.driver.create import NewRun, create_run
from sweep.evaluation.evaluate import evaluate
from sweep.evaluation.questions import choose_questions
from sweep.evaluation.records import Evaluation
from sweep.evaluation.rows import build_panel
from sweep.plan.plan import Plan
from sweep.results.audit import PREFERRED_REWARD, with_audit
from sweep.results.policies import Policy, policies
from sweep.runs.paths import RunPaths, sqlite_url
from sweep.settings.evaluation import EvaluationSettings, SplitName
from sweep.storage.local import stored_at
from sweep.study import AskedTrial, Standing, StudyOwner, read_summaries
from sweep.study.ranking import rank
from tests.sweep.evaluation.worlds import World, score
from tests.sweep.plans import plan_of_space
from tests.sweep.spaces import SMALL, context, trial

SETTINGS = EvaluationSettings(shots=2, resamples=1000, epochs_per_trial=2)
Evaluated = tuple[Plan, list[Policy], Evaluation]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """Two trials with two epochs each, and their warm-up, made without Ray. A model of the world answers."""
    folder = tmp_path_factory.mktemp("audit")
    file = folder / "space.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(SMALL) | {"budget": {"trials": 2}, "pruner": {"type": "none"}}))
    plan = plan_of_space(file)
    paths: RunPaths = create_run(plan, NewRun(stored_at(folder), "mine"))
    owner = StudyOwner.open(sqlite_url(paths.study_file), "mine", plan.space)
    for number in range(2):
        asked = owner.ask()
        assert isinstance(asked, AskedTrial)
        results = list(trial(context(paths.root.local(), plan.dataset), plan.dataset, number, asked.settings))
        best = results[-1].best
        assert best is not None
        for result in results:
            owner.report(number, result.report.step, result.report.val_loss)
        owner.complete(number, best.val_loss, Standing((), best.step, best.val_loss, 0.5, results[-1].rce_digest))
    owner.close()
    found = policies(paths, rank(read_summaries(sqlite_url(paths.study_file), "mine")), 5, epochs_per_trial=2)
    questions = choose_questions(plan.dataset, SplitName.TEST, None, 0)
    panel = build_panel(plan.dataset, questions, ((one.row, one.load()) for one in found), SETTINGS)
    return plan, found, evaluate(panel, SETTINGS, World().ask, score).evaluation


def test_the_metric_in_use_is_the_val_loss_of_the_rows(evaluated: Evaluated) -> None:
    plan, found, before = evaluated
    audit = with_audit(before, plan, found).audit
    assert audit is not None and audit.rows == 5 and [one.row.kind for one in found].count("rce_only") == 1
    assert [ruler.metric for ruler in audit.rulers] == [*ValidationMetric, PREFERRED_REWARD]
    (used,) = [ruler for ruler in audit.rulers if ruler.ranked]
    rows = [row for row in before.rows if row.val_loss is not None]
    accuracies = [row.ranked_by.value for row in rows if row.ranked_by is not None]
    expected = stats.spearmanr([row.val_loss for row in rows], accuracies).statistic
    assert used.metric == plan.space.validation.metric and used.rho == pytest.approx(expected)
    assert all(ruler.interval is None for ruler in audit.rulers)
    assert "cannot be told with 5 rows" in audit.conclusion


def test_without_a_selector_there_is_no_audit(evaluated: Evaluated) -> None:
    plan, _, before = evaluated
    references = tuple(row for row in before.rows if row.val_loss is None)
    assert with_audit(before, plan, []).audit is None
    assert references
