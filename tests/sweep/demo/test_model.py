from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from selector.threads import intra_op_threads
from sweep.demo.concepts import QUESTIONS, Kind, held_out
from sweep.demo.drawing import draw
from sweep.demo.features import item_features
from sweep.demo.model import DEMO_MODEL_FOLDER, build_model, demo_model_config, image_tokens, patches, write_model
from sweep.demo.tokenizer import build_tokenizer
from sweep.demo.training.episodes import Episodes, Turn, Words
from sweep.demo.training.measure import WorldAnswerer, right_picks
from sweep.demo.training.train_text import BATCH, CURRICULUM, TextTrainer, collate
from sweep.demo.training.train_vision import train_vision
from sweep.demo.world import World
from sweep.settings.vlm import CountPlace, Layout, PromptSettings
from sweep.vlm.prompts import conversation

LAYOUTS = [
    (PromptSettings(), 0),
    (PromptSettings(layout=Layout.ONE_TURN), 1),
    (PromptSettings(count=CountPlace.FIRST), 2),
    (PromptSettings(layout=Layout.ONE_TURN, count=CountPlace.FIRST), 3),
]


@pytest.fixture(scope="module")
def answerer(world: World) -> WorldAnswerer:
    torch.set_num_threads(1)
    return WorldAnswerer(DEMO_MODEL_FOLDER, world)


@pytest.fixture(scope="module")
def tokenizer() -> Qwen2Tokenizer:
    return build_tokenizer()


# --- The shipped checkpoint ------------------------------------------------------------------------------------------


