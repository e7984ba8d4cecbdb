"""A checkpoint of the model that answers, as far as its small files tell: sizes and tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from selector.errors import first_line
from sweep.settings.vlm import VlmSettings
from sweep.vlm.checkpoint import CONFIG, ModelError, check_small_files, read_json, resolve_folder
from sweep.vlm.engine.loading import load_tokenizer
from sweep.vlm.flops import VlmShape

TOKENIZER = "tokenizer.json"


class Checkpoint:
    """What a checkpoint's small files say. Raises ModelError."""

    def __init__(self, settings: VlmSettings) -> None:
        self.settings = settings
        self.folder: Path = resolve_folder(settings.model)
        check_small_files(self.folder)
        config = read_json(self.folder / CONFIG, needed=True)
        self.shape = VlmShape.of(config, self.folder / CONFIG)
        self.image_token = int(config["image_token_id"])

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        """The fast tokenizer. A checkpoint without `tokenizer.json` takes the way through transformers."""
        file = self.folder / TOKENIZER
        if not file.exists():
            slow: Tokenizer = load_tokenizer(self.settings.model).backend_tokenizer
            return slow
        try:
            return Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare ones
            raise ModelError(f"{file}: no usable tokenizer ({first_line(error)})") from None

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts. Special tokens that are spelled out count as such."""
        return [one.ids for one in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Numbers of tokens."""
        return [len(ids) for ids in self.token_ids(texts)]
