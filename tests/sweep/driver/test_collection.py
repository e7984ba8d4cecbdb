"""Collecting in rounds and extending data, with a rule in the model's place and the real store of answers. No Ray."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from selector.data import DataSettings, Split, load
from selector.data.description import describe_data
from selector.data.native import MANIFEST, Note, read_manifest, read_note, write_native
from selector.errors import DataError
from sweep.collect.extend import Additions, in_proportion, rounds_of_extension
from sweep.collect.store import CARD
from sweep.driver import collection
from sweep.driver.collection import measure
from sweep.plan.collection import plan_collection
from sweep.plan.cost.work import Works
from sweep.plan.plan import CollectionPlan
from sweep.plan.requests import request_of_space
from sweep.report.data import data_document, render_data
from sweep.report.plan import plan_table
from sweep.results.verify_data import lineage_faults
from sweep.runs.paths import SharedPaths
from sweep.settings.proposers import BeamCounts
from sweep.settings.rounds import RoundsSettings, Until
from sweep.storage.hashes import canonical_hash
from sweep.storage.local import stored_at
from sweep.terminal.console import Screen
from sweep.vlm.answers.cached import answer_all
from sweep.vlm.answers.parquet import Wanted
from sweep.vlm.answers.store import AnswerStore
from sweep.vlm.work import WorkItem
from tests.sweep.commands import Command
from tests.sweep.finished import rule

SPACE = """
name: rounds
items:
  demo: {demonstrations: 200, train: 40, val: 16, test: 40, concepts: 16, smallest_pool: 16, largest_pool: 16}
vlm: {model: {path: demo}, images: {min_pixels: 784, max_pixels: 12544}, decoding: {max_new_tokens: 8}}
collect:
  build: {count: 40, pool: {size: 12}, split: {val: 0.25, test: 0.25}}
  beams: {similarity: 1, similarity_sampled: 2, random: 1}
  held_out_beams: {similarity: 1, similarity_sampled: 3, random: 2}
"""
ROUNDS = "  rounds: {most: 2, beams: {combined: 2, random: 1}, give_up: 4}\n"


class Rule:
    """As `AnswerService`, with a rule in the model's place. It asks what the store lacks."""

    asked: list[WorkItem] = []
    stop: int | None = None
    identity = "sha256:" + "0" * 64

    def __init__(self, settings, table, answers, *others) -> None:
        self._table, self._store = table, AnswerStore(answers)

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        pass

    def start_ahead(self, items, *, score) -> None:
        pass

    def _run(self, items, score) -> Iterator:
        for item in items:
            if len(Rule.asked) == Rule.stop:
                raise KeyboardInterrupt
            Rule.asked.append(item)
            yield item, rule(self._table, item)

    def answer_all(self, items, what, *, score, failure_limit, observer, all_may_fail):
        return answer_all(
            items,
            wants=lambda item: Wanted(canonical_hash([item.query, item.demonstrations]), "t"),
            store=self._store,
            run=self._run,
            score=score,
            model="rule",
            failure_limit=failure_limit,
            observer=observer,
            all_may_fail=all_may_fail,
        )


@pytest.fixture(autouse=True)
def _rule(monkeypatch):
    monkeypatch.setattr(collection, "AnswerService", Rule)
    Rule.asked, Rule.stop = [], None


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("collect")


def plan_of(root: Path, text: str = SPACE, add: Additions | None = None) -> CollectionPlan:
    file = root / "space.yaml"
    file.write_text(text)
    plan = plan_collection(request_of_space(str(file), SharedPaths.beside(stored_at(root / "runs"))), add)
    assert isinstance(plan, CollectionPlan)
    return plan


def measured(root: Path, name: str, **values) -> tuple[Path, str]:
    """A folder of data, and what was said. `values` are those of `plan_of`."""
    file = io.StringIO()
    measure(plan_of(root, **values), stored_at(root / name), name, Screen(file=file, width=80))
    return root / name, file.getvalue()


@pytest.fixture(scope="module")
def parent(root: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collection, "AnswerService", Rule)
        return measured(root, "parent", text=SPACE + ROUNDS)[0]


def forget_answers(root: Path) -> None:
    shutil.rmtree(root / "runs" / "_shared" / "answers")
    Rule.asked.clear()


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def shown(folder: Path) -> set[tuple[int, ...]]:
    """All beams as (query, demonstrations)."""
    data = load(DataSettings(path=folder))
    owner = np.repeat(np.arange(data.queries), np.diff(data.beam_starts))
    pools = data.pool_items[data.pool_starts[owner][:, None] + data.beam_picks]
    return {(int(data.query_items[query]), *row) for query, row in zip(owner, pools.tolist(), strict=True)}


