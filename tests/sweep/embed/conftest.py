"""Checkpoints and items that the tests of embedding share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sweep.items import ItemsSettings, ItemTable, open_items
from tests.sweep.embed.checkpoints import clip_checkpoint, siglip_checkpoint

IMAGES, QUESTIONS = 70, ("What colour is it?", "what shape is this?")


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {"clip": clip_checkpoint(folder / "clip"), "siglip": siglip_checkpoint(folder / "siglip")}


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Official files of 140 questions on 70 images, the second of which has no image and the third a broken one."""
    folder = tmp_path_factory.mktemp("official")
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    questions, annotations = [], []
    for image in range(IMAGES):
        pixels = rng.integers(0, 256, (36 + image % 5, 48, 3), dtype=np.uint8)
        if image != 1:
            Image.fromarray(pixels).save(folder / "images" / f"COCO_train2014_{image:012d}.png")
        for place, text in enumerate((QUESTIONS[0], f"{QUESTIONS[1]} {image % 9}")):
            known = {"image_id": image, "question_id": 10 * image + place}
            answers = [{"answer": "red", "answer_confidence": "yes", "answer_id": one} for one in range(10)]
            questions.append({**known, "question": text})
            annotations.append({**known, "question_type": "what", "answer_type": "other", "answers": answers})
    (folder / "images" / f"COCO_train2014_{2:012d}.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (folder / "questions.json").write_text(json.dumps({"questions": questions}))
    (folder / "annotations.json").write_text(json.dumps({"annotations": annotations}))
    return folder


@pytest.fixture(scope="session")
def items(official: Path) -> ItemTable:
    return open_items(
        ItemsSettings.model_validate(
            {
                "questions": official / "questions.json",
                "annotations": official / "annotations.json",
                "images": official / "images",
            }
        )
    )
