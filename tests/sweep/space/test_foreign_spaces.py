"""Spaces as users of other tools write them: the message shows our spelling, with their values and their line.

What a message shows must itself be a valid parameter.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sweep.errors import SpaceError
from sweep.space import addresses, check_named_files, parse_space
from sweep.space.nearest import nearest

P = "name: x\nparameters:\n"
LOG = "{type: float, low: 1e-5, high: 0.001, log: true}"

# Name: (value of grpo.lr, what to write)
RANGES = {
    "tune": ("loguniform(1e-5, 1e-3)", LOG),
    "tune with its module": ("tune.loguniform(1e-5, 1e-3)", LOG),
    "tune, quantised": ("tune.quniform(0.1, 1.0, 0.2)", "{type: float, low: 0.1, high: 0.9, step: 0.2}"),
    "optuna": ("trial.suggest_float('lr', 1e-5, 1e-3, log=True)", LOG),
    "optuna, old": ("suggest_loguniform('lr', 1e-5, 1e-3)", LOG),
    "optuna, distribution": ("FloatDistribution(1e-5, 1e-3, log=True)", LOG),
    "hydra": ("tag(log, interval(1e-5, 1e-3))", LOG),
    "hydra, linear": ("interval(0.1, 0.5)", "{type: float, low: 0.1, high: 0.5}"),
    "hyperopt": ("hp.loguniform('lr', -10, -5)", "{type: float, low: 4.54e-5, high: 0.00674, log: true}"),
    "normal": ("tune.randn(0.5, 0.1)", "{type: float, low: 0.3, high: 0.7}"),
    "W&B": ("{distribution: log_uniform_values, min: 1e-5, max: 1e-3}", LOG),
    "W&B, exponents": ("{distribution: log_uniform, min: -10, max: -5}", "{type: float, low: 4.54e-5, high: 0.00674,"),
    "W&B, uniform": ("{distribution: uniform, min: 0.1, max: 0.5}", "{type: float, low: 0.1, high: 0.5}"),
    "W&B, steps": ("{distribution: q_uniform, min: 0, max: 1, q: 0.3}", "{type: float, low: 0, high: 0.9, step: 0.3}"),
    "W&B, no name": ("{min: 0.1, max: 0.5}", "{type: float, low: 0.1, high: 0.5}"),
    "W&B, choices": ("{values: [0.1, 0.2]}", "{type: categorical, choices: [0.1, 0.2]}"),
    "W&B, constant": ("{value: 0.1}", "grpo.lr: 0.1`"),
    "W&B, normal": ("{distribution: normal, mu: 0.5, sigma: 0.1}", "{type: float, low: 0.3, high: 0.7}"),
    "ax": ("{type: range, bounds: [1e-5, 1e-3], log_scale: true}", LOG),
    "nni": ("{_type: loguniform, _value: [1e-5, 1e-3]}", LOG),
    "type by its distribution": ("{type: loguniform, low: 1e-5, high: 1e-3}", LOG),
    "type by its function": ("{type: suggest_float, low: 0.1, high: 0.5}", "{type: float, low: 0.1, high: 0.5}"),
    "no type": ("{low: 1e-5, high: 1e-3, log: true}", LOG),
    "our type, other keys": ("{type: float, min: 0.1, max: 0.5}", "{type: float, low: 0.1, high: 0.5}"),
    "list": ("[0.1, 0.2, 0.3]", "{type: categorical, choices: [0.1, 0.2, 0.3]}"),
    "list of two": ("[0.1, 0.2]", "# or all that lies between: {type: float, low: 0.1, high: 0.2}"),
    "list with a name": ("[loguniform, 1e-5, 1e-3]", LOG),
    "mapping with a name": ("{loguniform: [1e-5, 1e-3]}", LOG),
    "mapping in a mapping": ("{uniform: {low: 0.1, high: 0.5}}", "{type: float, low: 0.1, high: 0.5}"),
    "dots": ("0.1..0.5", "{type: float, low: 0.1, high: 0.5}"),
    "commas": ("'0.1, 0.2, 0.5'", "{type: categorical, choices: "),
    "quoted numbers": ("['0.1', '0.2', '5e-1']", "{type: categorical, choices: [0.1, 0.2, 0.5]}"),
}

# Name: (text, line, fragments of the message)
SPACES = {
    "a name that is not ours": (P + f"  grpo.learning_rate: {LOG}\n", 3, ["the nearest valid key is 'grpo.lr'"]),
    "and a range neither": (
        P + "  grpo.learning_rate: {min: 0.1, max: 0.5}\n",
        3,
        ["write `grpo.lr: {type: float, low: 0.1, high: 0.5}`"],
    ),
    "whole numbers": (P + "  grpo.batch_size: tune.randint(8, 65)\n", 3, ["{type: int, low: 8, high: 64}"]),
    "whole field": (P + "  grpo.epochs: {distribution: uniform, min: 2, max: 8}\n", 3, ["{type: int, low: 2,"]),
    "names": (P + "  reward.mode: choice(hard_only, soft_only)\n", 3, ["choices: [hard_only, soft_only]}"]),
    "yes and no": (P + "  grpo.ppo_clip_only: [yes, no]\n", 3, ["choices: [true, false]}"]),
    "list with names": (
        "name: x\nparameters:\n- {name: grpo.lr, type: range, bounds: [1e-5, 1e-3], log_scale: true}\n",
        2,
        [f"`grpo.lr: {LOG}`"],
    ),
    "nested": (
        P + "  grpo:\n    lr: {min: 0.1, max: 0.5}\n",
        4,
        ["dotted path; write `grpo.lr: {type: float, low: 0.1"],
    ),
    "nested twice": (
        P + "  grpo:\n    top_k:\n      early_k: [2, 3, 4]\n",
        5,
        ["write `grpo.top_k.early_k: {type: cat"],
    ),
    "nested and misspelt": (P + "  grpo:\n    learning_rate: 0.1\n", 4, ["write `grpo.lr: 0.1`"]),
    "nested below trial": (P + "  trial:\n    grpo:\n      lr: 0.1\n", 5, ["write `grpo.lr: 0.1`"]),
    "nested as W&B nests": (
        P + "  grpo:\n    parameters:\n      lr: {values: [0.1, 0.2, 0.4]}\n",
        5,
        ["write `grpo.lr: {"],
    ),
    "no mapping": ("name: x\nparameters: grpo.lr\n", 2, ["one key per parameter, such as `grpo.lr: {type: float"]),
    "empty parameter": (P + "  grpo.lr:\n", 3, ["is empty; give a value, or a range `{type: float"]),
    "empty list": (P + "  grpo.lr: []\n", 3, ["write `grpo.lr: {type: float, low: LOW, high: HIGH}`"]),
    "pruner off": ("name: x\npruner: false\n", 2, ["write `pruner: {type: none}`"]),
    "sampler in a list": ("name: x\nsampler: [gp]\n", 2, ["write `sampler: {type: gp}`"]),
    "one dash too many": ("name: x\nbudget:\n- trials: 8\n", 2, ["write `budget: {trials: 8}`"]),
    "the very name elsewhere": ("name: x\nepochs: 3\n", 2, ["'trial.rce.epochs', 'trial.grpo.epochs' and"]),
    "nothing like it": ("name: x\ndata: {file: x}\n", 2, ["valid keys are path, embeddings"]),
    "name with a space": ("name: my sweep\n", 1, ["write my-sweep"]),
    "range in trial": (
        "name: x\ntrial:\n  grpo:\n    lr: {type: float, low: 0.1, high: 0.5}\n",
        4,
        ["what varies stands under `parameters`: `grpo.lr: {type: float, low: 0.1, high: 0.5}`"],
    ),
    "list in trial": ("name: x\ntrial:\n  grpo:\n    lr: [0.1, 0.2, 0.4]\n", 4, ["`grpo.lr: {type: categorical, choi"]),
    "section of trials at the top": ("name: x\nmodel: {hidden: 64}\n", 2, ["write `trial: {model: {hidden: 64}}`"]),
    "setting of trials at the top": ("name: x\ngrpo.lr: 0.1\n", 2, ["write `trial: {grpo: {lr: 0.1}}`"]),
    "key of another section": ("name: x\nshots: 3\n", 2, ["the nearest valid key is 'evaluation.shots'"]),
    "misspelt in its section": ("name: x\ntrial: {grpo: {learning_rate: 0.1}}\n", 2, ["the nearest valid key is 'lr'"]),
    "unlike anything": (P + "  grpo.entropy: 1\n", 3, ["valid keys are grpo.lr, grpo.weight_decay", "grpo.kl_beta"]),
    "method": ("name: x\nmethod: bayes\n", 2, ["write `sampler: {type: tpe}`"]),
    "metric": ("name: x\nmetric: {name: loss, goal: minimize}\n", 2, ["ranked by val_loss", "validation: {metric"]),
    "early_terminate": (
        "name: x\nearly_terminate: {type: hyperband, min_iter: 3, eta: 2}\n",
        2,
        ["write `pruner: {type: hyperband, min_resource: 3, reduction_factor: 2}`"],
    ),
    "scheduler": ("name: x\nscheduler: ASHAScheduler\n", 2, ["write `pruner: {type: successive_halving}`"]),
    "n_trials": ("name: x\nn_trials: 30\n", 2, ["write `budget: {trials: 30}`"]),
    "timeout": ("name: x\ntimeout: 5400\n", 2, ["write `budget: {hours: 1.5}`"]),
    "resources": ("name: x\nresources_per_trial: {cpu: 2, gpu: 0.5}\n", 2, ["`resources: {cpus: 2, gpus: 0.5}`"]),
    "program": ("name: x\nprogram: train.py\n", 2, ["leave it out"]),
    "pruner by another name": ("name: x\npruner: asha\n", 2, ["unknown type 'asha'", "'successive_halving' here"]),
    "sampler by another name": ("name: x\nsampler: bayes\n", 2, ["unknown type 'bayes'", "'tpe' here"]),
    "pruner with another's keys": ("name: x\npruner: {type: hyperband, grace_period: 2}\n", 2, ["'min_resource'"]),
    "budget": ("name: x\nbudget: 4\n", 2, ["budget: should be a mapping, got 4; write `budget: {trials: 4}`"]),
    "budget in hours": ("name: x\nbudget: 90m\n", 2, ["write `budget: {hours: 1.5}`"]),
    "budget in a list": ("name: x\nbudget: [4]\n", 2, ["write `budget: {trials: ", "got [4]"]),
    "empty section": ("name: x\nresources:\n", 2, ["write `resources: {cpus: 1.0}`"]),
    "data": ("name: x\ndata: folder\n", 2, ["write `data: {path: folder}`"]),
    "model": (
        "name: x\nvlm: Qwen/Qwen2.5-VL-3B-Instruct\n",
        2,
        ["`vlm: {model: {path: Qwen/Qwen2.5-VL-3B-Instruct}}`"],
    ),
    "points": (
        "name: x\nenqueue: {grpo.lr: 0.1}\n",
        2,
        ["enqueue: should be a list, got", "write `enqueue: [{grpo.lr: 0.1}]`"],
    ),
    # -- values
    "hours": ("name: x\nbudget: {hours: 1h}\n", 2, ["got '1h'; write 1"]),
    "seconds": ("name: x\nvlm: {model: {path: demo}, workers: {batch_seconds: 1h}}\n", 2, ["got '1h'; write 3600"]),
    "gigabytes": ("name: x\nmax_disk_gb: 500 MB\n", 2, ["write 0.5"]),
    "percent": ("name: x\ndata: {split: {val: 15%}}\n", 2, ["write 0.15"]),
    "quoted number": ("name: x\nseed: '3'\n", 2, ["write 3, without quotes"]),
    "fraction that is whole": ("name: x\nbudget: {trials: 3.0}\n", 2, ["should be a valid integer, got 3.0; write 3"]),
    "decimal comma": ("name: x\nmax_disk_gb: 0,5\n", 2, ["write 0.5"]),
    "None": ("name: x\nmax_disk_gb: None\n", 2, ["write null"]),
    "quoted boolean": (P + "  grpo.ppo_clip_only: 'True'\n", 3, ["should be a valid boolean; write true"]),
}


@pytest.mark.parametrize("name", RANGES)
def test_a_foreign_range_is_shown_in_our_spelling(name: str) -> None:
    given, ours = RANGES[name]
    message = refused(f"{P}  grpo.lr: {given}\n")
    assert message.startswith("f.yaml:3: parameters.grpo.lr: ") and "\n" not in message
    assert ours in message, message
    (shown,) = re.findall(r"write `(.*?)`", message)
    parse_space(f"{P}  {shown}\n", "shown.yaml")


@pytest.mark.parametrize("name", SPACES)
def test_a_foreign_space_is_explained(name: str) -> None:
    text, line, fragments = SPACES[name]
    message = refused(text)
    assert message.splitlines()[0].startswith(f"f.yaml:{line}: "), message
    assert "should be an object" not in message and len(message.splitlines()) == 1, message
    for fragment in fragments:
        assert fragment in message, message


def refused(text: str) -> str:
    with pytest.raises(SpaceError) as caught:
        parse_space(text, "f.yaml")
    return str(caught.value)


def test_a_whole_wandb_sweep_has_one_line_for_each_of_its_parts() -> None:
    message = refused(
        "name: x\nmethod: random\nmetric: {name: val_loss, goal: minimize}\nparameters:\n"
        "  grpo.lr: {distribution: log_uniform_values, min: 1e-5, max: 1e-3}\n"
        "  grpo.epochs: {value: 5}\nearly_terminate: {type: hyperband, min_iter: 3}\nrun_cap: 20\n"
    )
    assert [line.split(": ")[0] for line in message.splitlines()] == [f"f.yaml:{line}" for line in (2, 3, 5, 6, 7, 8)]


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes", "qmc", "random"])
def test_the_name_of_a_sampler_is_short_for_its_defaults(name: str) -> None:
    assert parse_space(f"name: x\nsampler: {name}\n", "f") == parse_space(f"name: x\nsampler: {{type: {name}}}\n", "f")


def test_the_name_of_a_pruner_is_short_for_its_defaults() -> None:
    assert parse_space("name: x\npruner: none\n", "f") == parse_space("name: x\npruner: {type: none}\n", "f")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 400,
        "choice(" * 60,
        "uniform(" + "9" * 400 + ", 1)",
        "loguniform(-1e308, 1e308)",
        "quniform(0, 1e308, 1e-9)",
    ],
)
def test_hostile_calls_are_refused_like_any_text(text: str) -> None:
    assert refused(f"{P}  grpo.lr: '{text}'\n").startswith("f.yaml:3: parameters.grpo.lr: ")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("grpo.learning_rate", ["grpo.lr"]),
        ("learning_rate", ["rce.lr", "grpo.lr"]),
        ("grpo.beta", ["grpo.kl_beta"]),
        ("grpo.num_epochs", ["grpo.epochs"]),
        ("gropo.lr", ["grpo.lr"]),
        ("grpo.clip", ["grpo.clip_epsilon"]),
        ("hidden_size", ["model.hidden"]),
        ("wd", ["rce.weight_decay", "grpo.weight_decay"]),
        ("grpo.warmup_ratio", ["grpo.warmup_fraction"]),
        ("GRPO.LR", ["grpo.lr"]),
    ],
)
def test_the_nearest_path(given: str, expected: list[str]) -> None:
    assert re.findall("'(.*?)'", nearest(given, addresses())) == expected


def test_where_nothing_is_near_the_sections_are_named() -> None:
    text = nearest("foo", addresses())
    assert text == "settings are those of model, reward, rce, grpo, such as model.hidden"


@pytest.mark.parametrize("text", ["data: {path: folder/x}", "data:\n  path: folder/x"])
def test_a_file_that_is_not_there_is_said_with_line_and_folder(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = f"name: x\n{text}\n"
    with pytest.raises(SpaceError) as caught:
        check_named_files(parse_space(text, "f.yaml"), text, "f.yaml")
    line = 2 + text.count("\n  ")
    assert str(caught.value).startswith(f"f.yaml:{line}: data.path: 'folder/x' does not exist; a relative path begins")
    assert str(tmp_path) in str(caught.value)
    check_named_files(parse_space(text, "f.yaml"), text, "f.yaml", skipped=["data"])
    (tmp_path / "folder" / "x").mkdir(parents=True)
    check_named_files(parse_space(text, "f.yaml"), text, "f.yaml")


def test_every_file_of_a_list_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    text = f"name: x\nitems:\n  questions: ['{tmp_path}/q.json']\n  images: ['{tmp_path}/here', '~/there']\n"
    with pytest.raises(SpaceError) as caught:
        check_named_files(parse_space(text, "f.yaml"), text, "f.yaml")
    first, second = str(caught.value).splitlines()
    assert first.startswith("f.yaml:3: items.questions[0]: ") and "q.json' does not exist" in first
    assert second.startswith("f.yaml:4: items.images[1]: ") and str(Path.home() / "there") in second
