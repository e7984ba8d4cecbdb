"""A killed sweep goes on as if nothing had happened: nothing lost, doubled or dangling, and the same parameters."""

import signal
import subprocess
import sys
import textwrap

import pytest
from sqlalchemy.engine.default import DefaultDialect

from sweep.runs.paths import sqlite_url
from sweep.space import parse_space
from sweep.study import AskedTrial, StudyOwner, TrialState
from sweep.study.comparison import comparison_of

SAMPLERS = {
    "tpe": "{type: tpe, n_startup_trials: 3}",
    "tpe_single": "{type: tpe, n_startup_trials: 3, multivariate: false, group: false, constant_liar: false}",
    "gp": "{type: gp, n_startup_trials: 3}",
    "cmaes": "{type: cmaes, n_startup_trials: 2, population: 4}",
    "sobol": "{type: qmc}",
    "halton": "{type: qmc, sequence: halton, scramble: false}",
    "random": "{type: random}",
    "grid": "{type: grid}",
}
VARIANTS = ("tpe_single", "halton")
GRID_PARAMETERS = """
  grpo.ppo_clip_only: {type: categorical, choices: [false, true]}
  grpo.kl_beta: {type: float, low: 0.1, high: 0.3, step: 0.1, when: {grpo.ppo_clip_only: false}}
  grpo.lr: {type: categorical, choices: [1e-5, 1e-4]}
"""


class Killed(BaseException):
    """Not an Exception: nothing may catch it, as nothing catches SIGKILL."""


@pytest.fixture
def kill_after(monkeypatch):
    """`kill_after(n)`: the n-th transaction from now on is still stored, and nothing after it."""
    left = [10**9]
    commit = DefaultDialect.do_commit

    def counted(self, connection):
        if not connection.in_transaction:  # nothing was written
            return commit(self, connection)
        if left[0] > 0:
            commit(self, connection)
            left[0] -= 1
        if left[0] <= 0:
            raise Killed
        return None

    monkeypatch.setattr(DefaultDialect, "do_commit", counted)

    def arm(transactions):
        left[0] = transactions

    return arm


def _space(make_space, sampler):
    more = {"parameters": GRID_PARAMETERS, "enqueue": "[{grpo.lr: 1e-4}]"} if sampler == "grid" else {}
    pruner = "{type: median, n_startup_trials: 2, n_warmup_steps: 1}"
    return make_space(sampler=SAMPLERS[sampler], pruner=pruner, budget="{trials: 6}", **more)


def _history(owner):
    return [
        (row.number, row.state, row.params, row.last_step, row.value, row.seed, row.standing)
        for row in owner.summaries()
    ]


@pytest.mark.parametrize(
    "sampler", [pytest.param(name, marks=pytest.mark.long) if name in VARIANTS else name for name in SAMPLERS]
)
def test_killed_again_and_again_gives_the_undisturbed_run(make_space, open_owner, drive, kill_after, sampler):
    space = _space(make_space, sampler)
    undisturbed = open_owner(space, "undisturbed.db")
    drive(undisturbed)
    lives = 0
    while True:
        lives += 1
        assert lives < 200
        kill_after(6 + lives % 4)  # a different place in the life of a trial every time
        try:
            owner = open_owner(space, "killed.db")
            drive(owner)
            break
        except Killed:
            continue
    kill_after(10**9)
    assert lives > 6
    assert _history(owner) == _history(undisturbed)
    assert all(row.state in (TrialState.COMPLETE, TrialState.PRUNED) for row in owner.summaries())


def test_any_transaction_can_be_the_last(make_space, open_owner, drive, kill_after):
    space = make_space(repeats="2", budget="{trials: 3}", sampler="{type: qmc}", pruner="{type: none}")
    undisturbed = open_owner(space, "undisturbed.db")
    drive(undisturbed)
    expected = _history(undisturbed)
    for transactions in range(1, 28, 3):
        file = f"killed{transactions}.db"
        kill_after(transactions)
        with pytest.raises(Killed):
            drive(open_owner(space, file))
        kill_after(10**9)
        owner = open_owner(space, file)
        drive(owner)
        assert _history(owner) == expected, f"killed after {transactions} transactions"
        owner.close()


