"""The JSON files that users already have: RL data, and the older beam lists.

RL data, per query: `{"candidate_pool_ids": [ids], "pointer_candidates": [beam, ...]}`. With `pointer_global` a beam's
`pointer` holds pool positions. Without it `pointer` (or `pointer_pos`) holds item ids. The pool is then
`candidate_pool_ids`, or else the sorted union of the ids in the query's beams that are not left out.
Older form, per query: `{"id_list": [[id, ..., query id], ...], "score_list": [score, ...]}`. The pool is the union.

This module reads structure and types. Ranges are checked afterwards by `selector.data.checks`, for every form of data.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selector.arrays import Float32Array, Int64Array
from selector.data.assemble import Group, assemble
from selector.data.checks import Names, check_dataset
from selector.data.dataset import Dataset, Outcome
from selector.data.json_text import SAFE_DIGITS, read_json
from selector.data.place import Place, file_label, quote
from selector.data.settings import SplitSettings

QUERY_KEY = re.compile("-?[0-9]+")
RL_MARK, OLDER_MARK = "pointer_candidates", "id_list"
RL_NAMES = Names(pool="candidate_pool_ids", picks="pointer")
OLDER_NAMES = Names(pool="id_list", picks="id_list", outcomes={Outcome.BEAM_SCORE: "score_list"})


@dataclass
class _Reading:
    """What one pass over the file gathers."""

    keep_fallback: bool
    groups: list[Group] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def read_lever_plus(
    path: Path,
    embeddings: Float32Array,
    embeddings_file: Path,
    split: SplitSettings,
    *,
    keep_fallback: bool = False,
    images: Int64Array | None = None,
) -> Dataset:
    """Read and check a JSON file of either form.

    Args:
        path: the JSON file.
        embeddings: float32 [M, D], row = item id, as `load_embeddings` returns it.
        embeddings_file: where they came from, for messages.
        split: how its queries are divided.
        keep_fallback: keep beams whose `vqa_eval_mode` is `fallback`.
        images: int64 [M], the image of every item: queries on one image are then in one split.

    Returns:
        The checked data set, queries in the order of the file. `counts` says what was left out or noticed.

    Raises:
        DataError: anything that is not as the module's docstring says. Names file, query and field.
    """
    place = Place(file_label(path))
    content = place.read_object(read_json(path))
    reading = _Reading(keep_fallback)
    mark = None
    for key, item in _queries(content, place, reading.counts):
        here = Place(place.file, query=item)
        entry = here.read_object(content[key])
        mark = _check_form(entry, mark, here)
        read_group = _read_rl_group if mark == RL_MARK else _read_older_group
        group = read_group(entry, here, item, reading)
        if group is None:
            reading.counts["queries_left_out_without_beams"] += 1
        else:
            reading.groups.append(group)
    names = OLDER_NAMES if mark == OLDER_MARK else RL_NAMES
    if not reading.groups:
        raise place.error(_nothing_left(reading.counts))
    dataset, beam_numbers = assemble(reading.groups, embeddings, split, place, names, reading.counts, images)
    check_dataset(dataset, place.file, names=names, embeddings_file=file_label(embeddings_file), numbers=beam_numbers)
    return dataset


def looks_like_training_data(path: Path, limit: int = 1 << 20) -> bool:
    """Whether the first `limit` bytes hold a key of one of the two forms, without parsing. False if unreadable."""
    try:
        with path.open("rb") as file:
            start = file.read(limit)
    except OSError:
        return False
    return any(f'"{mark}"'.encode() in start for mark in (RL_MARK, OLDER_MARK))


def _queries(content: dict[str, Any], place: Place, counts: Counter[str]) -> Iterator[tuple[str, int]]:
    """Keys that are item ids, in the order of the file. All others are counted."""
    keys: dict[int, str] = {}
    for key in content:
        if not QUERY_KEY.fullmatch(key):
            counts["keys_not_queries"] += 1
            continue
        here = Place(place.file, query=key if len(key) <= SAFE_DIGITS else f"{key[:SAFE_DIGITS]}...")
        if len(key) > SAFE_DIGITS or key.startswith("-"):
            raise here.error("the key is no item id; expected the row of the query's embedding, from 0")
        item = int(key)
        if item in keys:
            raise here.error(f"the keys {keys[item]!r} and {key!r} are the same query")
        keys[item] = key
        yield key, item


def _check_form(entry: dict[str, Any], seen: str | None, here: Place) -> str:
    marks = [mark for mark in (RL_MARK, OLDER_MARK) if mark in entry]
    if len(marks) != 1:
        found = "both" if marks else "neither"
        raise here.error(
            f"has {found} of {RL_MARK} (RL data) and {OLDER_MARK} (older beam lists); expected one of them"
        )
    if seen not in (None, marks[0]):
        raise here.error(f"has {marks[0]} while earlier queries have {seen}; a file must keep to one form")
    return marks[0]


def _nothing_left(counts: Counter[str]) -> str:
    if counts["queries_left_out_without_beams"]:
        reasons = ", ".join(f"{name}: {n}" for name, n in sorted(counts.items()))
        return f"no query is left after filtering ({reasons})"
    return "holds no query; expected an object whose keys are item ids"


# --- RL data ---------------------------------------------------------------------------------------------------------


def _read_rl_group(entry: dict[str, Any], here: Place, item: int, reading: _Reading) -> Group | None:
    beams = entry[RL_MARK]
    if type(beams) is not list:
        raise here.error(f"expected a list of beams, found {quote(beams)}", RL_MARK)
    if not beams:
        raise here.error("the group is empty; expected at least one beam", RL_MARK)
    pool_ids = entry.get("candidate_pool_ids")
    pool = None if pool_ids is None else here.read_integers(pool_ids, "candidate_pool_ids")
    group = Group(item)
    positions: list[list[int] | None] = []
    ids: list[list[int]] = []
    for number, value in enumerate(beams):
        at = Place(here.file, item, number)
        beam = at.read_object(value)
        reason = _left_out(beam, at, reading.keep_fallback)
        if reason is not None:
            reading.counts[f"beams_left_out_{reason}"] += 1
            continue
        beam_positions, beam_ids = _read_pointer(beam, at, pool)
        positions.append(beam_positions)
        ids.append(beam_ids)
        group.numbers.append(number)
        for outcome, values in group.outcomes.items():
            values.append(_read_outcome(beam, at, outcome))
    if not group.numbers:
        return None
    group.pool = sorted({one for row in ids for one in row}) if pool is None else pool
    _place_in_pool(group, positions, ids, here, "pointer")
    return group


def _left_out(beam: dict[str, Any], at: Place, keep_fallback: bool) -> str | None:
    """Why a beam's measurement cannot be used, or None."""
    failed = beam.get("eval_failed")
    if failed is not None and type(failed) is not bool:
        raise at.error(f"expected true or false, found {quote(failed)}", "eval_failed")
    mode = beam.get("vqa_eval_mode")
    if mode is not None and type(mode) is not str:
        raise at.error(f"expected a text, found {quote(mode)}", "vqa_eval_mode")
    if failed:
        return "eval_failed"
    if mode == "error" or (mode == "fallback" and not keep_fallback):
        return mode
    return None


