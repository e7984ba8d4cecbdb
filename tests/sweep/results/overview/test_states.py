"""A document for a run in any state, in all three forms."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Sequence
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sweep.report.markdown import markdown_of
from sweep.report.page.charts import figure_of
from sweep.report.page.page import page_of
from sweep.results.overview.limits import limited
from sweep.results.overview.make import overview
from sweep.results.overview.model import Axis, Chart, Document, Mark, Series
from sweep.results.overview.sources import Material
from tests.sweep.made import made_run
from tests.sweep.report.documents import Plain, block, plain, texts

NO_MATERIAL = Material(missing="not looked at")
HOSTILE = "<script>alert(1)</script> ![x](http://evil.test/x.png) [y](javascript:alert(2)) | ## \ud800 </script>"


class Reader(HTMLParser):
    """Tags with their attributes, and the text of scripts that a browser runs."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._runs = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._runs = tag == "script" and "type" not in dict(attrs)

    def handle_endtag(self, tag: str) -> None:
        self._runs = False

    def handle_data(self, data: str) -> None:
        if self._runs:
            self.scripts.append(data)


def three(folder: Path, states: Sequence[str], **changes: Any) -> tuple[Document, Plain, str, str]:
    """The document of a made run, and its three forms."""
    document = overview(made_run(folder, states, **changes), NO_MATERIAL)
    return document, plain(document), markdown_of(document), page_of(document)


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([], "No trial has begun yet; the run is interrupted."),
        (["running"], "0 of 1 trials have ended, none is complete yet"),
        (["complete"], "1 of 1 trials have ended, the best val_loss so far is "),
        (["pruned"] * 3, "3 of 3 trials have ended, none is complete yet"),
        (["fail"] * 3, "3 of 3 trials have ended, none is complete yet"),
    ],
    ids=["nothing", "running", "one", "all pruned", "all failed"],
)
def test_any_state_has_all_sections(states: Sequence[str], said: str, tmp_path: Path) -> None:
    document, found, markdown, page = three(tmp_path, states)
    assert said in document.headline
    titles = [section.title for section in document.sections]
    assert re.findall(r"^## (.*)$", markdown, re.MULTILINE) == [title.replace("_", r"\_") for title in titles]
    assert [unescape(one) for one in re.findall(r"<h2>(.*?)</h2>", page)] == titles
    assert "cannot be told" in texts(found, "settings"), "too few trials for importance"
    assert "No model was asked" in texts(found, "answers")
    trials = [] if not states else block(found, "trials")["rows"]
    assert sorted(row["trial"] for row in trials) == list(range(len(states)))
    if states and states[0] == "fail":
        assert {row["reason"] for row in block(found, "failures")["rows"]} == {"CUDA out of memory"}
    if states and states[0] == "pruned":
        assert [row["trial"] for row in block(found, "pruned")["rows"]] == [0, 1, 2]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Document, Plain, str, str]:
    """60 trials, of which some failed for a hostile reason."""
    states = ["fail" if number % 20 == 7 else "pruned" if number % 3 == 2 else "complete" for number in range(60)]
    return three(tmp_path_factory.mktemp("many"), states, reason=HOSTILE)


def test_what_mattered_is_what_the_formula_says(many: tuple[Document, Plain, str, str]) -> None:
    """val_loss falls with the learning rate alone."""
    rows = {row["parameter"]: row for row in block(many[1], "importance_val_loss")["rows"]}
    assert [name for name, row in rows.items() if row["told"]] == ["grpo.lr"]
    assert rows["grpo.lr"]["association"]["high"] < -0.9, "larger rates, lower losses"
    assert "grpo.lr" in texts(many[1], "settings")


def test_curves_are_thinned_and_that_is_said(many: tuple[Document, Plain, str, str]) -> None:
    others = next(one for one in block(many[1], "curve_val_loss")["series"] if one["name"] == "other trials")
    assert sum(value is None for value in others["y"]) == 40
    assert "the best 5 trials and 40 of the other 52" in texts(many[1], "curves")
    losses = sorted(row["val_loss"] for row in block(many[1], "trials")["rows"] if row["rank"])
    assert losses[0] == min(block(many[1], "history")["series"][-1]["y"]), "the best so far ends at the best"


