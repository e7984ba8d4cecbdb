"""What `data describe` prints."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from selector.data import Outcome, Split
from selector.data.description import describe_data
from sweep.plan.make import shared_images
from sweep.report.data import data_document, render_data
from sweep.terminal.console import Screen
from tests.selector.worlds import make_dataset


def test_it_fits_80_columns_and_says_what_the_document_says() -> None:
    dataset = make_dataset(queries=60, groups=(15, 40))
    columns = {name: values for name, values in dataset.outcomes.items() if name is not Outcome.REL_SCORE}
    found = describe_data(replace(dataset, outcomes=columns))
    file = io.StringIO()
    Screen(file=file, width=80).print(render_data(found))
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "hard_plus_gtprob_plus_rel needs vqa_rel_score" in text and "more: " in text
    document = json.loads(json.dumps(data_document(found), allow_nan=False))
    for mode in document["modes"]:
        if mode["missing"]:
            continue
        groups = [f"{mode['informative'][split]}/{document['summary']['queries'][split]}" for split in ("val", "test")]
        row = next(line for line in reversed(text.splitlines()) if line.split()[-1:] == [mode["mode"]])
        assert row.split()[1:3] == groups and f"{mode['advantage_std']['zscore']:.3f}" in row
    assert sum(document["positives"].values()) == sum(document["group_sizes"].values()) == 60


def test_queries_of_two_splits_on_one_image_are_named() -> None:
    dataset = make_dataset(queries=60)
    train, val = (int(dataset.query_items[dataset.indices(split)[0]]) for split in (Split.TRAIN, Split.VAL))
    embeddings = dataset.embeddings.copy()
    embeddings[val] = embeddings[train]
    found = describe_data(dataset)
    clean, shared = (shared_images(one, None) for one in (dataset, replace(dataset, embeddings=embeddings)))
    assert not any(one.across_splits for one in clean)
    (across,) = (one for one in data_document(found, shared)["shared_images"] if one["across_splits"])
    assert across["count"] == 1 and f"val query {val}" in across["sentence"] and across["sign"] == "embedding"
    file = io.StringIO()
    Screen(file=file, width=80).print(render_data(found, shared))
    assert "shared images" in file.getvalue() and f"train query {train}" in " ".join(file.getvalue().split())
