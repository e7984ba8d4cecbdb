"""What an export holds: the card by the hub's conventions, other forms, selectors from elsewhere; and the upload."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, constants

from selector.errors import CheckpointError, SettingsError
from selector.lever_plus import read_selector
from selector.model import PointerSelector
from sweep.errors import RunError
from sweep.evaluation.records import read_evaluation
from sweep.results.card import Card, CardOptions
from sweep.results.card_text import card_text
from sweep.results.export import Exported, ExportOptions, Format, export, export_given
from sweep.runs.paths import RunPaths
from sweep.runs.record import read_record
from sweep.trials.given import read_whole
from sweep.trials.stored import stored_epochs
from tests.hub import card_problems, hub_at_home
from tests.selector.test_lever_plus import Theirs, assert_same, saved
from tests.sweep.commands import Command

SAID = CardOptions("mit", "Qwen/Qwen2.5-VL-3B-Instruct", ["owner/ok-vqa"])
HOSTILE = "a|b\n# <script>x</script> [y](http://z) `c` **d** ![e](f) @g \x1b[31m\u202e: - &amp;"


@pytest.fixture(scope="module")
def exported(finished: RunPaths, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    out = tmp_path_factory.mktemp("exported") / "best"
    return export(finished, "best", out, options=ExportOptions(card=SAID))


@pytest.fixture(scope="module")
def by_number(finished: RunPaths, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A trial that was asked itself, under the seed of the sweep."""
    row = next(one for one in read_evaluation(finished.evaluation("declared").file).rows if one.kind == "trial")
    return export(finished, str(row.trial), tmp_path_factory.mktemp("exported") / "asked")


def text_of(one: Exported) -> str:
    return (one.folder / "README.md").read_text()


def test_the_card_passes_the_hubs_rules_and_its_own_class(exported: Exported, by_number: Exported) -> None:
    for one in (exported, by_number):
        card = ModelCard.load(one.folder / "README.md")
        assert card_problems(str(card)) == []
        assert card.data.library_name == "demonstration-selector" and "few-shot" in card.data.tags
    data = ModelCard.load(exported.folder / "README.md").data
    assert (data.license, data.base_model, data.datasets) == ("mit", "Qwen/Qwen2.5-VL-3B-Instruct", ["owner/ok-vqa"])
    data = ModelCard.load(by_number.folder / "README.md").data
    assert (data.license, data.base_model, data.datasets) == ("unknown", None, None), "nothing is made up"
    assert "the card names no licence and base model and data set: --license" in by_number.sentence


def test_results_are_those_of_the_evaluation(finished: RunPaths, by_number: Exported) -> None:
    table = read_evaluation(finished.evaluation("declared").file)
    row = next(one for one in table.rows if one.trial == by_number.trial and one.kind == "trial")
    results = ModelCard.load(by_number.folder / "README.md").data.eval_results
    estimates = [*row.shots, row.mean]
    assert [one.metric_value for one in results] == [one.value for one in estimates if one is not None]
    assert results[0].metric_args == {"low": row.shots[0].low, "high": row.shots[0].high, "questions": 40}
    assert results[0].dataset_split == "test" and results[0].dataset_args["fingerprint"]
    assert read_evaluation(finished.evaluation("declared").file).model_dump(mode="json") == json.loads(
        (by_number.folder / "evaluation.json").read_text()
    )
    cells = [line.split(" | ") for line in text_of(by_number).splitlines() if line.startswith("| ")]
    first = {line[0].removeprefix("| "): line for line in cells}
    assert {"no demonstrations", "random", "similarity", "rce_only"} <= first.keys()
    ours = first[f"**this selector** ({row.name})"]
    assert ours[1] == f"{100 * row.shots[0].value:.1f} [{100 * row.shots[0].low:.1f}, {100 * row.shots[0].high:.1f}]"


def test_a_finalists_seed_has_its_own_numbers_and_the_interval_of_its_settings(exported: Exported) -> None:
    text = text_of(exported)
    assert "**this selector** (trial" in text and "is the mean over all fresh seeds" in text
    results = ModelCard.load(exported.folder / "README.md").data.eval_results
    assert len(results) == 4 and all("seed" in one.metric_args and "low" not in one.metric_args for one in results)


def test_the_card_says_what_people_ask(exported: Exported) -> None:
    text = text_of(exported)
    for wanted in ("## Use", "## Results", "## Training", "## Limits", "## Cite", "demonstration-selector", "Verdict"):
        assert wanted in text
    assert exported.manifest["sha256"] in text and exported.manifest["data_fingerprint"] in text
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) == 5
    space: dict[str, object] = {}
    exec(compile(code.replace('"best"', repr(str(exported.folder))), "README.md", "exec"), space)
    assert isinstance(space["picks"], torch.Tensor) and space["picks"].shape == (8, 3)


