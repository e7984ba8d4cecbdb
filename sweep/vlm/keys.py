"""What an answer depends on, as keys under which it may be stored and used again.

`answer_key` holds everything that can change an answer and nothing that cannot: not the item ids, not where the files
lie, not how work is batched. What the data says enters by content: the question texts, the answers that demonstrations
show, the bytes of the images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selector.errors import first_line
from selector.files import is_leftover
from sweep.settings.vlm import DEMO_MODEL, Layout, ModelSettings, PromptSettings, VlmSettings
from sweep.storage.hashes import canonical_hash, remembered_file_hash
from sweep.vlm.checkpoint import ModelError, resolve_folder, resolve_precision
from sweep.vlm.work import VlmTable, WorkItem

ANSWER_VERSION = 1
"""Raised when the engine's answers to the same question may change: prompts, image handling, decoding. Another order
of the same sums is no reason: stored answers would be asked again for hours, and each batch has its own order."""

_CONTENT = (
    *("*.safetensors", "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json"),
    *("chat_template.*", "tokenizer*", "vocab.*", "merges.txt", "added_tokens.json", "special_tokens_map.json"),
    "spiece.model",
)


def model_identity(settings: ModelSettings) -> str:
    """What distinguishes a checkpoint from all others: `name@commit` from the hub, else `sha256:` and its content.

    Content is that of its weights, configuration, tokenizer and preprocessor, by file name, so that a copy elsewhere
    is the same model. Files are read once per process as long as size and time of change stay.

    Raises:
        ModelError: no such checkpoint, or not readable.
    """
    folder = resolve_folder(settings)
    if settings.path != DEMO_MODEL and folder.parent.name == "snapshots" and not Path(settings.path).exists():
        return f"{settings.path}@{folder.name}"
    found = {file.name for pattern in _CONTENT for file in folder.glob(pattern)}
    names = sorted(name for name in found if not is_leftover(name))
    try:
        contents = [(name, remembered_file_hash(folder / name)) for name in names]
    except OSError as error:
        raise ModelError(f"model {folder}: cannot be read ({first_line(error)})") from None
    return f"sha256:{canonical_hash(contents)}"


def pinned(settings: ModelSettings, identity: str) -> ModelSettings:
    """The settings as a worker shall have them, who may work in another folder, and later.

    A relative folder becomes absolute. A hub name gets the commit that the identity names, as a branch may move.
    """
    if settings.path == DEMO_MODEL:
        return settings
    if identity.startswith("sha256:"):
        return settings.replace(path=str(resolve_folder(settings).absolute()))
    return settings.replace(revision=identity.rpartition("@")[2])


def answer_key(identity: str, settings: VlmSettings, table: VlmTable, item: WorkItem, device: str) -> str:
    """Key of a work item's answer, 64 hex digits.

    Args:
        identity: from `model_identity`.
        settings: its prompt, image limits, decoding and precision count.
        table: the items.
        item: what is asked.
        device: kind of device that answers, `cpu` or `cuda`. It decides what precision `auto` means, and the same
            model rounds differently on either.

    Raises:
        ImageError: an image cannot be read, so that there is no content to speak of.
        DataError: a demonstration has no answer to show.
    """
    kind = device.partition(":")[0]
    precision = resolve_precision(settings.model.precision, kind)
    return canonical_hash(
        {
            "version": ANSWER_VERSION,
            **answer_settings(identity, settings),
            "precision": precision,
            "device": kind,
            "demonstrations": [
                [table.question(demo), table.shown_answer(demo), table.image_hash(demo)] for demo in item.demonstrations
            ],
            "query": [table.question(item.query), table.image_hash(item.query)],
        }
    )


def answer_settings(identity: str, settings: VlmSettings) -> dict[str, Any]:
    """What of the settings can change an answer, and nothing else. The device is the workers' matter."""
    return {
        "model": identity,
        "precision": settings.model.precision,
        "prompt": _prompt_words(settings.prompt),
        "images": [settings.images.min_pixels, settings.images.max_pixels, settings.images.max_side],
        "decoding": settings.decoding.model_dump(mode="json"),
    }


def score_key(table: VlmTable, item: WorkItem) -> str:
    """Key of what `Answer.gt_prob` depends on besides the answer's key: the different ground-truth answers, 64 hex."""
    return canonical_hash(sorted(set(table.answers(item.query))))


def _prompt_words(prompt: PromptSettings) -> dict[str, Any]:
    """The settings with defaults filled in, so that naming a default changes nothing."""
    words: dict[str, Any] = {"layout": prompt.layout}
    if prompt.layout is Layout.FREE:
        return words | {"template": prompt.template}
    words |= {"system": prompt.system, "count": prompt.count, "count_text": prompt.count_statement}
    words |= {"query": prompt.query_text}
    if prompt.layout is Layout.ONE_TURN:
        words |= {"demonstration": prompt.demonstration_text}
    return words
