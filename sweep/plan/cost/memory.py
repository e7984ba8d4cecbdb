"""Memory of a worker and of a trial, and room on the disk."""

from __future__ import annotations

from selector.config import SelectorConfig
from selector.model import PointerSelector
from sweep.plan.cost.prompts import PromptCost
from sweep.plan.cost.records import Measured
from sweep.plan.cost.work import Works
from sweep.settings.vlm import Precision
from sweep.space import SearchSpace
from sweep.vlm.checkpoint import resolve_precision

ANSWER_BYTES = 62
"""Of a stored answer. This and the next two were measured on a run of the demo (12,933 answers, 24 trials)."""
BEAM_BYTES = 12
TRIAL_BYTES = 43_000
"""Of a trial without its weights: curves, settings, events."""
PROCESS_BYTES = {"cpu": 0.6e9, "cuda": 0.6e9}
"""Of a worker before its model: Python, torch, transformers; on a GPU what CUDA keeps for itself."""
TRIAL_PROCESS_BYTES = 0.39e9
"""Private memory of a trial's process, measured on OK-VQA (docs/benchmarks.md)."""
WEIGHT_COPIES = 6
"""Of a trial: weights, gradients, two moments of AdamW, the reference and the old policy."""


def worker_bytes(works: Works, costs: dict[str, PromptCost], device: str, measured: Measured | None) -> float | None:
    """Weights, cached features, keys and values of a batch, and what its layers hold while they work."""
    if works.checkpoint is None:
        return None
    if measured is not None and measured.worker_bytes is not None:
        return float(measured.worker_bytes)
    settings, shape = works.checkpoint.settings, works.checkpoint.shape
    size = 4 if resolve_precision(settings.model.precision, device) is Precision.FLOAT32 else 2
    batching, longest = settings.batching, max(cost.longest for cost in costs.values())
    features = max(work.images * costs[work.phase].image_tokens * shape.vision.out * size for work in works.answers)
    tokens = max(batching.prefill_tokens_on(device), longest)
    rows = min(batching.decode_rows, max(work.prompts for work in works.answers))
    kept = tokens + rows * longest
    text = tokens * size * (2 * shape.text.inner + 6 * shape.text.width)
    vision = 4 * tokens * size * (2 * shape.vision.inner + 6 * shape.vision.width)
    return (
        PROCESS_BYTES[device]
        + shape.weights * size
        + min(batching.vision_cache_gb * 1e9, features)
        + kept * shape.text.key_value_bytes(size)
        + max(text, vision)
    )


def disk_bytes(space: SearchSpace, works: Works) -> dict[str, float]:
    """What a run stores, by kind. Warm-ups are few, and left out."""
    training = works.training
    table = 4.0 * len(training.dataset.embeddings) * training.width
    weights = selector_bytes(space, training.width)
    models = (training.trials or 1) + training.finalists
    found = {"answers": float(sum(work.prompts for work in works.answers) * ANSWER_BYTES)}
    if works.beams:
        found["data"] = table + works.beams * (4.0 * training.dataset.picks + BEAM_BYTES)
    if works.embed is not None:  # the parts, and the tables of image, question and both
        found["embeddings"] = 4.0 * works.embed.width * (works.embed.images + works.embed.questions) + 3 * table
    found["trials"] = float(models * (space.keep_epochs * weights + TRIAL_BYTES))
    return {name: size for name, size in found.items() if size}


def selector_config(space: SearchSpace, width: int) -> SelectorConfig:
    """Of the selector that the space trains; where its size is sampled, that of `trial.model`."""
    settings = space.trial if space.parameters else space.resolve({}, 0)
    return SelectorConfig(width=width, **settings.model.model_dump(mode="json"))


def selector_bytes(space: SearchSpace, width: int) -> int:
    """Of one copy of the weights, float32."""
    return 4 * sum(weights.numel() for weights in PointerSelector(selector_config(space, width)).parameters())


def trial_bytes(space: SearchSpace, width: int) -> float:
    """Private memory of one trial's process. The data is shared."""
    return TRIAL_PROCESS_BYTES + WEIGHT_COPIES * selector_bytes(space, width)
