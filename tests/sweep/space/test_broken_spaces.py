"""Broken search spaces: each gives a SpaceError whose first line names file, line, path and what would be right."""

import pytest

from sweep.errors import SpaceError
from sweep.space import parse_space

P = "name: x\nparameters:\n"
KL = "  grpo.kl_beta: {type: float, low: 0.01, high: 0.5}\n"
CLIP = "  grpo.ppo_clip_only: {type: categorical, choices: [false, true]}\n"

# Name: (text, line, fragments of the message)
BROKEN = {
    # -- not YAML, or not a mapping
    "empty": ("", 1, ["must be a mapping"]),
    "list": ("- 1\n- 2\n", 1, ["must be a mapping"]),
    "scalar": ("grpo", 1, ["must be a mapping"]),
    "tab": ("name: x\n\tdata: 1\n", 2, ["not valid YAML", "a tab; indent with spaces"]),
    "no space after a colon": ("name:x\nseed: 1\n", 2, ["not valid YAML", "a space after each colon"]),
    "zero bytes": ("\0" * 64, 1, ["not valid YAML"]),
    "open bracket": ("name: [1, 2\n", 2, ["not valid YAML"]),
    "two documents": ("name: x\n---\nname: y\n", 2, ["not valid YAML"]),
    "unknown alias": ("name: *nothing\n", 1, ["not valid YAML", "undefined alias"]),
    "key twice": ("name: x\nseed: 1\nseed: 2\n", 3, ["seed: given twice, first on line 2"]),
    "parameter twice": (P + KL + KL, 4, ["parameters.grpo.kl_beta: given twice, first on line 3"]),
    "number as key": ("name: x\n1: 2\n", 2, ["a key must be text"]),
    "merge key": ("name: x\ndata: &d {path: a}\ntrial:\n  <<: *d\n", 4, ["merge keys are not read"]),
    "python tag": ("name: !!python/object/apply:os.system ['true']\n", 1, ["is not read"]),
    "timestamp tag": ("name: !!timestamp 2020-01-01\n", 1, ["'timestamp' is not read"]),
    "alias bomb": (
        "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
        + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(8)),
        1,
        ["more than 20000 values"],
    ),
    "alias to itself": ("name: &a [*a]\n", 1, ["nested deeper than 32"]),
    "deep nesting": ("name: " + "[" * 500 + "]" * 500, 1, ["nested deeper than 32"]),
    "huge integer": ("name: x\nseed: 99999999999999999999\n", 2, ["seed: an integer of more than 18"]),
    "half a surrogate": ('name: "\\ud800"\n', 1, ["surrogate"]),
    # -- top level
    "no name": ("seed: 3\n", 1, ["name: is missing"]),
    "name with slash": ("name: a/b\n", 1, ["name: ", "'a/b'"]),
    "unknown section": ("name: x\nparametres: {}\n", 2, ["unknown key 'parametres'", "'parameters'"]),
    "unknown key": ("name: x\nbudget:\n  trails: 3\n", 3, ["budget.trails: unknown key 'trails'", "'trials'"]),
    "no budget": ("name: x\nbudget: {}\n", 2, ["budget: nothing ends the sweep"]),
    "budget null": ("name: x\nbudget:\n", 2, ["budget"]),
    "no hour": ("name: x\nbudget: {hours: 0}\n", 2, ["budget.hours", "greater than 0"]),
    "list as section": ("name: x\ntrial: [1]\n", 2, ["trial"]),
    "zero trials": ("name: x\nbudget: {trials: 0}\n", 2, ["budget.trials", "greater than or equal to 1", "got 0"]),
    "text for number": ("name: x\nseed: three\n", 2, ["seed: should be a valid integer", "'three'"]),
    "float for int": ("name: x\nrepeats: 1.5\n", 2, ["repeats: should be a valid integer"]),
    "1.5 GPUs": ("name: x\nresources: {gpus: 1.5}\n", 2, ["resources.gpus", "use 1, 2, or at most 1"]),
    "too little CPU": ("name: x\nresources: {cpus: 0.00001}\n", 2, ["resources.cpus: 1e-05 is below 0.0001"]),
    "too little GPU": ("name: x\nresources: {gpus: 0.00009}\n", 2, ["resources.gpus: 9e-05 is below 0.0001"]),
    "more CPUs than exist": ("name: x\nresources: {cpus: 1.0e+300}\n", 2, ["resources.cpus", "1000000"]),
    "worker's CPU": (
        "name: x\nvlm:\n  model: {path: demo}\n  workers: {cpus: 0.00001}\n",
        4,
        ["workers.cpus", "0.0001"],
    ),
    "worker's GPU": (
        "name: x\nvlm:\n  model: {path: demo}\n  workers: {gpus: 1.5}\n",
        4,
        ["workers.gpus", "use 1, 2, or"],
    ),
    "no CPU": ("name: x\nresources: {cpus: 0}\n", 2, ["resources.cpus", "greater than 0"]),
    "pruning_starts": ("name: x\npruning_starts: later\n", 2, ["'later' is not one of after_rce, at_once"]),
    "nan": ("name: x\nvalidation: {tau: .nan}\n", 2, ["validation.tau", "finite number"]),
    "split": ("name: x\ndata: {split: {val: 0.6, test: 0.6}}\n", 2, ["data.split", "leave nothing to train on"]),
    "demo too small": ("name: x\ndata: {demo: {queries: 2}}\n", 2, ["data.demo.queries", "20", "got 2"]),
    "more queries than items": (
        "name: x\ndata: {demo: {items: 200, queries: 300}}\n",
        2,
        ["queries 300", "items 200"],
    ),
    "embeddings alone": ("name: x\ndata: {embeddings: e.pth}\n", 2, ["data", "'e.pth'", "without path"]),
    # -- trial
    "fixed setting misspelt": ("name: x\ntrial:\n  grpo:\n    kl_bta: 1\n", 4, ["trial.grpo.kl_bta", "'kl_beta'"]),
    "fixed setting out of range": ("name: x\ntrial:\n  rce: {lr: -1}\n", 3, ["trial.rce.lr", "got -1"]),
    "unknown mode": ("name: x\ntrial: {reward: {mode: hard_only2}}\n", 2, ["the nearest one is 'hard_only'"]),
    "yes for true": ("name: x\ntrial: {grpo: {freeze_backbone: yes}}\n", 2, ["valid boolean", "; write true"]),
    "heads": ("name: x\ntrial:\n  model: {heads: 3}\n", 3, ["trial.model", "hidden 256 is not a multiple of heads 3"]),
    # -- addresses
    "unknown setting": (P + "  grpo.kl_bta: 1\n", 3, ["grpo.kl_bta: no such setting", "'grpo.kl_beta'"]),
    "leaf without section": (P + "  kl_beta: 1\n", 3, ["the nearest valid key is 'grpo.kl_beta'"]),
    "whole section": (P + "  grpo: 1\n", 3, ["whole section", "grpo.kl_beta"]),
    "inner section": (P + "  grpo.top_k: 1\n", 3, ["whole section", "grpo.top_k.enabled"]),
    "optional section": (P + "  rce.reward: null\n", 3, ["whole section", "rce.reward.mode"]),
    "with trial": (P + "  trial.grpo.lr: 1\n", 3, ["write 'grpo.lr'"]),
    "validation": (
        P + "  validation.tau: {type: float, low: 0.1, high: 1}\n",
        3,
        ["cannot be sampled", "the same for all"],
    ),
    "health": (P + "  health.max_kl: 3\n", 3, ["health is not part of a trial", "cannot be sampled"]),
    "data": (P + "  data.split.val: 0.2\n", 3, ["data is not part of a trial"]),
    "budget": (P + "  budget.trials: 3\n", 3, ["budget is not part of a trial"]),
    # -- parameters
    "unknown type": (P + "  grpo.lr: {type: flaot, low: 1, high: 2}\n", 3, ["unknown type 'flaot'", "'float'"]),
    "no type": (P + "  grpo.lr: {low: 0.1, high: 0.2}\n", 3, ["has no `type`", "float"]),
    "list as parameter": (P + "  grpo.lr: [0.1, 0.2]\n", 3, ["parameters.grpo.lr"]),
    "no high": (P + "  grpo.lr:\n    type: float\n    low: 0.1\n", 3, ["parameters.grpo.lr.high: is missing"]),
    "unknown option": (P + "  grpo.lr: {type: float, low: 0.1, hihg: 0.2}\n", 3, ["unknown key 'hihg'", "'high'"]),
    "low above high": (P + "  grpo.lr: {type: float, low: 0.2, high: 0.1}\n", 3, ["low 0.2 is not below high 0.1"]),
    "low equals high": (P + "  grpo.lr: {type: float, low: 0.1, high: 0.1}\n", 3, ["use `type: fixed`"]),
    "log from zero": (P + "  grpo.lr: {type: float, low: 0, high: 1, log: true}\n", 3, ["log: true needs low above 0"]),
    "log and step": (
        P + "  grpo.lr: {type: float, low: 0.1, high: 1, log: true, step: 0.1}\n",
        3,
        ["exclude each other"],
    ),
    "infinite": (P + "  grpo.lr: {type: float, low: 0.1, high: .inf}\n", 3, ["high", "finite"]),
    "uneven step": (P + "  grpo.lr: {type: float, low: 0.1, high: 0.5, step: 0.3}\n", 3, ["the last step is 0.4"]),
    "wide step": (P + "  rce.epochs: {type: int, low: 1, high: 3, step: 5}\n", 3, ["step 5 is wider"]),
    "no choice": (P + "  reward.mode: {type: categorical, choices: []}\n", 3, ["choices: is empty"]),
    "one choice": (P + "  grpo.lr: {type: categorical, choices: [0.1]}\n", 3, ["single choice 0.1"]),
    "equal choices": (P + "  grpo.lr: {type: categorical, choices: [1, 1.0]}\n", 3, ["1.0 is given twice"]),
    "choice refused": (
        P + "  reward.mode:\n    type: categorical\n    choices:\n      - hard_only\n      - hard\n",
        7,
        ["choices[1]: 'hard' is refused by reward.mode", "hard_plus_soft"],
    ),
    "bound refused": (
        P + "  grpo.kl_beta: {type: float, low: -1, high: 1}\n",
        3,
        ["low: -1.0 is refused", "equal to 0"],
    ),
    "float for an int": (P + "  rce.epochs: {type: float, low: 1, high: 5}\n", 3, ["which is int; use `type: int`"]),
    "int for a bool": (P + "  grpo.freeze_backbone: {type: int, low: 0, high: 1}\n", 3, ["should be a valid boolean"]),
    "fixed refused": (P + "  grpo.lr: fast\n", 3, ["'fast' is refused by grpo.lr: should be a valid number"]),
    # -- conditions
    "unknown condition": (P + KL[:-2] + ", when: {grpo.clip_only: true}}\n", 3, ["'grpo.ppo_clip_only'"]),
    "condition refused": (P + KL[:-2] + ", when: {grpo.ppo_clip_only: 3}}\n", 3, ["so it can never hold"]),
    "condition without value": (P + KL[:-2] + ", when: {grpo.ppo_clip_only: []}}\n", 3, ["can never hold"]),
    "condition on a fixed setting": (
        P + KL[:-2] + ", when: {grpo.ppo_clip_only: true}}\n",
        3,
        ["can never hold", "it is fixed at False"],
    ),
    "condition outside of choices": (
        P
        + "  reward.mode: {type: categorical, choices: [hard_only, soft_only]}\n"
        + KL[:-2]
        + ", when: {reward.mode: separated}}\n",
        4,
        ["reward.mode is never 'separated'"],
    ),
    "condition on a range": (
        P + KL + "  grpo.lr: {type: fixed, value: 1, when: {grpo.kl_beta: 0.1}}\n",
        4,
        ["continuous"],
    ),
    "circle": (
        P + "  grpo.lr: {type: categorical, choices: [1, 2], when: {rce.lr: 1}}\n"
        "  rce.lr: {type: categorical, choices: [1, 2], when: {grpo.lr: 1}}\n",
        2,
        ["parameters: conditions go round in a circle: grpo.lr -> rce.lr -> grpo.lr"],
    ),
    "excluding conditions": (
        P
        + CLIP
        + "  grpo.freeze_backbone: {type: categorical, choices: [false, true], when: {grpo.ppo_clip_only: true}}\n"
        + KL[:-2]
        + ", when: {grpo.ppo_clip_only: false, grpo.freeze_backbone: true}}\n",
        5,
        ["exclude each other"],
    ),
    # -- points
    "point of no parameter": (
        P + KL + "enqueue: [{grpo.lr: 0.1}]\n",
        4,
        ["enqueue[0].grpo.lr: no parameter of this space"],
    ),
    "point out of range": (
        P + KL + "enqueue:\n  - {}\n  - grpo.kl_beta: 0.9\n",
        6,
        ["enqueue[1]", "it takes 0.01 to 0.5"],
    ),
    "point off the steps": (
        P + "  rce.epochs: {type: int, low: 1, high: 99, step: 2}\nenqueue: [{rce.epochs: 4}]\n",
        4,
        ["in steps of 2"],
    ),
    "point not in use": (
        P
        + CLIP
        + KL[:-2]
        + ", when: {grpo.ppo_clip_only: false}}\nenqueue: [{grpo.ppo_clip_only: true, grpo.kl_beta: 0.1}]\n",
        5,
        ["is not in use at this point", "grpo.ppo_clip_only False"],
    ),
    "point left open": (
        P + CLIP + KL[:-2] + ", when: {grpo.ppo_clip_only: false}}\nenqueue: [{grpo.kl_beta: 0.1}]\n",
        5,
        ["name grpo.ppo_clip_only as well"],
    ),
    # -- as a whole
    "seed and repeats": (
        P + "  seed: {type: int, low: 0, high: 9}\nrepeats: 2\n",
        4,
        ["repeats already varies the seed"],
    ),
    "grid with a range": (P + KL + "sampler: {type: grid}\n", 3, ["continuous, which a grid cannot enumerate"]),
    "grid too large": (
        P + "  seed: {type: int, low: 0, high: 999999}\nsampler: {type: grid}\n",
        4,
        ["up to 1000000 points"],
    ),
    "unknown sampler": ("name: x\nsampler: {type: bayes}\n", 2, ["unknown type 'bayes'", "tpe"]),
    "unknown pruner": ("name: x\npruner: {type: medium}\n", 2, ["unknown type 'medium'", "'median'"]),
    "pruner option": ("name: x\npruner: {type: median, warmup: 3}\n", 2, ["'n_warmup_steps'"]),
    "wrapped pruner": ("name: x\npruner: {type: patient, wrapped: {type: none}}\n", 2, ["pruner.wrapped", "'none'"]),
    "group alone": ("name: x\nsampler: {type: tpe, multivariate: false}\n", 2, ["group: true needs multivariate"]),
    "threshold": ("name: x\npruner: {type: threshold}\n", 2, ["neither lower nor upper"]),
    "rung too late": (
        "name: x\npruner: {type: hyperband, min_resource: 11}\n",
        2,
        ["pruner.min_resource: 11 is more than the 10 epochs"],
    ),
    "refused combination": (
        P + "  model.heads: {type: categorical, choices: [2, 3]}\n",
        3,
        ["model.heads=3: hidden 256 is not a multiple of heads 3"],
    ),
    "refused pair": (
        P + "  rce.epochs: {type: int, low: 0, high: 5}\n  grpo.epochs: {type: int, low: 0, high: 5}\n",
        3,
        ["rce.epochs=0", "nothing would be trained"],
    ),
    # -- values of several kinds
    "shots": ("name: x\nevaluation: {shots: 0}\n", 2, ["shots: should be greater than or equal to 1, got 0"]),
    "shots as text": ("name: x\nevaluation: {shots: many}\n", 2, ["shots: should be a valid integer or array"]),
    "shots as mapping": ("name: x\nevaluation: {shots: {a: 1}}\n", 2, ["evaluation.shots: should be a valid integer"]),
    "one of the shots": (
        "name: x\nevaluation: {shots: [1, 99]}\n",
        2,
        ["shots[1]: should be less than", "got 99"],
    ),
    "rank_by": ("name: x\nevaluation: {rank_by: best}\n", 2, ["rank_by: should be 'mean' or a valid integer"]),
    "min_resource": (
        "name: x\npruner: {type: hyperband, min_resource: 0}\n",
        2,
        ["pruner.min_resource: should be greater than or equal to 1, got 0"],
    ),
    "value of a point": (
        P + KL + "enqueue: [{grpo.kl_beta: [1]}]\n",
        4,
        ["enqueue[0].grpo.kl_beta: should be a valid boolean, integer, number or string, got [1]"],
    ),
    "condition within a list": (
        P + "  grpo.kl_beta: {type: float, low: 0.01, high: 0.5, when: {grpo.ppo_clip_only: [[1]]}}\n",
        3,
        ["when.grpo.ppo_clip_only[0]: should be a valid boolean, integer, number or string, got [1]"],
    ),
    # -- sections that need others
    "evaluation alone": ("name: x\nevaluation: {}\n", 2, ["needs items (questions with images) and vlm (the model"]),
    "refused bound of a model": (
        P + "  grpo.clip_epsilon: {type: float, low: 0.1, high: 1.5}\n",
        3,
        ["clip_epsilon 1.5 must be below 1"],
    ),
}

