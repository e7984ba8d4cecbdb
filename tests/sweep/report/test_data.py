"""What `data describe` prints."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from selector.data import Outcome
from selector.data.description import describe_data
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
