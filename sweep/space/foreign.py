"""What people bring from other tools, and what they put into the wrong section: found in the file as it was written.

Asked only when a space is refused. Each finding shows our spelling with the user's own values.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any

from sweep.space.addresses import addresses, sections
from sweep.space.document import Path, Problem
from sweep.space.nearest import MOST_HINTS, closest, nearest
from sweep.space.spellings import OUR_KEYS, flow, in_our_spelling
from sweep.space.values import meant

LONGEST_EXAMPLE = 120  # characters of a user's value that are repeated
_PARAMETERS = ("search_space", "param_space", "params", "space", "config", "hyperparameters", "searchspace", "hydra")
_SAMPLERS = ("method", "search_alg", "algorithm", "searcher", "search_algorithm", "tuner")
_PRUNERS = ("early_terminate", "early_stopping", "scheduler", "stopper", "assessor")
_TRIALS = ("n_trials", "trials", "num_trials", "max_trials", "num_samples", "run_cap", "max_trial_number", "count")
_AT_A_TIME = ("n_jobs", "max_concurrent_trials", "max_concurrent", "parallel_trials", "trial_concurrency")
_OBJECTIVE = ("metric", "objective", "direction", "mode", "goal")
_PROGRAM = ("program", "command", "project", "entity", "defaults", "trainable", "controller")
SAMPLER_NAMES = {
    "bayes": "tpe",
    "bayesian": "tpe",
    "bayesopt": "gp",
    "cma": "cmaes",
    "cma_es": "cmaes",
    "gaussian_process": "gp",
    "grid_search": "grid",
    "hyperopt": "tpe",
    "optuna": "tpe",
    "random_search": "random",
    "sobol": "qmc",
}
PRUNER_NAMES = {
    "asha": "successive_halving",
    "asynchyperband": "successive_halving",
    "async_hyperband": "successive_halving",
    "fifo": "none",
    "medianstopping": "median",
    "median_stopping": "median",
    "nop": "none",
    "sha": "successive_halving",
}
_PRUNER_KEYS = {
    "min_iter": "min_resource",
    "grace_period": "min_resource",
    "max_iter": "max_resource",
    "max_t": "max_resource",
    "eta": "reduction_factor",
    "reduction_factor": "reduction_factor",
}


def foreign_problems(document: Mapping[str, Any], top_keys: frozenset[str]) -> Iterator[Problem]:
    """Spellings of other tools, with ours.

    Args:
        document: the plain values of the file.
        top_keys: the sections of a search space.
    """
    for key, value in document.items():
        if key == "parameters":
            yield from _parameters(value)
        elif key == "trial" and isinstance(value, dict):
            yield from _varied(value, ())
        elif key not in top_keys and (text := _top(key, value)):
            yield Problem((key,), text)


# Parameters ----------------------------------------------------------------------------------------------------------


def _parameters(value: Any) -> Iterator[Problem]:  # noqa: ANN401 (any value of a file)
    if isinstance(value, list):  # Ax: a list of mappings with names
        named = [item for item in value if isinstance(item, dict) and isinstance(item.get("name"), str)]
        lines = [_line(item["name"], {key: one for key, one in item.items() if key != "name"}) for item in named[:1]]
        yield Problem(("parameters",), f"is a list; write one key per parameter, such as `{(lines or [EXAMPLE])[0]}`")
    elif not isinstance(value, dict):
        yield Problem(("parameters",), f"should be a mapping with one key per parameter, such as `{EXAMPLE}`")
    else:
        found = (problem for path, item in value.items() for problem in _parameter(path, item))
        yield from islice(found, MOST_HINTS)


EXAMPLE = "grpo.lr: {type: float, low: 1e-5, high: 1e-3, log: true}"


def _parameter(path: str, value: Any) -> Iterator[Problem]:  # noqa: ANN401 (any value of a file)
    plain = path.removeprefix("trial.")
    if isinstance(value, dict) and (path == "trial" or plain in sections()):
        yield from _nested(value, ("parameters", path), "" if path == "trial" else plain)
    elif path in addresses() and (ours := _ours(path, value)) is not None:
        yield Problem(("parameters", path), f"{_wrong(value)}; write `{path}: {ours}`")
    elif path not in addresses() and in_our_spelling(value) is not None:
        near = closest(path, addresses())
        write = f"write `{_line(near, value)}`" if near else nearest(path, addresses())
        yield Problem(("parameters", path), f"no such setting of a trial; {write}")


def _nested(value: Mapping[str, Any], where: Path, prefix: str) -> Iterator[Problem]:
    """One finding per setting inside a section that was written out."""
    for key, item in value.items():
        path = f"{prefix}.{key}" if prefix else key
        if isinstance(item, dict) and (path in sections() or key == "parameters"):  # W&B nests `parameters` again
            yield from _nested(item, (*where, key), prefix if key == "parameters" else path)
            continue
        near = path if path in addresses() else closest(path, addresses())
        text = f"write `{_line(near, item)}`" if near else nearest(path, addresses())
        yield Problem((*where, key), f"parameters are named by dotted path; {text}")


def _varied(value: Mapping[str, Any], path: Path) -> Iterator[Problem]:
    """Ranges and lists in the section `trial`, which holds single values."""
    for key, item in value.items():
        dotted = ".".join(map(str, (*path, key)))
        if isinstance(item, dict) and dotted in sections():
            yield from _varied(item, (*path, key))
        elif dotted in addresses() and (isinstance(item, dict | list) or in_our_spelling(item) is not None):
            text = f"trial holds single values; what varies stands under `parameters`: `{_line(dotted, item)}`"
            yield Problem(("trial", *path, key), text)


def _line(path: str, value: Any) -> str:  # noqa: ANN401 (any value of a file)
    """A parameter's line in our spelling; what is no known spelling stays as it was written."""
    return f"{path}: {_ours(path, value) or _short(value)}"