SEVERAL_KINDS = [
    "shots",
    "shots as text",
    "shots as mapping",
    "one of the shots",
    "rank_by",
    "min_resource",
    "value of a point",
    "condition within a list",
]


@pytest.mark.parametrize("name", BROKEN)
def test_broken_space(name):
    text, line, fragments = BROKEN[name]
    with pytest.raises(SpaceError) as caught:
        parse_space(text, "folder/broken.yaml")
    message = str(caught.value)
    first = message.splitlines()[0]
    assert first.startswith(f"folder/broken.yaml:{line}: "), message
    for fragment in fragments:
        assert fragment in first, message


@pytest.mark.parametrize("name", SEVERAL_KINDS)
def test_a_value_that_may_be_of_several_kinds_has_one_line_per_mistake(name):
    with pytest.raises(SpaceError) as caught:
        parse_space(BROKEN[name][0], "f.yaml")
    assert "\n" not in str(caught.value)


def test_each_wrong_value_of_a_list_that_may_also_be_a_number_has_its_line():
    with pytest.raises(SpaceError) as caught:
        parse_space("name: x\nevaluation:\n  shots:\n  - 0\n  - one\n", "f.yaml")
    assert str(caught.value).splitlines() == [
        "f.yaml:4: evaluation.shots[0]: should be greater than or equal to 1, got 0",
        "f.yaml:5: evaluation.shots[1]: should be a valid integer, got 'one'",
    ]


