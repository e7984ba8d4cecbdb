"""Resolving trials, conditions, rewards, comparison, finding files, the JSON schema, and what ships."""

import json

import jsonschema
import pytest
import yaml

from selector.settings import RewardMode, TrialSettings
from sweep.errors import SpaceError
from sweep.runs.paths import sqlite_url
from sweep.space import (
    SearchSpace,
    addresses,
    canonical,
    differences,
    find_space,
    identity,
    json_schema,
    load_space,
    parse_space,
    reachable_rewards,
    shipped_spaces,
)
from sweep.study import AskedTrial, StudyOwner


def space(text: str) -> SearchSpace:
    return parse_space("name: x\n" + text, "x.yaml")


# -- addresses and resolving -------------------------------------------------------------------------------------------


def test_every_address_can_be_fixed_at_its_default():
    base = {path: address.field.get_default() for path, address in addresses().items()}
    assert "rce.reward.mode" in base and "grpo.top_k.early_k" in base and "rce.reward" not in base
    text = json.dumps({path: getattr(value, "value", value) for path, value in base.items()})
    assert space(f"parameters: {text}\n").resolve({}, 0).grpo == TrialSettings().grpo


def test_resolve_takes_base_then_fixed_then_sampled():
    text = "trial: {grpo: {lr: 1e-3, epochs: 4}}\n"
    text += "parameters: {grpo.lr: {type: float, low: 0.1, high: 0.2}, model.layers: 2}\n"
    settings = space(text).resolve({"grpo.lr": 0.15}, 0)
    assert (settings.grpo.lr, settings.grpo.epochs, settings.model.layers) == (0.15, 4, 2)
    assert space(text).resolve({}, 0).grpo.lr == 1e-3


def test_resolve_starts_a_null_section_from_its_defaults():
    text = "parameters: {rce.reward.mode: {type: categorical, choices: [hard_only, soft_only]}}\n"
    settings = space(text).resolve({"rce.reward.mode": "soft_only"}, 0)
    assert settings.rce_reward.mode is RewardMode.SOFT_ONLY and settings.rce_reward.rel_weight == 0.1
    assert settings.reward.mode is RewardMode.HARD_PLUS_SOFT


def test_seeds():
    assert space("seed: 5\nrepeats: 3\n").resolve({}, 2).seed == 7
    assert space("seed: 5\ntrial: {seed: 20}\nrepeats: 3\n").resolve({}, 2).seed == 22
    assert space("seed: 5\ntrial: {seed: 0}\n").resolve({}, 0).seed == 0
    assert space("parameters: {seed: {type: int, low: 100, high: 200}}\n").resolve({"seed": 150}, 0).seed == 150


def test_resolve_names_the_parameters_of_a_refused_combination():
    sampled = "{type: int, low: 8, high: 100000, step: 8}"
    with pytest.raises(SpaceError, match=r"model\.hidden=100: hidden 100 is not a multiple of heads 8"):
        space(f"trial: {{model: {{heads: 8}}}}\nparameters: {{model.hidden: {sampled}}}\n").resolve(
            {"model.hidden": 100}, 0
        )


def test_resolve_refuses_unknown_parameters():
    with pytest.raises(SpaceError, match=r"grpo\.kl_beta: no parameter of space 'x'"):
        space("").resolve({"grpo.kl_beta": 1.0}, 0)


def test_values_take_the_fields_type():
    made = space("parameters: {grpo.lr: {type: categorical, choices: [1, 2]}}\nenqueue: [{grpo.lr: 1}]\n")
    assert made.parameters["grpo.lr"].choices == (1.0, 2.0)
    assert isinstance(made.points[0]["grpo.lr"], float)


def test_optional_field_takes_null():
    made = space("parameters: {grpo.clip_epsilon_high: {type: categorical, choices: [null, 0.3]}}\n")
    assert made.resolve({"grpo.clip_epsilon_high": None}, 0).grpo.clip_epsilon_high is None


# -- conditions --------------------------------------------------------------------------------------------------------