def test_hostile_names_are_text(finished: RunPaths, exported: Exported) -> None:
    table, record = read_evaluation(finished.evaluation("declared").file), read_record(finished)
    assert table.source is not None
    table = table.replace(source=table.source.replace(model=HOSTILE))
    record = record.replace(data=Path("/x") / HOSTILE.replace("/", ""), space={"name": HOSTILE, "vlm": HOSTILE})
    manifest = {
        **exported.manifest,
        "run": HOSTILE,
        "chosen": HOSTILE,
        "verdict": HOSTILE,
        "versions": {HOSTILE: HOSTILE},
    }
    config = PointerSelector.from_pretrained(exported.folder).config
    plain_card = card_text(Card(config, exported.manifest, table, read_record(finished)), SAID, [], "best")
    text = card_text(Card(config, manifest, table, record), CardOptions(HOSTILE, None, [HOSTILE]), [], HOSTILE)
    card = ModelCard(text)
    assert card.data.license == HOSTILE and card.data.datasets == [HOSTILE], "quoted, and the same when it is read"
    body = card.text
    assert not re.search(r"(?<!\\)(<|\]\()", body) and "http://" not in body and "\x1b" not in body
    assert not re.search(r"[\u202e\u2028]", body)
    headings = [line for line in body.splitlines() if line.startswith("#")]
    assert len(headings) == len([line for line in ModelCard(plain_card).text.splitlines() if line.startswith("#")])
    widths = [len(re.split(r"(?<!\\)\|", line)) for line in body.splitlines() if line.startswith("|")]
    assert sorted(set(widths)) == [4, 8], "no cell more"


def test_other_epochs_by_their_number(finished: RunPaths, tmp_path: Path) -> None:
    steps = {}
    for folder in stored_epochs(finished.trials_folder):
        steps.setdefault(int(folder.parent.parent.name), []).append(int(folder.name[5:]))
    number, stored = next((one, found) for one, found in steps.items() if len(found) == 2)
    for step in stored:
        one = export(finished, str(number), tmp_path / str(step), step)
        assert one.manifest["step"] == step
    with pytest.raises(
        RunError, match=f"epoch 99 of trial {number} is not stored; stored are {stored[0]}, {stored[1]}"
    ):
        export(finished, str(number), tmp_path / "none", 99)


def test_a_form_that_cannot_carry_it_is_refused_and_nothing_is_left(finished: RunPaths, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="1 attention head and its files no place"):
        export(finished, "best", tmp_path / "out", options=ExportOptions([Format.LEVER_PLUS]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("gate", [False, True], ids=["static", "gate"])
def test_their_file_in_every_form(tmp_path: Path, gate: bool, command: Command) -> None:
    torch.manual_seed(2)
    theirs = Theirs(10, 12, 1, gate)
    file, out = saved(theirs, tmp_path, "state"), tmp_path / "out"
    code, _, error = command("export", "--trial", str(file), "--heads", "1", "--out", str(out))
    assert code == 2 and "does not hold what --temperature, --dropout say" in error and not out.exists()
    line = ["--heads", "1", "--temperature", "0.1", "--dropout", "0.5", "--out", str(out)]
    forms = ["torch-export", "lever-plus", "lever-plus-v2"] if gate else ["lever-plus"]
    code, output, _ = command("export", "--trial", str(file), *line, *(f"--format={one}" for one in forms))
    assert code == 0 and "the selector of grpo_epoch2.pt" in output
    ours = PointerSelector.from_pretrained(out)
    assert ours.config.dropout == 0.5
    assert_same(theirs, ours, 10)
    for name in ("selector.pt", "selector.ckpt") if gate else ("selector.pt",):
        assert_same(theirs, read_selector(out / name, heads=1, temperature=0.1, dropout=0.5), 10)
    if gate:
        run = torch.export.load(out / "selector.pt2").module()
        query, cand = torch.randn(7, 10), torch.randn(7, 30, 10)
        assert torch.equal(run(query, cand, torch.ones(7, 30, dtype=torch.bool)), ours.select(query, cand, 4))
    assert card_problems((out / "README.md").read_text()) == []
    again = export_given(read_whole(out, None, None, None), tmp_path / "again")
    assert again.manifest["sha256"] == json.loads((out / "manifest.json").read_text())["sha256"]


def test_what_is_named_and_is_no_selector(tmp_path: Path, command: Command) -> None:
    (tmp_path / "a.bin").write_bytes(b"x")
    for name, message in (("a.bin", "neither a folder with"), ("no/such", "does not exist"), ("empty", "config.json")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        code, _, error = command("export", "--trial", str(tmp_path / name), "--out", str(tmp_path / "out"))
        assert code == 2 and message in error and error.count("\n") == 1


def test_pushed_as_it_is_and_taken_from_there(
    finished: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    runs = str(finished.root.local().parent)
    line = ["export", "mine", "--runs", runs, "--license", "mit", "--json", "--push", "me/best", "--out"]
    with hub_at_home(monkeypatch, str(tmp_path / "cache")) as hub:
        code, output, _ = command(*line, str(tmp_path / "out"))
        assert code == 0 and json.loads(output)["pushed"].startswith(f"{hub.url}/me/best/commit/")
        files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        assert hub.repos["me/best"] == files and "README.md" in files and "evaluation.json" in files
        found, ours = PointerSelector.from_pretrained("me/best"), PointerSelector.from_pretrained(tmp_path / "out")
        assert all(torch.equal(value, ours.state_dict()[name]) for name, value in found.state_dict().items())
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        code, _, error = command(*line, str(tmp_path / "offline"))
        assert code == 2 and "HF_HUB_OFFLINE is set" in error and error.count("\n") == 1
        assert (tmp_path / "offline" / "README.md").exists(), "the export stays"


def test_a_damaged_folder_is_no_selector(exported: Exported, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for file in exported.folder.iterdir():
        (tmp_path / "x" / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "x" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match="its SHA-256 is not the one"):
        read_whole(tmp_path / "x", None, None, None)