def _read_pointer(beam: dict[str, Any], at: Place, pool: list[int] | None) -> tuple[list[int] | None, list[int]]:
    """A beam's pool positions (None if the file gives item ids) and its item ids."""
    name = "pointer" if beam.get("pointer") is not None else "pointer_pos"
    if beam.get(name) is None:
        raise at.error("is missing; expected a list of integers", "pointer")
    values = at.read_integers(beam[name], name)
    if beam.get("pointer_global") is None:
        both = beam.get("pointer_pos")
        if both is not None and both != values:
            raise at.error(
                f"pointer {quote(values)} and pointer_pos {quote(both)} differ and pointer_global is missing"
            )
        return None, values
    ids = at.read_integers(beam["pointer_global"], "pointer_global")
    if pool is None:
        raise at.error("pointer_global makes pointer a list of pool positions, but candidate_pool_ids is missing")
    if len(ids) != len(values):
        raise at.error(f"holds {len(ids)} items, pointer {len(values)}", "pointer_global")
    for position, one in zip(values, ids, strict=True):
        if 0 <= position < len(pool) and pool[position] != one:
            raise at.error(
                f"says item {one}, but position {position} of the pool is item {pool[position]}", "pointer_global"
            )
    return values, ids


def _place_in_pool(
    group: Group, positions: list[list[int] | None], ids: list[list[int]], here: Place, name: str
) -> None:
    """Fill `group.picks`: positions as given, item ids looked up in the pool."""
    position_of = {one: position for position, one in enumerate(group.pool)}
    for number, given, row in zip(group.numbers, positions, ids, strict=True):
        if given is None:
            for one in row:
                if one not in position_of:
                    raise Place(here.file, here.query, number).error(
                        f"item {one} is not in candidate_pool_ids (without pointer_global, {name} holds item ids)", name
                    )
            given = [position_of[one] for one in row]
        group.picks.append(given)


def _read_outcome(beam: dict[str, Any], at: Place, outcome: Outcome) -> float | None:
    value = beam.get(outcome.value)
    if value is None:
        return None
    return at.read_number(value, outcome.value, allow_bool=outcome is Outcome.CORRECT)


# --- Older beam lists ------------------------------------------------------------------------------------------------


def _read_older_group(entry: dict[str, Any], here: Place, item: int, _reading: _Reading) -> Group:
    rows, scores = entry[OLDER_MARK], entry.get("score_list")
    if type(rows) is not list or type(scores) is not list:
        name, value = (OLDER_MARK, rows) if type(rows) is not list else ("score_list", scores)
        raise here.error(f"expected a list, found {quote(value)}", name)
    if not rows:
        raise here.error("the group is empty; expected at least one beam", OLDER_MARK)
    if len(rows) != len(scores):
        raise here.error(f"holds {len(scores)} scores for {len(rows)} beams", "score_list")
    group = Group(item)
    ids = []
    for number, (row, score) in enumerate(zip(rows, scores, strict=True)):
        at = Place(here.file, item, number)
        values = at.read_integers(row, OLDER_MARK)
        if not values or values[-1] != item:
            raise at.error(f"must end with the query's own id {item}, found {quote(values)}", OLDER_MARK)
        ids.append(values[:-1])
        group.numbers.append(number)
        for outcome, column in group.outcomes.items():
            column.append(at.read_number(score, "score_list") if outcome is Outcome.BEAM_SCORE else None)
    group.pool = sorted({one for row in ids for one in row})
    _place_in_pool(group, [None] * len(ids), ids, here, OLDER_MARK)
    return group