CHAIN = """
parameters:
  grpo.kl_beta: {type: float, low: 0.1, high: 0.5, when: {grpo.ppo_clip_only: false, model.decoder: [gate]}}
  grpo.adaptive_beta.enabled: {type: fixed, value: true, when: {grpo.ppo_clip_only: false}}
  grpo.adaptive_beta.factor: {type: float, low: 1.5, high: 3, when: {grpo.adaptive_beta.enabled: true}}
  grpo.lr: {type: float, low: 0.1, high: 0.2}
  grpo.ppo_clip_only: {type: categorical, choices: [false, true]}
trial: {model: {decoder: gate}}
"""


def test_order_is_topological_and_else_that_of_the_file():
    assert space(CHAIN).order == (
        "grpo.lr",
        "grpo.ppo_clip_only",
        "grpo.kl_beta",
        "grpo.adaptive_beta.enabled",
        "grpo.adaptive_beta.factor",
    )


def test_conditional_fixed_parameter_falls_back_to_the_base():
    made = space(CHAIN)
    assert made.resolve({"grpo.ppo_clip_only": False}, 0).grpo.adaptive_beta.enabled is True
    assert made.resolve({"grpo.ppo_clip_only": True}, 0).grpo.adaptive_beta.enabled is False
    values = made.with_fixed({"grpo.ppo_clip_only": True})
    assert not made.in_use("grpo.kl_beta", values) and not made.in_use("grpo.adaptive_beta.factor", values)


def test_condition_on_a_parameter_out_of_use_looks_at_the_setting_underneath():
    text = """
parameters:
  grpo.ppo_clip_only: {type: categorical, choices: [false, true]}
  reward.mode: {type: categorical, choices: [hard_only, soft_only], when: {grpo.ppo_clip_only: true}}
  grpo.kl_beta: {type: float, low: 0.1, high: 0.5, when: {reward.mode: hard_plus_soft}}
"""
    made = space(text)
    assert made.in_use("grpo.kl_beta", {"grpo.ppo_clip_only": False})
    assert not made.in_use("grpo.kl_beta", {"grpo.ppo_clip_only": True, "reward.mode": "hard_only"})


# -- epochs and rewards ------------------------------------------------------------------------------------------------


def test_most_epochs():
    text = "trial: {rce: {epochs: 3}}\nparameters: {grpo.epochs: {type: int, low: 2, high: 200}}\n"
    assert space(text).epochs() == (3, 200)
    assert space(text).pruned_epochs() == 200
    assert space(text + "pruning_starts: at_once\n").pruned_epochs() == 203


def _modes(text: str) -> list[str]:
    return [str(reward.mode) for reward in reachable_rewards(space(text))]


def test_reachable_rewards():
    sampled = "{type: categorical, choices: [hard_only, legacy]}"
    assert _modes("") == ["hard_plus_soft"]
    assert _modes("trial: {reward: {mode: soft_only}}\n") == ["hard_plus_soft", "soft_only"]
    assert _modes(f"parameters: {{reward.mode: {sampled}}}\n") == ["hard_plus_soft", "hard_only", "legacy"]
    fixed = "trial: {rce: {reward: {mode: separated}}}\n"
    assert _modes(f"{fixed}parameters: {{reward.mode: {sampled}}}\n") == [
        "hard_plus_soft",
        "separated",
        "hard_only",
        "legacy",
    ]
    only_rce = "trial: {reward: {mode: soft_only}, rce: {reward: {mode: separated}}, grpo: {epochs: 0}}\n"
    assert _modes(only_rce) == ["hard_plus_soft", "separated"]
    assert _modes("validation: {reward: {mode: hard_only}}\ntrial: {reward: {mode: hard_only}}\n") == ["hard_only"]


def test_reachable_rewards_follow_conditions():
    text = """
parameters:
  grpo.ppo_clip_only: {type: categorical, choices: [false, true]}
  reward.mode: {type: categorical, choices: [hard_only, soft_only], when: {grpo.ppo_clip_only: true}}
"""
    assert _modes(text) == ["hard_plus_soft", "hard_only", "soft_only"]


def test_reachable_legacy_rewards_tell_zero_weights():
    text = "trial: {reward: {mode: legacy, beta: 0}, rce: {epochs: 0}}\n"
    text += "parameters: {reward.alpha: {type: float, low: -1, high: 1}}\n"
    found = {
        (reward.alpha != 0, reward.beta != 0) for reward in reachable_rewards(space(text)) if reward.mode == "legacy"
    }
    assert found == {(True, False), (False, False)}


