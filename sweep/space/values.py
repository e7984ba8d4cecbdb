"""Single values that are nearly right: quoted numbers, units, words for true, false and null."""

from __future__ import annotations

import re
from collections.abc import Collection

from sweep.space.spellings import LARGEST, flow

_NUMBER_WITH_UNIT = re.compile(r"([-+]?[\d.,_]*\d[\d.,_]*(?:e[-+]?\d+)?) *([a-z%]*)", re.IGNORECASE)
_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "mins": 60, "minutes": 60, "h": 3600, "hour": 3600, "hours": 3600}
_SECONDS |= {"hr": 3600, "hrs": 3600, "d": 86400, "day": 86400, "days": 86400, "seconds": 1, "secs": 1, "minute": 60}
_GIGABYTES = {"b": 1e-9, "kb": 1e-6, "mb": 1e-3, "gb": 1.0, "g": 1.0, "tb": 1e3, "t": 1e3, "gib": 1.073741824}
_GIGABYTES |= {"mib": 0.001048576, "tib": 1099.511627776}
_COUNTS = {"k": 1e3}
_TRUE, _FALSE = ("yes", "on", "y", "true", "1"), ("no", "off", "n", "false", "0")
_NULL = ("none", "null", "nil", "~", "auto", "default")


def remedy(given: object, kinds: Collection[type], name: str) -> str:
    """`; write 1.5` where it is plain what was meant, else nothing.

    Args:
        given: the refused value.
        kinds: the plain types that are taken there.
        name: of the setting. Its last word says in which unit it counts: hours, seconds, gb.
    """
    found = meant(given, kinds, name)
    if found is None:
        return ""
    return f"; write {found}{', without quotes' if found == given else ''}"


def meant(given: object, kinds: Collection[type], name: str) -> str | None:
    """What to write instead of a value, as it stands in the file. None if that is not plain."""
    if isinstance(given, float) and int in kinds and abs(given) < LARGEST and given == int(given):
        return str(int(given))
    if isinstance(given, int) and not isinstance(given, bool) and bool in kinds and given in (0, 1):
        return flow(bool(given))
    if not isinstance(given, str):
        return None
    text = given.strip().lower()
    if bool in kinds and text in _TRUE + _FALSE:
        return flow(text in _TRUE)
    if type(None) in kinds and text in _NULL:
        return "null"
    return _number(text, kinds, name) if {int, float} & set(kinds) else None


def _number(text: str, kinds: Collection[type], name: str) -> str | None:
    match = _NUMBER_WITH_UNIT.fullmatch(text)
    if match is None:
        return None
    digits = match[1].replace("_", "")
    digits = digits.replace(",", "." if digits.count(",") == 1 and len(digits.rpartition(",")[2]) != 3 else "")
    try:
        value = float(digits) * _factor(match[2], name)
    except (ValueError, KeyError):
        return None
    if not abs(value) < LARGEST:
        return None
    if value == int(value):
        return str(int(value))
    return flow(float(f"{value:.12g}")) if float in kinds else None


def _factor(unit: str, name: str) -> float:
    """From a unit to that of the setting. Raises KeyError if the setting does not count in such units."""
    if unit == "":
        return 1.0
    if unit == "%":
        return 0.01
    last = re.split(r"[._]", name)[-1]
    if last == "hours":
        return _SECONDS[unit] / 3600
    if last == "seconds":
        return float(_SECONDS[unit])
    return _GIGABYTES[unit] if last == "gb" else _COUNTS[unit]
