"""Search spaces that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sweep.broken.commands import KL, TINY, lines, refused, space

BROKEN_SPACES: dict[str, tuple[str | bytes, list[str]]] = {
    "not YAML": ("name: [1, 2\n", ["bad.yaml:2:", "not valid YAML"]),
    "a tab": ("name: x\n\tseed: 1\n", ["bad.yaml:2:", "not valid YAML"]),
    "empty": ("", ["bad.yaml:1:", "must be a mapping"]),
    "a list": ("- 1\n", ["bad.yaml:1:", "must be a mapping"]),
    "binary": (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", ["bad.yaml:1:", "not UTF-8"]),
    "zero bytes": (b"\0" * 64, ["bad.yaml:1:", "not valid YAML"]),
    "a data file": (b'{"8": ' + b"1" * 2_000_000, ["bad.yaml", "this is no search space"]),
    "code": ("name: !!python/object/apply:os.getcwd []\n", ["bad.yaml:1:", "is not read"]),
    "key twice": (lines(KL, KL), ["bad.yaml:6:", "given twice, first on line 5"]),
    "unknown section": (space(parametres={}), ["unknown key 'parametres'", "'parameters'"]),
    "unknown key": (space(budget={"trails": 3}), ["budget.trails", "'trials'"]),
    "unknown trial setting": (space(trial={"grpo": {"kl_bta": 1}}), ["trial.grpo.kl_bta", "'kl_beta'"]),
    "unknown parameter": (lines("  grpo.lrate: 1"), ["bad.yaml:5:", "grpo.lrate: no such setting", "'grpo.lr'"]),
    "unknown parameter type": (lines("  grpo.lr: {type: loguniform, low: 1, high: 2}"), ["'loguniform'", "float"]),
    "low above high": (lines("  grpo.lr: {type: float, low: 1, high: 0.1}"), ["low 1.0 is not below high 0.1"]),
    "log from zero": (lines("  grpo.lr: {type: float, low: 0, high: 1, log: true}"), ["log: true needs low above 0"]),
    "negative learning rate": (lines("  grpo.lr: {type: float, low: -1, high: 1}"), ["grpo.lr.low", "-1.0 is refused"]),
    "no high": (lines("  grpo.lr: {type: float, low: 0.1}"), ["grpo.lr.high: is missing"]),
    "unknown mode": (
        lines("  reward.mode: {type: categorical, choices: [hard_only, hard_sof]}"),
        ["'hard_sof' is refused by reward.mode", "hard_plus_soft"],
    ),
    "swept validation": (
        lines("  validation.tau: {type: float, low: 0.1, high: 1}"),
        ["bad.yaml:5:", "validation", "cannot be sampled"],
    ),
    "swept data": (lines("  data.split.val: 0.2"), ["data is not part of a trial"]),
    "enqueue unknown": (lines(KL, "enqueue: [{grpo.lr: 0.1}]"), ["enqueue[0].grpo.lr", "no parameter of this space"]),
    "enqueue out of range": (lines(KL, "enqueue: [{grpo.kl_beta: 7}]"), ["enqueue[0]", "7", "it takes 0.01 to 0.5"]),
    "circle of conditions": (
        lines(
            "  grpo.lr: {type: categorical, choices: [1, 2], when: {rce.lr: 1}}",
            "  rce.lr: {type: categorical, choices: [1, 2], when: {grpo.lr: 1}}",
        ),
        ["circle", "grpo.lr -> rce.lr -> grpo.lr"],
    ),
    "impossible condition": (
        lines(KL[:-1] + ", when: {grpo.ppo_clip_only: true}}"),
        ["grpo.ppo_clip_only", "can never hold"],
    ),
    "text for a number": (space(seed="three"), ["seed: should be a valid integer", "'three'"]),
    "yes for true": (
        "name: x\ntrial: {grpo: {freeze_backbone: yes}}\n",
        ["bad.yaml:2:", "freeze_backbone", "booleans are true and false"],
    ),
    "a list for a section": (space(trial=[1]), ["trial"]),
    "no end": (space(budget={"trials": None}), ["budget: nothing ends the sweep", "set trials, hours"]),
    "budget null": (space(budget=None), ["budget"]),
    "no trial": (space(budget={"trials": 0}), ["budget.trials", "greater than or equal to 1", "got 0"]),
    "no hour": (space(budget={"hours": 0}), ["budget.hours", "greater than 0"]),
    "no name": ("seed: 1\n", ["name: is missing"]),
    "name leads away": (space(name="../x"), ["name: ", "'../x'"]),
    "1.5 GPUs": (space(resources={"gpus": 1.5}), ["resources.gpus", "use 1, 2, or at most 1"]),
    "heads do not divide": (space(trial={"model": {"hidden": 8, "heads": 3}}), ["hidden 8", "heads 3"]),
    "unknown decoder": (space(trial={"model": {"decoder": "gated"}}), ["'gated' is not one of", "'gate'"]),
    "grid of a range": (lines(KL, "sampler: {type: grid}"), ["continuous, which a grid cannot enumerate"]),
    "unknown sampler": (space(sampler={"type": "bayes"}), ["sampler", "unknown type 'bayes'", "tpe"]),
    "unknown pruner": (space(pruner={"type": "medium"}), ["pruner", "unknown type 'medium'", "'median'"]),
    "not a number": ("name: x\nvalidation: {tau: .nan}\n", ["bad.yaml:2:", "validation.tau", "finite"]),
    "splits fill all": (space(data={"split": {"val": 0.5, "test": 0.5}}), ["data.split", "leave nothing to train on"]),
    "no validation": (
        space(data={**TINY["data"], "split": {"val": 0}}),  # type: ignore[dict-item]
        ["split.val is 0", "use a share above 0"],
    ),
    "demo too small": (space(data={"demo": {"queries": 2}}), ["data.demo.queries", "20", "got 2"]),
    "more queries than items": (space(data={"demo": {"items": 200, "queries": 300}}), ["queries 300", "items 200"]),
    "mode without its outcome": (
        space(trial={"reward": {"mode": "legacy"}}),
        ["demo data: reward mode legacy needs beam_score"],
    ),
    "swept mode without its outcome": (
        lines("  reward.mode: {type: categorical, choices: [hard_plus_soft, legacy]}"),
        ["demo data: reward mode legacy needs beam_score"],
    ),
    "missing data": (space(data={"path": "nowhere"}), ["nowhere: no such file"]),
    "embeddings without data": (space(data={"embeddings": "e.pth"}), ["data", "'e.pth'", "without path"]),
}


@pytest.mark.parametrize("command", ["run", "validate"])
@pytest.mark.parametrize("name", BROKEN_SPACES)
def test_broken_space(
    name: str, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content, fragments = BROKEN_SPACES[name]
    Path("bad.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(capsys, monkeypatch, [command, "bad.yaml"], fragments)
    assert not Path("runs").exists()