# -- comparing ---------------------------------------------------------------------------------------------------------


def test_equal_spaces_have_equal_canonical_forms():
    one = space("parameters: {grpo.lr: 1}\nbudget: {trials: 24}\n")
    other = space("budget:\n  trials: 24\nparameters:\n  grpo.lr: {type: fixed, value: 1.0}\n")
    assert canonical(one) == canonical(other) and differences(canonical(one), canonical(other)) == []
    assert json.loads(json.dumps(canonical(one))) == canonical(one)


def test_differences():
    old = canonical(space("parameters: {grpo.lr: {type: float, low: 0.1, high: 0.2}}\n"))
    new = canonical(space("parameters: {grpo.lr: {type: float, low: 0.1, high: 0.3}, model.layers: 2}\nseed: 4\n"))
    lines = differences(old, new)
    assert "parameters.grpo.lr.high: 0.2 -> 0.3" in lines and "seed: 0 -> 4" in lines
    assert "parameters.model.layers.value: absent -> 2" in lines


def test_identity_leaves_out_what_a_resumed_run_may_change():
    assert identity(space("budget: {hours: 3}\nkeep_epochs: 9\n")) == identity(space(""))
    assert identity(space("repeats: 2\n")) != identity(space(""))
    assert identity(space("trial: {seed: 0}\nseed: 3\n")) != identity(space("seed: 3\n"))


# -- finding -----------------------------------------------------------------------------------------------------------


def test_own_file_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "grpo.yaml").write_text("name: mine\n")
    assert find_space("spaces/grpo.yaml") == ("name: mine\n", "spaces/grpo.yaml")


@pytest.mark.parametrize("argument", ["spaces/grpo.yaml", "grpo.yaml", "grpo", "search_spaces/grpo.yaml"])
def test_shipped_space_of_the_same_base_name(tmp_path, monkeypatch, argument):
    monkeypatch.chdir(tmp_path)
    text, name = find_space(argument)
    assert name == "search_spaces/grpo.yaml" and text.startswith("#")


def test_missing_space_lists_what_there_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mygrpo.yaml").write_text("name: x\n")
    with pytest.raises(SpaceError) as caught:
        find_space("mygrp.yaml")
    assert "does not exist" in str(caught.value)
    assert "beams.yaml, grpo.yaml, okvqa.yaml" in str(caught.value) and "near it: mygrpo.yaml" in str(caught.value)


def test_folder_and_binary_files_are_refused(tmp_path):
    with pytest.raises(SpaceError, match="is a folder"):
        find_space(str(tmp_path))
    (tmp_path / "a.yaml").write_bytes(b"name: x\n\xff\xfe")
    with pytest.raises(SpaceError, match=r"a\.yaml:2: not UTF-8"):
        find_space(str(tmp_path / "a.yaml"))
    (tmp_path / "a.yaml").write_bytes(b'{"8": ' + b"1" * 2_000_000)
    with pytest.raises(SpaceError, match="this is no search space"):
        find_space(str(tmp_path / "a.yaml"))
    with pytest.raises(SpaceError, match="does not exist"):
        find_space("a\0b")


