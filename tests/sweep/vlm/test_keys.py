"""Every input of an answer changes its key, and nothing else does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.items.errors import ImageError
from sweep.settings.vlm import DecodingSettings, ImageSettings, ModelSettings, PromptSettings, VlmSettings
from sweep.vlm import keys
from sweep.vlm.keys import answer_key, model_identity, score_key
from sweep.vlm.work import WorkItem
from tests.sweep.vlm.models import MemoryTable

SETTINGS = VlmSettings(model=ModelSettings(path="somewhere"))


def build_table(count: int = 9) -> MemoryTable:
    return MemoryTable(
        questions=[f"question {item}" for item in range(count)],
        all_answers=[(f"answer {item}", "other") for item in range(count)],
        images=[bytes([item]) for item in range(count)],
    )


ITEM = WorkItem(0, (1, 2))


def key(settings: VlmSettings = SETTINGS, table: MemoryTable | None = None, item: WorkItem = ITEM, **other: Any) -> str:
    return answer_key(other.get("identity", "m@1"), settings, table or build_table(), item, other.get("device", "cpu"))


def changed(path: str, value: object) -> VlmSettings:
    section, _, name = path.partition(".")
    content = SETTINGS.model_dump()
    content[section] |= {name: value}
    return VlmSettings.model_validate(content)


CHANGES: dict[str, Callable[[], str]] = {
    "identity": lambda: key(identity="m@2"),
    "device": lambda: key(device="cuda"),
    "precision": lambda: key(changed("model.precision", "bfloat16")),
    "layout": lambda: key(changed("prompt.layout", "one_turn")),
    "system": lambda: key(changed("prompt.system", "Be brief.")),
    "count": lambda: key(changed("prompt.count", "first")),
    "count_text": lambda: key(changed("prompt.count_text", "{count} shown.")),
    "query": lambda: key(changed("prompt.query", "Q: {question}")),
    "demonstration": lambda: key(
        VlmSettings.model_validate(
            SETTINGS.model_dump() | {"prompt": {"layout": "one_turn", "demonstration": "{answer}!"}}
        )
    ),
    "template": lambda: key(
        VlmSettings.model_validate(
            SETTINGS.model_dump() | {"prompt": {"layout": "free", "template": "{{ query.image }}?"}}
        )
    ),
    "min_pixels": lambda: key(changed("images.min_pixels", 1000)),
    "max_pixels": lambda: key(changed("images.max_pixels", 100_000)),
    "max_side": lambda: key(changed("images.max_side", 5000)),
    "max_new_tokens": lambda: key(changed("decoding.max_new_tokens", 11)),
    "num_beams": lambda: key(changed("decoding.num_beams", 3)),
    "length_penalty": lambda: key(changed("decoding.length_penalty", 0.5)),
    "stop": lambda: key(changed("decoding.stop", ("\n",))),
    "order of demonstrations": lambda: key(item=WorkItem(0, (2, 1))),
    "fewer demonstrations": lambda: key(item=WorkItem(0, (1,))),
    "another query": lambda: key(item=WorkItem(3, (1, 2))),
}


def edited(change: Callable[[MemoryTable], object]) -> str:
    table = build_table()
    change(table)
    return key(table=table)


def setting(column: str, item: int, value: object) -> Callable[[], str]:
    return lambda: edited(lambda table: getattr(table, column).__setitem__(item, value))


CHANGES |= {
    "query's question": setting("questions", 0, "else?"),
    "demonstration's question": setting("questions", 2, "else?"),
    "shown answer": setting("all_answers", 1, ("else",)),
    "query's image": setting("images", 0, b"else"),
    "demonstration's image": setting("images", 2, b"else"),
}
SAME: dict[str, Callable[[], str]] = {
    "batching": lambda: key(changed("batching.decode_rows", 3)),
    "workers": lambda: key(changed("workers.count", 3)),
    "where the model lies": lambda: key(changed("model.path", "elsewhere")),
    "the precision that auto means": lambda: key(changed("model.precision", "float32")),
    "a default that is named": lambda: key(changed("prompt.query", "{question}")),
    "which of several GPUs": lambda: key(),
    "the query's answers": setting("all_answers", 0, ("else",)),
    "answers that are not shown": lambda: edited(
        lambda table: table.all_answers.__setitem__(1, (table.all_answers[1][0], "else"))
    ),
    "items that are not asked": setting("images", 7, b"else"),
}


# Computed once and never again: another value would have every stored answer asked again.
GOLDENS: dict[str, tuple[Callable[[], str], str]] = {
    "cpu": (key, "5cfe5d5ad53806b90e9e2c96546e83086861789ef2d67be130669d2872593ad4"),
    "cuda": (lambda: key(device="cuda"), "2bc08c4ce0cc100ac88969799e69181d2487f2b21d1d434378050459623872bf"),
    "one_turn": (CHANGES["demonstration"], "f6c95bd51bc604490e52ad48a968bf751cee955e5675f3e49af668aa99361fb2"),
    "free": (CHANGES["template"], "bd4faf2809df6c07c82eeb38981cdb4e92de8f2aaf02b606a34f2da97cebb46a"),
    "score": (
        lambda: score_key(build_table(), ITEM),
        "46aa441c3f54c7c693186aa344fc1ecf0c466b4cea193219410a6db93dceabd4",
    ),
}


@pytest.mark.parametrize(("compute", "expected"), GOLDENS.values(), ids=GOLDENS)
def test_keys_are_those_of_answers_that_are_stored(compute: Callable[[], str], expected: str) -> None:
    assert compute() == expected


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_changes_the_answer_changes_the_key(change: Callable[[], str]) -> None:
    assert change() != key()


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_what_changes_nothing_keeps_the_key(change: Callable[[], str]) -> None:
    assert change() == key()


def test_no_two_changes_share_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [change() for change in CHANGES.values()]
    monkeypatch.setattr(keys, "ANSWER_VERSION", keys.ANSWER_VERSION + 1)
    found.append(key())
    assert len(set(found)) == len(found)
    assert all(len(one) == 64 and int(one, 16) >= 0 for one in found)


def test_every_setting_is_accounted_for() -> None:
    """A new field must be entered above, on one of the two sides."""
    sections = {"model": ModelSettings, "prompt": PromptSettings, "images": ImageSettings, "decoding": DecodingSettings}
    named = set(CHANGES) | {"path", "revision"}  # which are in the identity
    assert {field for section in sections.values() for field in section.model_fields} <= named
    assert set(VlmSettings.model_fields) == {*sections, "batching", "workers"}


def test_gpus_share_keys() -> None:
    assert key(device="cuda:1") == key(device="cuda")
    assert key(device="cuda") == key(changed("model.precision", "bfloat16"), device="cuda")


@given(st.permutations(range(6)))
def test_item_ids_have_no_say(order: list[int]) -> None:
    table = build_table(6)
    moved = MemoryTable(
        questions=[table.questions[item] for item in order],
        all_answers=[table.all_answers[item] for item in order],
        images=[table.images[item] for item in order],
    )
    place = {item: at for at, item in enumerate(order)}
    item = WorkItem(place[3], (place[1], place[4]))
    assert key(table=moved, item=item) == key(table=table, item=WorkItem(3, (1, 4)))


@given(st.lists(st.text(max_size=3), max_size=4), st.lists(st.text(max_size=3), max_size=4))
def test_texts_do_not_run_into_each_other(left: list[str], right: list[str]) -> None:
    one, other = build_table(), build_table()
    one.questions[:3], other.questions[:3] = [*left, "", "", ""][:3], [*right, "", "", ""][:3]
    assert (key(table=one) == key(table=other)) == (one.questions == other.questions)


def test_a_missing_image_has_no_key() -> None:
    table = build_table()
    table.images[1] = "no such file"
    with pytest.raises(ImageError):
        key(table=table)


@given(st.lists(st.text(max_size=3), max_size=5))
def test_score_key_is_of_the_different_answers(answers: list[str]) -> None:
    table = build_table(2)
    table.all_answers[0] = tuple(answers)
    table.all_answers[1] = (*reversed(answers), *answers)
    assert score_key(table, WorkItem(0)) == score_key(table, WorkItem(1, (0,)))
    table.all_answers[1] = (*answers, "four")
    assert score_key(table, WorkItem(0)) != score_key(table, WorkItem(1))


def test_identity_is_of_the_content(checkpoint: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    expected = model_identity(ModelSettings(path=str(checkpoint)))
    assert expected.startswith("sha256:") and len(expected) == 71
    assert model_identity(ModelSettings(path=str(copy))) == expected
    (copy / "README.md").write_text("notes")
    assert model_identity(ModelSettings(path=str(copy))) == expected
    found = {expected}
    names = ("config", "generation_config", "preprocessor_config", "tokenizer")
    for name in (*(f"{name}.json" for name in names), "model.safetensors"):
        content = bytearray((copy / name).read_bytes())
        content[-2] ^= 1
        (copy / name).write_bytes(content)
        os.utime(copy / name, ns=(1, 1))
        found.add(model_identity(ModelSettings(path=str(copy))))
    (copy / "model.safetensors").rename(copy / "model-00001-of-00001.safetensors")
    found.add(model_identity(ModelSettings(path=str(copy))))
    assert len(found) == 7


def test_identity_reads_unchanged_files_once(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = model_identity(ModelSettings(path=str(checkpoint)))

    def unreadable(self: Path, *_: object) -> None:
        raise AssertionError(self)

    monkeypatch.setattr(Path, "open", unreadable)
    assert model_identity(ModelSettings(path=str(checkpoint))) == first


def test_identity_of_a_hub_name_is_its_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "models--owner--name" / "snapshots" / ("d" * 40)
    folder.mkdir(parents=True)
    (folder.parent.parent / "refs").mkdir()
    (folder.parent.parent / "refs" / "main").write_text("d" * 40)
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert model_identity(ModelSettings(path="owner/name")) == "owner/name@" + "d" * 40