def _ours(path: str, value: Any) -> str | None:  # noqa: ANN401 (any value of a file)
    address = addresses().get(path)
    if address is None:
        return in_our_spelling(value)
    kinds = address.kinds
    return in_our_spelling(_mended(value, kinds, path), whole=int in kinds and float not in kinds)


def _mended(value: Any, kinds: Collection[type], path: str) -> Any:  # noqa: ANN401 (any value of a file)
    """With the values inside as the setting takes them: `yes` as true, a quoted number as a number."""
    if isinstance(value, dict):
        return {key: item if key == "when" else _mended_inside(item, kinds, path) for key, item in value.items()}
    return _mended_inside(value, kinds, path) if isinstance(value, list) else value


def _mended_inside(value: Any, kinds: Collection[type], path: str) -> Any:  # noqa: ANN401 (any value of a file)
    if isinstance(value, list):
        return [_mended_inside(item, kinds, path) for item in value]
    other = meant(value, kinds, path) if isinstance(value, str) else None
    return value if other is None else json.loads(other)


def _wrong(value: Any) -> str:  # noqa: ANN401 (any value of a file)
    """What a parameter is instead of what it should be."""
    if isinstance(value, str):
        return f"{value!r} is only a text here"
    if isinstance(value, list):
        return "is a list"
    if unknown := [str(key) for key in value if key not in OUR_KEYS]:
        return f"unknown key{'s' if len(unknown) > 1 else ''} {', '.join(unknown[:5])}"
    return f"unknown type {value['type']!r}" if "type" in value else "has no `type`"


def _short(value: Any) -> str:  # noqa: ANN401 (any value of a file)
    text = flow(value)
    return text if len(text) <= LONGEST_EXAMPLE else f"{text[:LONGEST_EXAMPLE]} ..."


# Sections ------------------------------------------------------------------------------------------------------------


def _top(key: str, value: Any) -> str | None:  # noqa: ANN401 (any value of a file)
    """What to write instead of a key at the top that no search space has."""
    if key in sections() or key in addresses():
        return _of_trials(key, value)
    name = key.lower()
    if name in _PARAMETERS:
        return "unknown key; what varies stands under `parameters`, by dotted path, such as `" + EXAMPLE + "`"
    if name in _SAMPLERS:
        return f"unknown key; write `sampler: {_algorithm(value, SAMPLER_NAMES, {}, 'tpe')}`"
    if name in _PRUNERS:
        return f"unknown key; write `pruner: {_algorithm(value, PRUNER_NAMES, _PRUNER_KEYS, 'median')}`"
    if name in _TRIALS:
        return f"unknown key; write `budget: {{trials: {_short(value)}}}`"
    if name == "timeout" and isinstance(value, int | float):
        return f"unknown key; write `budget: {{hours: {value / 3600:g}}}` for {value:g} seconds"
    if name in _AT_A_TIME:
        return f"unknown key; write `concurrency: {_short(value)}`"
    if name in _OBJECTIVE:
        return (
            "unknown key; trials are always ranked by val_loss, lower is better; leave it out, or choose the loss: "
            "`validation: {metric: listwise_calibrated}`"
        )
    if name in ("resources_per_trial", "resources_per_worker"):
        given = value if isinstance(value, dict) else {}
        ours = {f"{one}s": given[found] for one in ("cpu", "gpu") for found in given if found.lower().startswith(one)}
        return f"unknown key; write `resources: {flow(ours or {'cpus': 1, 'gpus': 0})}`"
    return "unknown key; nothing here needs it: the trial's code is fixed; leave it out" if name in _PROGRAM else None


def _of_trials(key: str, value: Any) -> str:  # noqa: ANN401 (any value of a file)
    """A section or setting of trials that stands at the top."""
    if key in addresses() and (isinstance(value, dict | list) or in_our_spelling(value) is not None):
        return f"is a setting of trials; what varies stands under `parameters`: `{_line(key, value)}`"
    nested = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return f"is a setting of trials; write `trial: {_short(nested)}`"


def _algorithm(value: Any, names: Mapping[str, str], keys: Mapping[str, str], default: str) -> str:  # noqa: ANN401
    """A sampler or a pruner, with those of its options that have a counterpart."""
    options = value if isinstance(value, dict) else {}
    given = options.get("type") or options.get("name") or options.get("builtinTunerName") or value
    name = given.lower().removesuffix("scheduler").rstrip("_") if isinstance(given, str) else default
    renamed = {keys[option]: item for option, item in options.items() if option in keys}
    return flow({"type": names.get(name, name), **renamed})