def test_byte_order_mark_is_no_content(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfname: x\n")
    assert load_space(str(tmp_path / "a.yaml")).name == "x"


# -- what ships --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", shipped_spaces())
def test_shipped_space_parses_and_its_first_trials_resolve(name, tmp_path):
    made = load_space(name)
    assert name == f"{made.name}.yaml"
    owner = StudyOwner.open(sqlite_url(tmp_path / "s.db"), made.name, made)
    for index in range(len(made.points) + 3):
        asked = owner.ask()
        assert isinstance(asked, AskedTrial) and asked.number == index
        if index < len(made.points):
            assert made.points[index // made.repeats].items() <= asked.params.items()
        assert asked.settings == made.resolve(asked.params, index % made.repeats)


def test_grpo_space_samples_and_tries_what_it_must():
    made = load_space("grpo.yaml")
    assert {"grpo.kl_beta", "grpo.lr", "grpo.clip_epsilon", "reward.mode", "grpo.ppo_clip_only"} <= set(
        made.distributions
    )
    assert len(made.points) == 1  # a published one; spaces/plans.yaml has them all
    other = {**made.points[0], "grpo.lr": 1e-3, "reward.mode": "soft_only"}
    warm_ups = {json.dumps(made.resolve(point, 0).rce_key()) for point in (*made.points, other)}
    assert len(warm_ups) == 1  # one RCE for all trials, on purpose
    assert RewardMode.LEGACY not in {reward.mode for reward in reachable_rewards(made)}


# -- schema ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def validator():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", shipped_spaces())
def test_schema_accepts_what_ships(validator, name):
    from sweep.space.document import read_document

    assert validator.is_valid(read_document(*find_space(name)).value)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("name: x", True),
        ("name: x\nparameters: {grpo.lr: 0.1, reward.mode: hard_only, grpo.clip_epsilon_high: null}", True),
        (
            "name: x\nparameters: {grpo.lr: {type: float, low: 0.1, high: 0.2, when: {grpo.ppo_clip_only: [false]}}}",
            True,
        ),
        ("name: x\nsampler: {type: grid}\npruner: {type: patient, wrapped: {type: median}}", True),
        ("seed: 3", False),
        ("name: a b", False),
        ("name: x\nunknown: 1", False),
        ("name: x\nparameters: {grpo.kl_bta: 1}", False),
        ("name: x\nparameters: {grpo: 1}", False),
        ("name: x\nparameters: {validation.tau: 1}", False),
        ("name: x\nparameters: {grpo.lr: {type: flaot, low: 0.1, high: 0.2}}", False),
        ("name: x\nparameters: {grpo.lr: {type: float, low: 0.1}}", False),
        ("name: x\nparameters: {grpo.lr: {type: fixed, value: 1, when: {grpo.nothing: 1}}}", False),
        ("name: x\nenqueue: [{grpo.nothing: 1}]", False),
        ("name: x\nsampler: qmc\npruner: none", True),
        ("name: x\nsampler: bayes", False),
        ("name: x\nsampler: {type: bayes}", False),
        ("name: x\nbudget: {trials: 0}", False),
    ],
)
def test_schema_agrees_with_the_parser(validator, text, valid):
    document = yaml.safe_load(text)
    assert validator.is_valid(document) is valid
    if not valid:
        with pytest.raises(SpaceError):
            parse_space(text, "x.yaml")
    else:
        parse_space(text, "x.yaml")


def test_schema_describes_parameters():
    properties = json_schema()["properties"]["parameters"]["properties"]
    assert set(properties) == set(addresses())
    assert "No KL term at all" in properties["grpo.ppo_clip_only"]["description"]
    assert "default 0.1" in properties["grpo.kl_beta"]["description"]


def test_every_property_of_the_schema_has_a_description():
    schema = json_schema()
    lacking = []

    def walk(value, path):
        if isinstance(value, dict):
            properties = value.get("properties")
            if isinstance(properties, dict):
                lacking.extend(f"{path}.{name}" for name, one in properties.items() if not one.get("description"))
            for key, item in value.items():
                walk(item, f"{path}.{key}")
        elif isinstance(value, list):
            for item in value:
                walk(item, path)

    walk(schema, "")
    assert lacking == [] and len(schema["$defs"]) > 40
    assert len(json.dumps(schema, indent=2)) < 140_000, "an editor reads it at every key"


def test_descriptions_come_from_the_settings_own_words():
    definitions = json_schema()["$defs"]
    # The field's own words, those of the class, those of a class above it, two names on one line, what the type is.
    assert definitions["GrpoSettings"]["properties"]["weight_decay"]["description"].startswith("Pulls the policy away")
    assert definitions["BatchingSettings"]["properties"]["image_threads"]["description"] == (
        "Threads that decode and resize."
    )
    assert definitions["RceSettings"]["properties"]["batch_size"]["description"] == "Queries per update."
    assert definitions["WorldSettings"]["properties"]["val"]["description"] == "Queries of each split."
    assert definitions["VlmSettings"]["properties"]["workers"]["description"] == "The pool: one engine per worker."
    assert "Attributes" not in definitions["BatchingSettings"]["description"]