@pytest.mark.parametrize("section", ["collect", "evaluation"])
@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ("items: {demo: {}}", "needs vlm (the model that answers); give it"),
        ("vlm: {model: {path: demo}}", "needs items (questions with images); give it"),
        ("seed: 0", "needs items (questions with images) and vlm (the model that answers); give them"),
    ],
)
def test_of_the_sections_that_another_needs_only_the_missing_ones_are_named(section, given, missing):
    with pytest.raises(SpaceError) as caught:
        parse_space(f"name: x\n{given}\n{section}: {{}}\n", "f.yaml")
    assert str(caught.value) == f"f.yaml:3: {section}: {missing}"


def test_there_are_many_kinds():
    assert len(BROKEN) >= 40


def test_several_problems_are_all_listed_in_the_order_of_the_file():
    text = "name: x\nsede: 1\nbudget: {trials: -1}\nsampler: {type: tpe, startup: 3}\n"
    with pytest.raises(SpaceError) as caught:
        parse_space(text, "f.yaml")
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["f.yaml:2", "f.yaml:3", "f.yaml:4"]


def test_a_flood_of_problems_is_cut():
    keys = "".join(f"  unknown{i}: 1\n" for i in range(100))
    with pytest.raises(SpaceError) as caught:
        parse_space(P + keys, "f.yaml")
    assert str(caught.value).splitlines()[-1] == "... and 80 more"