def test_shipped_folder_is_small_and_complete() -> None:
    sizes = {path.name: path.stat().st_size for path in DEMO_MODEL_FOLDER.iterdir()}
    assert set(sizes) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sum(sizes.values()) < 3e6
    with safe_open(DEMO_MODEL_FOLDER / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_shipped_configuration_is_the_one_of_the_script() -> None:
    shipped = Qwen2_5_VLForConditionalGeneration.config_class.from_pretrained(DEMO_MODEL_FOLDER, local_files_only=True)
    made = demo_model_config()
    for part in ("text_config", "vision_config"):
        ours, theirs = getattr(made, part).to_dict(), getattr(shipped, part).to_dict()
        assert {k: v for k, v in ours.items() if k != "dtype"} == {k: v for k, v in theirs.items() if k != "dtype"}
    assert made.image_token_id == shipped.image_token_id


def test_features_are_equal_whatever_the_number_of_threads(answerer: WorldAnswerer, world: World) -> None:
    images, questions, found = world.images[world.image[:40]], world.questions[:40], []
    for threads in (1, 2, 3):
        with intra_op_threads(threads):
            found.append(item_features(answerer.model, images, questions))
            assert torch.get_num_threads() == threads, "it is as it was"
    assert found[0].shape == (40, 128 + 32) and (found[0] == found[1]).all() and (found[0] == found[2]).all()


def test_image_processor_cuts_the_patches_of_training() -> None:
    processor = Qwen2VLImageProcessorPil.from_pretrained(DEMO_MODEL_FOLDER, local_files_only=True)
    images = draw(np.arange(5), np.random.default_rng(0))
    out = processor([Image.fromarray(image) for image in images], return_tensors="pt")
    assert out.image_grid_thw.tolist() == [[1, 2, 2]] * 5
    torch.testing.assert_close(out.pixel_values, patches(images))


def _share(answerer: WorldAnswerer, world: World, kinds: tuple[Kind, ...], shown: str, count: int) -> float:
    """Exact answers among the first queries of some kinds, with right or with no demonstrations."""
    wanted = [
        (query, picks if shown == "right" else picks[:0])
        for query, picks in zip(world.query_items.tolist(), right_picks(world), strict=True)
        if world.kind[query] in kinds and (len(picks) or kinds[0] >= Kind.COLOUR)
    ][:count]
    assert len(wanted) == count
    return float(np.mean(answerer.exact(*zip(*wanted, strict=True))))


def test_right_demonstrations_tell_names_and_makers(answerer: WorldAnswerer, world: World) -> None:
    assert _share(answerer, world, (Kind.NAME, Kind.MAKER), "right", 48) > 0.9
    assert _share(answerer, world, (Kind.NAME, Kind.MAKER), "none", 48) < 0.1


def test_complementary_demonstrations_tell_codes(answerer: WorldAnswerer, world: World) -> None:
    assert _share(answerer, world, (Kind.CODE,), "right", 32) > 0.85
    assert _share(answerer, world, (Kind.CODE,), "none", 32) < 0.1


def test_colours_and_shapes_need_no_demonstration(answerer: WorldAnswerer, world: World) -> None:
    assert _share(answerer, world, (Kind.COLOUR, Kind.SHAPE), "none", 32) > 0.85


def test_images_of_demonstrations_are_looked_at(answerer: WorldAnswerer, world: World) -> None:
    """Two demonstrations of one kind: the answer follows the one whose image shows the query's concept."""
    pairs = []
    for query, pool in zip(world.query_items.tolist(), world.pools, strict=True):
        if world.kind[query] not in (Kind.NAME, Kind.MAKER):
            continue
        same = pool[world.kind[pool] == world.kind[query]]
        shown = world.concept[same] == world.concept[query]
        right, wrong = same[shown], same[~shown]
        if len(right) and len(wrong):
            pairs += [(query, (wrong[0], right[0])), (query, (right[0], wrong[0]))]
    queries, demonstrations = zip(*pairs[:48], strict=True)
    assert np.mean(answerer.exact(queries, demonstrations)) > 0.8


# --- Training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "variant"), LAYOUTS)
@pytest.mark.parametrize("shots", [0, 1, 4])
def test_training_prompts_are_the_prompts_of_evaluation(
    settings: PromptSettings, variant: int, shots: int, tokenizer: Qwen2Tokenizer
) -> None:
    words = Words(np.random.default_rng(3))
    turns = [Turn(concept, Kind(place % 5), 0) for place, concept in enumerate(range(10, 10 + shots + 1))]
    episode = Episodes(tokenizer, np.random.default_rng(0)).episode(turns, words, variant)
    said = ["".join(words.answer(turn)) for turn in turns]
    questions = [QUESTIONS[turn.kind][0] for turn in turns]
    messages = conversation(settings, list(zip(questions, said, strict=True))[:-1], questions[-1])
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode(episode.tokens) == text + said[-1] + "<|im_end|>"
    assert tokenizer(text + said[-1] + "<|im_end|>").input_ids == episode.tokens


def test_training_shows_no_held_out_concept(tokenizer: Qwen2Tokenizer) -> None:
    episodes = Episodes(tokenizer, np.random.default_rng(0))
    for part in CURRICULUM:
        for episode in episodes.batch(part.phase, dict.fromkeys(BATCH, 20)):
            assert not held_out()[episode.images].any()


def test_answers_that_nothing_tells_weigh_little_and_others_point_at_what_tells_them(tokenizer: Qwen2Tokenizer) -> None:
    for part in CURRICULUM:
        for episode in Episodes(tokenizer, np.random.default_rng(1)).batch(part.phase, dict.fromkeys(BATCH, 20)):
            for place, sources in episode.lookups:
                assert episode.weights[place + 1] == 1
                said = tokenizer.decode(episode.tokens[place + 1 : place + 2]).strip()
                assert {tokenizer.decode(episode.tokens[s : s + 1]).strip() for s in sources} == {said}
                assert max(sources) < place
            plain = sum(kind >= Kind.COLOUR for kind in episode.kinds)
            assert episode.weights.count(1.0) == len(episode.lookups) + plain


def test_collation_pads_on_the_right() -> None:
    episodes = Episodes(build_tokenizer(), np.random.default_rng(0)).batch(
        CURRICULUM[-1].phase, dict.fromkeys(BATCH, 7)
    )
    batch = collate(episodes, demo_model_config().image_token_id, 0)
    for row, episode in enumerate(episodes):
        length = len(episode.tokens)
        assert batch.ids_BT[row, :length].tolist() == episode.tokens
        assert (batch.weights_BT[row, length:] == 0).all()
    assert batch.images_BT.sum() == len(batch.concepts) == len(batch.answer_rows)


@pytest.mark.long
def test_a_short_training_lowers_the_loss_and_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.demo.training.train_text.BANK", 4)
    monkeypatch.setattr(
        "sweep.demo.training.train_text.CURRICULUM", (CURRICULUM[0].__class__(40, CURRICULUM[0].phase, (0, 0)),)
    )
    monkeypatch.setattr("sweep.demo.training.train_text.BATCH", {2: 16})
    torch.set_num_threads(1)
    histories = []
    for _ in range(2):
        model = build_model(0)
        train_vision(model, 2, 0, print)
        losses: list[str] = []
        TextTrainer(model, 0).run(losses.append, lambda step: None, every=20)
        histories.append([float(line.split("loss ")[1].split()[0]) for line in losses])
    assert histories[0] == histories[1]
    assert histories[0][-1] < histories[0][0] - 0.5


def test_written_model_loads_and_says_the_same(tmp_path: Path) -> None:
    model = build_model(1)
    folder = tmp_path / "vlm"
    for _ in range(2):  # the second time over the first
        write_model(model, folder)
    loaded = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    images = draw(np.arange(3), np.random.default_rng(0))
    with torch.inference_mode():
        torch.testing.assert_close(image_tokens(loaded, images), image_tokens(model, images), atol=2e-2, rtol=2e-2)
    assert AutoTokenizer.from_pretrained(folder, local_files_only=True).chat_template
    assert json.loads((folder / "preprocessor_config.json").read_text())["size"]["shortest_edge"] == 784
    assert [path.name for path in tmp_path.iterdir()] == ["vlm"]