def test_a_page_runs_our_scripts_alone(many: tuple[Document, Plain, str, str]) -> None:
    """Whatever a run's files hold: nothing is loaded, and the policy names the hashes of what may run."""
    page = many[3]
    found = Reader(page)
    policy = next(str(values["content"]) for tag, values in found.tags if values.get("http-equiv"))
    packed = re.search(r'<script type="text/plain" id="plotly">(.*?)</script>', page)
    assert packed is not None and len(found.scripts) == 1
    library = gzip.decompress(base64.b64decode(packed[1]))
    hashes = [base64.b64encode(hashlib.sha256(one).digest()).decode() for one in (found.scripts[0].encode(), library)]
    assert "default-src 'none'" in policy and re.findall(r"'sha256-(.*?)'", policy) == hashes
    assert not [tag for tag, values in found.tags if {"src", "srcset", "data", "action"} & values.keys()]
    assert all(str(values["href"]).startswith("#") for tag, values in found.tags if "href" in values)
    assert not [name for _, values in found.tags for name in values if name.startswith("on")]
    assert "alert(1)" in page and "<script>alert" not in page


def test_charts_hold_no_markup_of_strangers(many: tuple[Document, Plain, str, str]) -> None:
    """plotly takes `<a href>` in a text for a link."""
    figures = re.findall(r'<script type="application/json">(.*?)</script>', many[3])
    assert len(figures) > 10
    assert not [one for one in figures if re.search(r"<(?!br>)", json.dumps(json.loads(one)))]


def test_names_in_charts_are_escaped() -> None:
    named = Series("<a href='javascript:x'>y</a>", Mark.POINTS, ("<b>",), (1.0,), labels=("<i>",))
    figure = figure_of(Chart("key", "title", Axis("<u>"), Axis("y"), (named,), "alt"))
    assert "<" not in json.dumps(figure) and "&lt;a href=" in json.dumps(figure)


def test_markdown_has_no_markup_of_strangers(many: tuple[Document, Plain, str, str]) -> None:
    markdown = many[2]
    assert "alert(1)" in markdown and "\ud800" not in markdown
    assert not re.search(r"(?<!\\)[<\[\]]", markdown), "no HTML, link or image"
    table = markdown.partition("All trials\n\n")[2].partition("\n\n")[0].splitlines()
    cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
    assert len(table) == 62 and len(cells) == 1, "a bar in a text ends no cell"


def test_a_table_is_the_same_in_all_forms(many: tuple[Document, Plain, str, str]) -> None:
    _, found, markdown, page = many
    rows = [row for row in block(found, "trials")["rows"] if row["rank"]]
    for row in rows:
        assert f"| {row['rank']} | {row['trial']} | complete | {row['val_loss']:.4f} |" in markdown
        assert f'<td class="number">{row["val_loss"]:.4f}</td>' in page


def test_a_damaged_file_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    paths = made_run(tmp_path, ["complete"] * 3)
    paths.trial(1).history_file.write_text("{not json\n")
    found = plain(overview(paths, NO_MATERIAL))
    assert [note for note in block(found, "findings")["notes"] if "0001/epochs.jsonl" in note]
    assert len(block(found, "trials")["rows"]) == 3


def test_one_value_far_away_flattens_no_chart() -> None:
    """It is said how many points are off the chart. Everything is in the data all the same."""
    axis, notes = limited("val_loss", [2.0, 2.1, 2.2, 2.3, 2.4, 2.5, 2.6, 2.7, 2.8, 2.9, 2.95, 1e4])
    assert axis.bottom is not None and axis.top is not None and 1.9 < axis.bottom < 2.0 and 2.95 < axis.top < 3.1
    assert notes == ("1 point lies above the chart, up to 1e+04. A double click shows all.",)
    assert limited("val_loss", [2.0, 2.1, 2.2, 2.3, 2.9]) == (Axis("val_loss"), ())