def test_a_collection_that_is_killed_in_a_later_round_goes_on(root: Path, parent: Path) -> None:
    record = read_manifest(parent).collection
    assert record is not None and [one.number for one in record.rounds] == [1, 2, 3] and record.cut_by is None
    prompts = [one.prompts for one in record.rounds]
    text = SPACE + ROUNDS
    forget_answers(root)
    Rule.stop = prompts[0] + prompts[1] // 2
    with pytest.raises(KeyboardInterrupt):
        measured(root, "again", text=text)
    assert not (root / "again").exists()
    Rule.stop = None
    folder, said = measured(root, "again", text=text)
    assert contents(folder) == contents(parent)
    assert f"round 3: {prompts[2]} more beams for" in said and f"collected {sum(prompts)} beams" in said
    card = (folder / CARD).read_text()
    assert "measured unevenly" in card and "beams of round 3" in card
    Rule.asked.clear()
    assert measured(root, "known", text=text)[1].count(" 0 answered now") == 1
    assert Rule.asked == []


def test_an_extension_asks_nothing_twice_and_names_its_parents(root: Path, parent: Path) -> None:
    Rule.asked.clear()
    before = load(DataSettings(path=parent))
    child, _ = measured(root, "child", add=Additions(data=parent, queries=10, beams=5))
    after = load(DataSettings(path=child))
    rounds = np.array(read_note(child, Note.ROUND))
    assert after.queries == before.queries + 10 and shown(parent) < shown(child)
    asked = {(item.query, *item.demonstrations) for item in Rule.asked}
    assert len(asked) == len(Rule.asked) and not asked & shown(parent) and shown(child) - shown(parent) <= asked
    record, first = read_manifest(child).collection, read_manifest(parent)
    assert record is not None and first.collection is not None
    assert [one.number for one in record.rounds] == [1, 2, 3, 4, 5] and set(rounds) == {1, 2, 3, 4, 5}
    assert record.rounds[3].prompts == 40 and sum(one.prompts for one in record.rounds[3:]) == len(Rule.asked)
    assert [one.fingerprint for one in record.parents] == [first.fingerprint]
    for split in (Split.VAL, Split.TEST):
        items = after.query_items[after.indices(split)]
        assert items.tolist() == before.query_items[before.indices(split)].tolist()
    held_out = np.repeat(after.split != Split.TRAIN, np.diff(after.beam_starts))
    assert set(rounds[held_out]) == {1}

    Rule.asked.clear()
    grandchild, _ = measured(root, "grandchild", add=Additions(data=child, queries=4, beams=3))
    assert Rule.asked and shown(grandchild) > shown(child)
    found = describe_data(load(DataSettings(path=grandchild)), grandchild)
    file = io.StringIO()
    Screen(file=file, width=80).print(render_data(found))
    assert max(map(len, file.getvalue().splitlines())) <= 80
    fingerprints = [read_manifest(folder).fingerprint for folder in (parent, child)]
    for fingerprint in fingerprints:
        assert fingerprint[:16] in file.getvalue()
    document = json.loads(json.dumps(data_document(found)))
    assert [one["fingerprint"] for one in document["collection"]["parents"]] == fingerprints

    dataset = load(DataSettings(path=grandchild))
    assert list(lineage_faults(grandchild, dataset)) == list(lineage_faults(None, dataset)) == []
    manifest = json.loads((grandchild / MANIFEST).read_text())
    manifest["collection"]["parents"][1]["beams"] += 1
    manifest["collection"]["parents"][0]["fingerprint"] = "f" * 64
    (grandchild / MANIFEST).write_text(json.dumps(manifest))
    wrong = [fault.where for fault in lineage_faults(grandchild, dataset)]
    assert wrong == ["collection.parents.0.fingerprint", "collection.parents.1.beams"]


def test_an_extension_that_is_killed_goes_on(root: Path, parent: Path) -> None:
    add = Additions(data=parent, queries=8, beams=4)
    forget_answers(root)
    whole = contents(measured(root, "one", add=add)[0])
    total = len(Rule.asked)
    for number, stop in enumerate((7, 32, total - 1)):
        forget_answers(root)
        Rule.stop = stop
        with pytest.raises(KeyboardInterrupt):
            measured(root, f"part {number}", add=add)
        Rule.stop = None
        assert contents(measured(root, f"part {number}", add=add)[0]) == whole


