"""Small CLIP and SigLIP checkpoints with random weights, made and saved by transformers' own classes."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    Siglip2Tokenizer,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

LAYERS = {"intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
SIDE = 32


def clip_checkpoint(folder: Path) -> Path:
    """Width 24. Images of 32 x 32 pixels, cut from the middle. Texts of 32 tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    numbers = {word: number for number, word in enumerate(words)}
    ends = {"bos_token_id": numbers["<|startoftext|>"], "eos_token_id": numbers["<|endoftext|>"]}
    text = {"vocab_size": len(words), "hidden_size": 32, "max_position_embeddings": 32, **ends, **LAYERS}
    vision = {"hidden_size": 32, "image_size": SIDE, "patch_size": 8, **LAYERS}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).save_pretrained(folder)
    CLIPTokenizer(vocab=numbers, merges=[]).save_pretrained(folder)
    size = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    CLIPImageProcessorPil(**size).save_pretrained(folder)
    return folder


def siglip_checkpoint(folder: Path) -> Path:
    """Width 24. Images are squeezed to 32 x 32 pixels. The tokenizer is SigLIP 2's, which needs no sentencepiece."""
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    numbers = {word: number for number, word in enumerate([*words, *"▁abcdefghijklmnopqrstuvwxyz?"])}
    ends = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    text = {"vocab_size": len(numbers), "hidden_size": 24, "max_position_embeddings": 24, "projection_size": 24}
    vision = {"hidden_size": 24, "image_size": SIDE, "patch_size": 8, **LAYERS}
    torch.manual_seed(0)
    SiglipModel(SiglipConfig(text_config={**text, **ends, **LAYERS}, vision_config=vision)).save_pretrained(folder)
    Siglip2Tokenizer(vocab=numbers, merges=[]).save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder
