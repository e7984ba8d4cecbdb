"""Parameters as other tools write them, in our spelling: W&B, Ray Tune, Optuna, Ax, Hydra, NNI, Hyperopt.

Nothing here is accepted as it stands. The error message shows what to write, with the user's own values.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeGuard

OUR_KEYS = frozenset({"type", "low", "high", "log", "step", "choices", "value", "when"})
OUR_TYPES = frozenset({"float", "int", "categorical", "fixed"})
LONGEST_CALL = 500  # characters
LARGEST = 1e15  # of numbers that are shown, and of the steps in a range
_KEYS = {
    "low": ("low", "min", "lower", "minimum", "min_value", "lower_bound", "start"),
    "high": ("high", "max", "upper", "maximum", "max_value", "upper_bound", "end", "stop"),
    "step": ("step", "q", "step_size", "stride"),
    "pair": ("bounds", "range", "interval", "domain"),
    "choices": ("choices", "values", "options", "categories", "choice", "grid", "grid_search", "list"),
    "value": ("value", "constant"),
    "log": ("log", "log_scale", "logscale", "scale", "sampling", "prior"),
    "type": ("distribution", "type", "_type", "dist", "method", "parameter_type"),
    "arguments": ("_value", "args"),
    "middle": ("mu", "mean", "loc"),
    "spread": ("sigma", "sd", "std"),
}
_CHOICES = frozenset(
    {"choice", "choices", "categorical", "gridsearch", "enum", "ordinal", "pchoice", "values", "sample"}
)
_FIXED = frozenset({"fixed", "constant", "const", "value"})
_RANGE_WORDS = re.compile(r"uniform|integer|interval|int|float|double|real|range|continuous|log|rand|values|discrete|q")
_NUMBER = r"([-+]?\d*\.?\d+(?:e[-+]?\d+)?)"
_BETWEEN = re.compile(rf"{_NUMBER} *(?:\.\.|to|-|:) *{_NUMBER}", re.IGNORECASE)
_BELLS = re.compile(r"normal|gauss|randn|beta")


def in_our_spelling(value: Any, whole: bool = False) -> str | None:  # noqa: ANN401 (any value of a file)
    """The parameter as this project writes it. None if the value is not a known foreign spelling.

    Args:
        value: what stands in the file.
        whole: whether the setting takes whole numbers only.
    """
    found = None
    if isinstance(value, str):
        found = _of_call(value)
    elif isinstance(value, list):
        found = _of_list(value)
    elif isinstance(value, dict):
        found = _of_mapping(value)
    if found is None:
        return None
    form = {**found.form, "type": "int"} if whole and _is_float(found.form) else found.form
    return flow(form) + (f"  # {found.comment}" if found.comment else "")


@dataclass(frozen=True)
class _Ours:
    """One of our forms: a typed parameter, or a bare value. The comment stands behind it."""

    form: Any
    comment: str = ""


def _is_float(form: Any) -> bool:  # noqa: ANN401 (one of our forms)
    return isinstance(form, dict) and form["type"] == "float"


def flow(value: Any) -> str:  # noqa: ANN401 (any value of a file)
    """YAML on one line, as people write it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, float):
        return re.sub(r"e([-+])0*(\d)", lambda part: f"e{part[1].replace('+', '')}{part[2]}", repr(value))
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w./-]*", value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value)


_WORDS = ("true", "false", "null")


# Values of the forms -------------------------------------------------------------------------------------------------


def _of_list(value: list[Any]) -> _Ours | None:
    if not value or any(isinstance(item, list | dict) for item in value):
        return None
    if len(value) == 1:
        return _Ours(value[0])
    if isinstance(value[0], str) and len(value) > 2 and _is_range(value[0]):  # [loguniform, 1e-5, 1e-3]
        return _of_name(value[0], value[1:], {})
    choices = _choices(value)
    if len(value) == 2 and all(_is_number(item) for item in value) and value[0] < value[1]:
        return _Ours(choices.form, f"or all that lies between: {flow(_range(value[0], value[1]).form)}")
    return choices


def _of_mapping(value: dict[str, Any]) -> _Ours | None:
    """Keys of other tools, or no type where the keys tell it."""
    if len(value) == 1 and (_is_range(only := next(iter(value))) or _BELLS.search(only)):  # {loguniform: [1e-5, 1e-3]}
        inside = value[only]
        arguments, options = (inside, {}) if isinstance(inside, list) else ([], inside)
        return _of_name(only, arguments, options) if isinstance(options, dict) else None
    given = {ours: value[key] for ours, keys in _KEYS.items() for key in keys if key in value}
    name = given.get("type")
    if name is not None and not isinstance(name, str):
        return None
    if name in OUR_TYPES and set(value) <= OUR_KEYS:
        return None  # ours, and wrong in another way
    when = {"when": value["when"]} if "when" in value else {}
    if "pair" in given and _is_pair(given["pair"]):
        given["low"], given["high"] = given["pair"]
    if isinstance(name, str) and name not in OUR_TYPES and "arguments" in given:
        arguments = given["arguments"] if isinstance(given["arguments"], list) else [given["arguments"]]
        return _of_name(name, arguments, {})
    if isinstance(name, str) and _BELLS.search(name.lower()):
        return _bell(name, given.get("middle"), given.get("spread"))
    if isinstance(given.get("choices"), list):
        return _choices(given["choices"], when)
    if {"low", "high"} <= set(given) and _is_number(given["low"]) and _is_number(given["high"]):
        log = "log" in str(name).lower() or given.get("log") in (True, "log", "log-uniform", "log_uniform")
        whole = _is_whole(str(name)) or value.get("value_type") == "int"
        open_type = name is None or name in OUR_TYPES or _is_range(str(name))
        return _range(given["low"], given["high"], log, given.get("step"), whole, when) if open_type else None
    return _Ours(given["value"]) if "value" in given and not when else None