def test_two_equal_runs_are_equal(make_space, open_owner, drive):
    space = _space(make_space, "tpe")
    first, second = open_owner(space, "a.db"), open_owner(space, "b.db")
    drive(first)
    drive(second)
    assert _history(first) == _history(second)


def test_another_seed_gives_other_parameters(make_space, open_owner):
    one = open_owner(make_space(enqueue="[]"), "a.db").ask()
    other = open_owner(make_space(enqueue="[]", seed="8"), "b.db").ask()
    assert one.params["grpo.lr"] != other.params["grpo.lr"]


def test_adoption_keeps_the_number_and_counts_attempts(make_space, open_owner):
    space = make_space(budget="{trials: 3}")
    asked = open_owner(space).ask()
    for attempt in (2, 3):
        (adopted,) = open_owner(space).adopt()
        assert (adopted.number, adopted.params, adopted.settings) == (asked.number, asked.params, asked.settings)
        assert adopted.attempt == attempt
    owner = open_owner(space)
    assert owner.adopt()[0].attempt == 4
    assert owner.ask().number == asked.number + 1


def test_a_decision_to_prune_survives_a_restart(make_space, open_owner):
    space = make_space(pruner="{type: threshold, upper: 0.5}")
    owner = open_owner(space)
    number = owner.ask().number
    for step, value in ((1, 0.9), (2, 0.9), (3, 0.9)):
        owner.report(number, step, value)
    assert owner.should_prune(number)
    again = open_owner(space)
    again.adopt()
    again.report(number, 4, 0.1)
    assert again.should_prune(number)


def test_a_rung_and_the_decision_there_are_stored_together(make_space, open_owner, kill_after):
    pruner = "{type: successive_halving, min_resource: 1, reduction_factor: 2}"
    space = make_space(pruner=pruner, sampler="{type: random}", pruning_starts="at_once")
    owner = open_owner(space)
    good, bad = owner.ask().number, owner.ask().number
    owner.report(good, 1, 0.1)
    assert not owner.should_prune(good)
    owner.report(bad, 1, 0.9)
    kill_after(1)
    with pytest.raises(Killed):
        owner.should_prune(bad)
    kill_after(10**9)
    again = open_owner(space)
    again.adopt()
    assert again.should_prune(bad)
    assert comparison_of(again.trials()[bad]).threshold == 0.1


CHILD = """
    import sys
    from sweep.space import load_space
    from sweep.study import StudyOwner
    owner = StudyOwner.open(sys.argv[1], "fake", load_space(sys.argv[2]))
    owner.complete(owner.ask().number, 0.5)
    asked = owner.ask()
    owner.report(asked.number, 1, 0.7)
    print(asked.number, asked.params["grpo.lr"], flush=True)
    sys.stdin.read()  # wait for the kill, between ask and tell
"""


def test_sigkill_between_ask_and_tell(tmp_path, drive):
    text = "name: fake\nparameters: {grpo.lr: {type: float, low: 1e-5, high: 1e-3}}\nbudget: {trials: 4}\n"
    (tmp_path / "space.yaml").write_text(text)
    url = sqlite_url(tmp_path / "study.db")
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), url, str(tmp_path / "space.yaml")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    number, lr = child.stdout.readline().split()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdin.close()
    child.stdout.close()
    owner = StudyOwner.open(url, "fake", parse_space(text, "space.yaml"))
    (adopted,) = owner.adopt()
    assert isinstance(adopted, AskedTrial)
    assert (adopted.number, str(adopted.params["grpo.lr"])) == (int(number), lr)
    owner.report(adopted.number, 1, 0.1)
    assert owner.summaries()[adopted.number].best_value == 0.7  # what was reported before the kill stays
    owner.complete(adopted.number, 0.6)
    drive(owner)
    assert [row.state for row in owner.summaries()] == [TrialState.COMPLETE] * 4
