"""What the selector sees of an item: features of its image and of its question, and nothing else.

The image's part is what a user would take from CLIP: the output of the vision tower, pooled. The question's part counts
its words and pairs of words in hashed places. Neither looks at answers or at what the item shows in truth.
Letters: M items, D features.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from selector.arrays import Float32Array, Float64Array
from selector.threads import intra_op_threads
from sweep.demo.drawing import ByteArray
from sweep.demo.model import DemoModel, image_tokens

QUESTION_WIDTH = 32
QUESTION_SHARE = 0.2  # of the squared length
_BATCH = 64


def item_features(model: DemoModel, images: ByteArray, questions: Sequence[str]) -> Float32Array:
    """Unit vectors, float32 [M, WIDTH + QUESTION_WIDTH]. `images` is uint8 [M, 28, 28, 3], with one question each."""
    seen = _unit(_image_states(model, images))
    asked = _unit(np.stack([_question_counts(question) for question in questions]))
    parts = [seen * np.sqrt(1 - QUESTION_SHARE), asked * np.sqrt(QUESTION_SHARE)]
    return np.concatenate(parts, axis=1).astype(np.float32)


@torch.inference_mode()
def _image_states(model: DemoModel, images: ByteArray) -> Float64Array:
    """The vision tower's output, one token for each image of 28 x 28 pixels: float64 [M, WIDTH]."""
    with intra_op_threads(1):  # windows of a few tokens
        parts = [image_tokens(model, images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    return np.asarray(torch.cat(parts).double().numpy())


def _question_counts(question: str) -> Float64Array:
    words = re.findall(r"\w+", question.lower())
    counts = np.zeros(QUESTION_WIDTH)
    for gram in [*words, *(" ".join(pair) for pair in pairwise(words))]:
        code = zlib.crc32(gram.encode())
        counts[code % QUESTION_WIDTH] += 1 if code & 1024 else -1
    return counts


def _unit(rows: Float64Array) -> Float64Array:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12))
