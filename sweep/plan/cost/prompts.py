"""How long prompts are, how much of them is shared, and what answering them costs, from a sample of them.

Texts are tokenised by the checkpoint's own `tokenizer.json`, in the conversation that Qwen2.5-VL's chat template makes
(ChatML). Neither transformers nor the template is loaded, which would take seconds. Of images the headers are read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from sweep.items.errors import ImageError
from sweep.plan.cost.checkpoint import Checkpoint
from sweep.plan.cost.work import AnswerWork
from sweep.settings.texts import FreeRenderer, Prompt
from sweep.settings.vlm import VlmSettings
from sweep.vlm.engine.encoding import Grid, PromptEncoder
from sweep.vlm.engine.packing import TokenRow, batch_size, packed_length
from sweep.vlm.engine.pixels import Target, UnfitImageError, open_image, target_size
from sweep.vlm.prompts import IMAGE_PAD, conversation
from sweep.vlm.work import WorkItem

SAMPLED_PROMPTS = 256
RESAMPLE = 3  # bicubic; no size depends on it


@dataclass(frozen=True)
class PromptCost:
    """What the prompts of a phase amount to.

    Attributes:
        tokens: of all prompts, image tokens included.
        computed: of these, those that are not shared with a prompt beside it.
        image_tokens: of one image, on average.
        flops: of images, prompts, scores and answers together.
        longest: tokens of the longest sampled prompt.
    """

    tokens: float
    computed: float
    image_tokens: float
    flops: float
    longest: int


def prompt_cost(work: AnswerWork, checkpoint: Checkpoint) -> PromptCost:
    """The amounts of a phase, from its sample."""
    settings, shape = work.vlm, checkpoint.shape
    sample = _batches(work.sample, settings.workers.batch)
    sides = dict(_sides(work, checkpoint, {image for item in sample for image in (item.query, *item.demonstrations)}))
    rows = _rows(work, checkpoint, sample, sides)
    mean = sum(map(len, rows)) / len(rows)
    own = sum(packed_length(part) for part in _packed(rows, settings)) / sum(map(len, rows))
    shown = [work.table.shown_answer(item.query) for item in sample if work.table.answers(item.query)]
    answer = sum(checkpoint.lengths(shown)) / max(len(shown), 1)  # as long as the annotators'
    steps = min(answer, settings.decoding.max_new_tokens - 1) * settings.decoding.num_beams
    truths = _truths(work, checkpoint, sample) if work.score else 0.0
    text, vision = shape.text, [shape.vision.image(*one) for one in sides.values()]
    per_prompt = text.prefill(mean * own, 1) + text.products(steps + truths, 1 + steps + truths)
    per_prompt += text.attention(mean**2 * own + (steps + truths) * mean)
    return PromptCost(
        tokens=mean * work.prompts,
        computed=mean * own * work.prompts,
        image_tokens=sum(map(prod, sides.values())) / max(len(sides), 1),
        flops=per_prompt * work.prompts + work.images * sum(vision) / max(len(vision), 1),
        longest=max(map(len, rows)),
    )


def _batches(sample: Sequence[WorkItem], size: int) -> list[WorkItem]:
    """Some batches as workers get them, from all over the sample."""
    starts = range(0, len(sample), size)
    wanted = max(1, SAMPLED_PROMPTS // size)
    chosen = starts[:: max(1, len(starts) // wanted)][:wanted]
    return [item for start in chosen for item in sample[start : start + size]]


def _rows(
    work: AnswerWork, checkpoint: Checkpoint, sample: Sequence[WorkItem], sides: Mapping[int, Grid]
) -> list[TokenRow]:
    """The engine's view of the prompts. An image that cannot be read is taken to be like the others."""
    usual = sorted(sides.values())[len(sides) // 2] if sides else (1, 1)
    encoder = PromptEncoder(None, checkpoint.image_token)
    prompts = [_prompt(work, item) for item in sample]
    numbers: dict[str, int] = {}
    rows = []
    for prompt, ids in zip(prompts, checkpoint.token_ids([prompt.text for prompt in prompts]), strict=True):
        keys = [str(work.table.image_id(item)) for item in prompt.images]
        grids = {key: sides.get(item, usual) for key, item in zip(keys, prompt.images, strict=True)}
        rows.append(encoder.row(ids, keys, grids, numbers))
    return rows


def _packed(rows: Sequence[TokenRow], settings: VlmSettings) -> Iterator[list[TokenRow]]:
    """The forward passes that batches of a worker become."""
    size = settings.workers.batch
    for start in range(0, len(rows), size):
        left = sorted(rows[start : start + size], key=lambda row: row.key)
        while left:
            count = batch_size(left, settings.batching.prefill_tokens_on(settings.workers.device))
            yield left[:count]
            left = left[count:]


def _prompt(work: AnswerWork, item: WorkItem) -> Prompt:
    """As the renderer has it, with ChatML in place of the checkpoint's own template."""
    settings, table = work.vlm.prompt, work.table
    shots = [(table.question(demo), table.shown_answer(demo)) for demo in item.demonstrations]
    images = (*item.demonstrations, item.query)
    if settings.template is not None:
        return FreeRenderer(settings.template).render(shots, table.question(item.query), images)
    messages = [
        f"<|im_start|>{message['role']}\n{''.join(map(_part, message['content']))}<|im_end|>\n"
        for message in conversation(settings, shots, table.question(item.query))
    ]
    return Prompt("".join(messages) + "<|im_start|>assistant\n", images)


def _part(part: dict[str, str]) -> str:
    return part["text"] if part["type"] == "text" else f"<|vision_start|>{IMAGE_PAD}<|vision_end|>"


def _sides(work: AnswerWork, checkpoint: Checkpoint, images: Collection[int]) -> Iterator[tuple[int, Grid]]:
    """Rows and columns of tokens of some images. Those that cannot be read are left out."""
    limits, side = work.vlm.images, checkpoint.shape.vision.token_side
    target = Target(limits.min_pixels, limits.max_pixels, limits.max_side, side, RESAMPLE)
    shown = sorted(images)
    for image in shown[:: max(1, len(shown) // SAMPLED_PROMPTS)]:
        try:
            width, height = open_image(work.table.image_bytes(image), target).size
        except (ImageError, UnfitImageError):
            continue
        rows, columns = (length // side for length in target_size(height, width, target))
        yield image, (rows, columns)


def _truths(work: AnswerWork, checkpoint: Checkpoint, sample: Sequence[WorkItem]) -> float:
    """Tokens of the different ground-truth answers of a query, each with the end of the turn."""
    found = [sorted(set(work.table.answers(item.query))) for item in sample]
    lengths = checkpoint.lengths([answer for answers in found for answer in answers])
    return (sum(lengths) + len(lengths)) / max(len(found), 1)
