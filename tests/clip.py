"""A small CLIP with random weights, saved as the library does."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

WIDTH, SIDE, POSITIONS = 24, 32, 32


def write_clip(folder: Path, seed: int = 0) -> Path:
    """Vectors of width `WIDTH` for images and texts."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={symbol: place for place, symbol in enumerate(symbols)}, merges=[])
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"bos_token_id": len(symbols) - 2, "eos_token_id": len(symbols) - 1, "pad_token_id": len(symbols) - 1}
    text = {**shape, **ends, "vocab_size": len(symbols), "max_position_embeddings": POSITIONS}
    vision = {**shape, "image_size": SIDE, "patch_size": 8}
    torch.manual_seed(seed)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"shortest_edge": SIDE}
    CLIPImageProcessorPil(size=size, crop_size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder
