"""The numbers of a run's document are those of its files: each is computed again here, in another way."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import statistics
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from scipy import stats

from sweep.results.overview.make import overview
from sweep.runs.paths import RunPaths
from tests.sweep.report.documents import Plain, block, plain, texts


@pytest.fixture(scope="module")
def document(finished: RunPaths) -> Plain:
    return plain(overview(finished))


@pytest.fixture(scope="module")
def answers(finished: RunPaths) -> list[Plain]:
    table = pq.read_table(finished.evaluation("declared").answers_file.local())
    return [row for row in table.to_pylist() if row["split"] == "test"]


Means = Mapping[tuple[str, int], Mapping[int, float]]


@pytest.fixture(scope="module")
def means(answers: list[Plain]) -> Means:
    """Accuracy by row and shots, then by question, mean over draws. A question with a failure counts nowhere."""
    found: dict[tuple[str, int], dict[int, list[float | None]]] = defaultdict(lambda: defaultdict(list))
    for one in answers:
        found[one["row"], one["shots"]][one["query"]].append(one["accuracy"])
    return {
        key: {query: statistics.mean(v for v in values if v is not None) for query, values in asked.items()
              if any(v is not None for v in values)}
        for key, asked in found.items()
    }  # fmt: skip


def test_accuracy_by_shots(document: Plain, means: Means) -> None:
    rows = {row["row"]: row for row in block(document, "accuracy_by_shots")["rows"]}
    compared = 0
    for (name, shots), by_query in means.items():
        if rows.get(name, {}).get(f"shots_{shots}") is not None:
            assert rows[name][f"shots_{shots}"]["value"] == pytest.approx(statistics.mean(by_query.values()), abs=1e-9)
            compared += 1
    assert compared >= 15


def test_difference_by_shots_is_paired(document: Plain, means: Means) -> None:
    compared = 0
    for row in block(document, "difference_by_shots")["rows"]:
        for shots in (1, 2, 3):
            if (row["row"], shots) in means and row[f"shots_{shots}"] is not None:
                ours, theirs = means[row["row"], shots], means["similarity", shots]
                apart = [ours[query] - theirs[query] for query in ours.keys() & theirs.keys()]
                assert row[f"shots_{shots}"]["value"] == pytest.approx(statistics.mean(apart), abs=1e-9)
                compared += 1
    assert compared >= 12


def test_gallery_counts_and_its_first_question(document: Plain, means: Means, answers: list[Plain]) -> None:
    better, worse = block(document, "better"), block(document, "worse")
    card = (better["cards"] or worse["cards"])[0]
    row, shots = card["sides"][1]["row"], card["shots"]
    ours, theirs = means[row, shots], means["similarity", shots]
    both = ours.keys() & theirs.keys()
    assert better["total"] == sum(ours[query] >= 0.5 > theirs[query] for query in both)
    assert worse["total"] == sum(theirs[query] >= 0.5 > ours[query] for query in both)
    for side in card["sides"]:
        (stored,) = (
            one for one in answers
            if (one["row"], one["shots"], one["item"]) == (side["row"], shots, card["question"]["item"])
        )  # fmt: skip
        assert [one["item"] for one in side["demonstrations"]] == stored["demonstrations"]
        assert (side["answer"], side["accuracy"]) == (stored["text"], stored["accuracy"])


def test_prompts_saved(document: Plain, finished: RunPaths) -> None:
    """A prompt is a question with its demonstrations in their order; equal ones of several rows are asked once."""
    table = pq.read_table(finished.evaluation("declared").answers_file.local()).to_pylist()
    different = {(one["item"], tuple(one["demonstrations"])) for one in table}
    stages = [row for row in block(document, "prompts")["rows"] if row["rows"]]
    assert sum(row["different"] for row in stages) <= len(different)
    for row in stages:
        assert row["saved"] == pytest.approx(1 - row["different"] / row["prompts"])


def test_trials_are_those_of_the_study(document: Plain, finished: RunPaths) -> None:
    with closing(sqlite3.connect(finished.study_file.local())) as database:
        states = dict(database.execute("SELECT number, state FROM trials"))
        values = dict(database.execute("SELECT number, value FROM trials JOIN trial_values USING (trial_id)"))
        lr = dict(
            database.execute(
                "SELECT number, param_value FROM trials JOIN trial_params USING (trial_id) WHERE param_name = 'grpo.lr'"
            )
        )
    rows = {row["trial"]: row for row in block(document, "trials")["rows"]}
    assert {number: row["state"].upper() for number, row in rows.items()} == states
    complete = [number for number, state in states.items() if state == "COMPLETE"]
    assert [row["trial"] for row in rows.values() if row["rank"]] == sorted(complete, key=lambda one: values[one])
    assert {number: rows[number]["val_loss"] for number in complete} == {one: values[one] for one in complete}
    assert {number: row["grpo.lr"] for number, row in rows.items()} == lr
    history = {
        number: y
        for series in block(document, "history")["series"]
        if series["mark"] == "points"
        for number, y in zip(series["x"], series["y"], strict=True)
    }
    assert history == {number: row["val_loss"] for number, row in rows.items()}


def raw_epochs(paths: RunPaths) -> dict[int, list[Plain]]:
    files = sorted(Path(paths.trials_folder.local()).glob("*/epochs.jsonl"))
    return {int(file.parent.name): [json.loads(line) for line in file.read_text().splitlines()] for file in files}


def test_curves(document: Plain, finished: RunPaths) -> None:
    epochs = raw_epochs(finished)
    chart = block(document, "curve_kl")
    drawn = 0
    for series in chart["series"]:
        if series["name"].startswith("trial "):
            raw = [(one["step"], one["kl"]) for one in epochs[int(series["name"][6:])] if one["kl"] is not None]
            assert list(zip(series["x"], series["y"], strict=True)) == raw
            drawn += 1
    assert drawn == min(5, len(epochs))


def test_cost(document: Plain, finished: RunPaths) -> None:
    epochs = raw_epochs(finished)
    rows = {row["what"]: row["value"] for row in block(document, "training")["rows"]}
    assert rows["epochs"] == sum(map(len, epochs.values()))
    grpo = [one["seconds"] for reports in epochs.values() for one in reports if one["stage"] == "grpo"]
    assert rows["seconds per epoch of GRPO"] == pytest.approx(statistics.mean(grpo))
    pruned = [row["last_epoch"] for row in block(document, "trials")["rows"] if row["state"] == "pruned"]
    assert rows["epochs that pruning saved"] == sum(5 - last for last in pruned)


def test_correlation_of_val_loss_with_accuracy(document: Plain) -> None:
    """Over the rows of the chart, by scipy."""
    (series,) = block(document, "loss_and_accuracy")["series"]
    rho = stats.spearmanr(series["x"], series["y"]).statistic
    assert len(series["x"]) >= 3 and f"with accuracy: {rho:+.2f}" in texts(document, "agreement")


def test_data_card(document: Plain, finished: RunPaths) -> None:
    (folder,) = (finished.shared.root / "data").local().iterdir()
    beams = pq.read_table(folder / "beams.parquet").to_pylist()
    facts = {row["what"]: row["value"] for row in block(document, "data_facts")["rows"]}
    assert facts["beams"].startswith(f"{len(beams):,} of 2 picks")
    rewards: dict[int, list[float]] = defaultdict(list)
    for one in beams:
        rewards[one["query_item"]].append(one["vqa_correct"] + one["vqa_acc_score"])
    mode = next(row for row in block(document, "data_modes")["rows"] if row["mode"] == "hard_plus_soft")
    everything = [value for values in rewards.values() for value in values]
    assert mode["mean"] == pytest.approx(statistics.mean(everything), abs=1e-6)
    flat = sum(len(set(values)) == 1 for values in rewards.values())
    assert sum(row["zero_variance"] for row in block(document, "data_splits")["rows"]) == flat


def test_phases_and_alike_trials(document: Plain, finished: RunPaths) -> None:
    """Seconds of the driver's record, and a matrix of which each side is the other."""
    spent = json.loads(finished.driver_file.read_bytes())["spent"]
    rows = block(document, "phases")["rows"]
    assert [row["seconds"] for row in rows[:-1]] == [one["seconds"] for one in spent]
    assert rows[-1]["seconds"] == pytest.approx(sum(one["seconds"] for one in spent))
    alike = {row["trial"]: row for row in block(document, "alike")["rows"]}
    complete = [row["trial"] for row in block(document, "trials")["rows"] if row["rank"]]
    assert list(alike) == complete
    for first, row in alike.items():
        others = {second: row[f"trial_{second}"] for second in complete if second != first}
        assert row["share"] == max(others.values()) == others[row["most_alike"]] and row[f"trial_{first}"] is None
        assert all(alike[second][f"trial_{first}"] == share for second, share in others.items())


def test_lineage_names_the_very_file(document: Plain, finished: RunPaths) -> None:
    rows = {row["what"]: row["value"] for row in block(document, "lineage")["rows"]}
    folder = finished.root.local() / rows["best checkpoint"].partition(":")[0]
    content = (folder / "model.safetensors").read_bytes()
    assert rows["SHA-256 of its weights"] == hashlib.sha256(content).hexdigest()


def test_the_sections_stand_in_the_order_that_people_ask(document: Plain, finished: RunPaths) -> None:
    keys = [section["key"] for section in document["sections"]]
    assert keys == [
        "verdict", "answers", "shots", "settings", "trials", "curves", "pruning", "agreement", "health", "gallery",
        "cost", "data", "lineage",
    ]  # fmt: skip
    verdict = json.loads(finished.ranking_file.read_bytes())["verdict"]["sentence"]
    assert document["headline"].lower() == f"{verdict}.".lower()