def test_only_data_of_the_same_settings_is_extended(root: Path, parent: Path, tmp_path: Path) -> None:
    other = yaml.safe_load(SPACE)
    other["collect"]["metric"] = "always"
    with pytest.raises(DataError, match="measured with other items, embeddings, another model or prompt"):
        plan_of(root, yaml.safe_dump(other), add=Additions(data=parent, beams=2))
    write_native(load(DataSettings(path=parent)), tmp_path / "imported", "elsewhere")
    with pytest.raises(DataError, match=r"manifest.json does not say how the data was measured"):
        plan_of(root, add=Additions(data=tmp_path / "imported", beams=2))
    with pytest.raises(DataError, match="holds no data in native form"):
        plan_of(root, add=Additions(data=tmp_path / "none", beams=2))
    with pytest.raises(DataError, match="9999 queries, but only"):
        plan_of(root, add=Additions(data=parent, queries=9999))
    child, _ = measured(root, "all with contrast", add=Additions(data=parent, beams=20))
    with pytest.raises(DataError, match="every training group has contrast"):
        plan_of(root, add=Additions(data=child, beams=3))


def test_the_plan_says_what_will_be_asked_and_stays_within_80_columns(root: Path, parent: Path) -> None:
    texts = []
    for values in (
        {"text": SPACE + ROUNDS + "  budget: {prompts: 300}\n"},
        {"add": Additions(data=parent, beams=2)},
        {"add": Additions(data=parent, queries=3)},
    ):
        file = io.StringIO()
        Screen(file=file, width=80).print(plan_table(plan_of(root, **values)))
        texts.append(file.getvalue())
        assert max(map(len, texts[-1].splitlines())) <= 80
    assert "further rounds" in texts[0] and "300 prompts" in texts[0] and "extends" not in texts[0]
    assert (
        "beams to measure  0 of 2 picks" in " ".join(texts[1].split(" ")).replace("   ", "  ") or "0 of 2" in texts[1]
    )
    assert read_manifest(parent).fingerprint[:16] in texts[1] and "12 of 2 picks" in texts[2]


def test_the_cost_counts_all_rounds(root: Path) -> None:
    plan = plan_of(root, SPACE + ROUNDS)
    for text, expected in ((SPACE, plan.prompts[:1]), (SPACE + ROUNDS, plan.prompts)):
        work = Works.of(plan_of(root, text)).answers[0]
        assert (work.prompts, work.at_most) == (sum(expected), len(expected) > 1)
        assert work.stored_share == pytest.approx(expected[0] / sum(expected))


def test_hours_are_recorded_as_prompts(root: Path) -> None:
    text = SPACE + ROUNDS + "  budget: {hours: 1e-9}\n"
    folder, said = measured(root, "hours", text=text)
    record = read_manifest(folder).collection
    assert record is not None and record.cut_by == "hours" and "the budget of hours ended it" in said
    assert not list((root / "runs" / "_shared" / "data").glob("*.hours.json"))
    prompts = sum(one.prompts for one in record.rounds)
    again, _ = measured(root, "prompts", text=SPACE + ROUNDS + f"  budget: {{prompts: {prompts}}}\n")
    assert read_manifest(again).fingerprint == read_manifest(folder).fingerprint


def test_an_extension_has_the_mix_of_its_space() -> None:
    assert in_proportion({"random": 10, "similarity_sampled": 9}, 4) == {"random": 2, "similarity_sampled": 2}
    assert in_proportion({"random": 0, "combined": 0}, 3) == {"random": 3, "combined": 0}
    assert rounds_of_extension(BeamCounts(), None, 0) is None
    plain = rounds_of_extension(BeamCounts(), None, 19)
    assert plain is not None and plain.give_up is None and plain.until is Until.CONTRAST
    assert (plain.beams.similarity_sampled, plain.beams.random, plain.beams.combined) == (9, 10, 0)
    own = rounds_of_extension(BeamCounts(), RoundsSettings(give_up=12), 5)
    assert own is not None and (own.beams.combined, own.beams.random, own.give_up, own.most) == (4, 1, 12, 1)


@pytest.mark.parametrize("options", [("--queries", "3"), ("--beams", "2"), ("--add", "data")])
def test_what_is_added_to_what_is_said_together(command: Command, tmp_path: Path, options: tuple[str, ...]) -> None:
    code, _, said = command("collect", "spaces/grpo.yaml", "--out", str(tmp_path / "new"), *options)
    assert code == 2 and "an extension needs --add DATA, and --queries N or --beams N" in said