def _of_call(text: str) -> _Ours | None:
    """`tune.loguniform(1e-5, 1e-3)` and the like. The text is parsed and never run."""
    if len(text) > LONGEST_CALL:
        return None
    if ends := _BETWEEN.fullmatch(text.strip()):
        return _range(float(ends[1]), float(ends[2]))
    if re.fullmatch(r"[\w.+-]+(?: *, *[\w.+-]+)+", text.strip()):
        return _choices(_number_or_text(item) for item in re.split(r" *, *", text.strip()))
    if not re.match(r"[\w.]+ *\(", text):
        return None
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    return _of_node(node, text.strip(), log=False) if isinstance(node, ast.Call) else None


def _of_node(node: ast.Call, text: str, *, log: bool) -> _Ours | None:
    name = ast.unparse(node.func)
    inner = [argument for argument in node.args if isinstance(argument, ast.Call)]
    if inner:  # Hydra's tag(log, interval(1e-5, 1e-3))
        return _of_node(inner[0], text, log=any(ast.unparse(one) == "log" for one in node.args))
    options = {one.arg: _literal(one.value, text) for one in node.keywords if one.arg}
    arguments = [_literal(one, text) for one in node.args]
    labelled = name.startswith(("hp.", "trial.")) or ".suggest_" in f".{name}"
    if labelled and arguments and isinstance(arguments[0], str):
        arguments = arguments[1:]  # the parameter's name
    return _of_name(name, arguments, {**options, **({"log": True} if log else {})})


def _literal(node: ast.expr, text: str) -> Any:  # noqa: ANN401 (any value)
    """The value, or the text as it was written: Hydra's names have no quotes, and may hold a dash."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError):
        return ast.get_source_segment(text, node)


def _of_name(name: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> _Ours | None:
    flat = _flat(name)
    if flat in _CHOICES:
        listed = len(arguments) == 1 and isinstance(arguments[0], list | tuple)
        values = arguments[0] if listed else arguments or options.get("choices") or options.get("categories") or ()
        return _choices(values) if values else None
    if flat in _FIXED and arguments:
        return _Ours(arguments[0])
    if _BELLS.search(flat):
        return _bell(name, *[*arguments, None, None][:2])
    if not _is_range(name):
        return None
    given = {ours: options[key] for ours, keys in _KEYS.items() for key in keys if key in options}
    low, high = arguments[:2] if len(arguments) > 1 else (given.get("low"), given.get("high"))
    if not _is_number(low) or not _is_number(high):
        return None
    step = given.get("step", arguments[2] if len(arguments) > 2 else None)
    exclusive = flat in ("randint", "lograndint", "range") and isinstance(high, int)
    whole = _is_whole(name) or (flat == "range" and isinstance(low, int))
    log = "log" in flat or given.get("log") is True
    return _range(low, high - exclusive, log, step, whole)


# Our forms -----------------------------------------------------------------------------------------------------------


def _choices(values: Iterable[Any], when: Mapping[str, Any] | None = None) -> _Ours:
    return _Ours({"type": "categorical", "choices": list(values), **(when or {})})


def _range(
    low: float,
    high: float,
    log: bool = False,
    step: object = None,
    whole: bool = False,
    when: Mapping[str, Any] | None = None,
) -> _Ours:
    if log and low < 0:  # W&B's log_uniform and Hyperopt name the exponents
        low, high = _exponential(low), _exponential(high)
    found: dict[str, Any] = {"type": "int" if whole else "float", "low": low, "high": high}
    if log:
        found["log"] = True
    elif (
        _is_number(step) and 0 < (high - low) / LARGEST < step <= high - low and (step != 1 or found["type"] == "float")
    ):
        steps = (Decimal(str(high)) - Decimal(str(low))) // Decimal(str(step))
        last = Decimal(str(low)) + steps * Decimal(str(step))
        found["high"] = int(last) if found["type"] == "int" else float(last)
        found["step"] = step
    return _Ours(found | dict(when or {}))


def _bell(name: str, middle: object, spread: object) -> _Ours:
    if not _is_number(middle) or not _is_number(spread):
        return _Ours({"type": "float", "low": "LOW", "high": "HIGH"}, f"there is no distribution {name}")
    centre, width = float(middle), float(spread)
    ends = [centre - 2 * width, centre + 2 * width]
    log = "log" in name.lower()
    low, high = (_exponential(end) if log else float(f"{end:.3g}") for end in ends)
    return _Ours(_range(low, high, log).form, f"two sigma to each side; there is no distribution {name}")


def _exponential(value: float) -> float:
    return float(f"{math.exp(min(max(value, -700), 700)):.3g}")


def _number_or_text(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _flat(name: str) -> str:
    text = name.rsplit(".", 1)[-1].lower().removeprefix("suggest_").replace("_", "").replace("-", "")
    return text.removesuffix("distribution")


def _is_range(name: str) -> bool:
    """Whether the name of a distribution or function is made of the words of ranges alone."""
    flat = _flat(name)
    return flat != "" and "".join(_RANGE_WORDS.findall(flat)) == flat


def _is_whole(name: str) -> bool:
    return not {"int", "integer"}.isdisjoint(_RANGE_WORDS.findall(_flat(name)))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2
