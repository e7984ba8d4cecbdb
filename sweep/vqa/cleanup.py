"""How the official VQA evaluation cleans an answer before it compares it.

Source: the evaluation code of the VQA data sets (Antol et al., ICCV 2015; Goyal et al., CVPR 2017), which OK-VQA uses
as well. Its oddities are kept, since published numbers contain them:

1. Newlines and tabs become spaces. Spaces are cut off at both ends (`strip`).
2. A punctuation mark is deleted everywhere if it stands next to a space anywhere in the text, or if the text holds
   digit, comma, digit anywhere (then all marks are deleted). Otherwise it becomes a space. So `red-hot` is `red hot`,
   but `red-hot - really` is `redhot really`, and `1,000 a/b` is `1000 ab`. Colon, apostrophe, dollar, percent, hash,
   ampersand, asterisk and everything beyond ASCII are no marks.
3. Full stops that no digit follows are deleted, before or after a digit: `3.` is `3`, `.5` and `2.5` stay. Only the
   first 32 of them: the flag of that call stands in the place of its count.
4. Lower case, split at any white space. `none` and `zero` to `ten` become digits. `a`, `an` and `the` are dropped.
   Then contractions get their apostrophes (`sweep.vqa.contractions`), each word once.

The result is a fixed point of these rules unless more than 32 full stops had to go.
"""

from __future__ import annotations

import re

from sweep.vqa.contractions import CONTRACTIONS

CLEANUP_VERSION = "vqa-official-1"
"""Changes with any rule here; to be stored beside every accuracy."""

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
MAX_FULL_STOPS = 32
_DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
_BREAKS = str.maketrans("\n\t", "  ")
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {"none": "0"} | {word: str(number) for number, word in enumerate(_NUMBERS)}
_ARTICLES = frozenset({"a", "an", "the"})


def strip(text: str) -> str:
    """Rule 1, which always applies."""
    return text.translate(_BREAKS).strip()


def normalise(text: str) -> str:
    """All rules in their order. Any text is allowed. What has nothing but marks and articles becomes empty."""
    return _words(_punctuation(strip(text)))


def _punctuation(text: str) -> str:
    delete_all = _DIGIT_COMMA_DIGIT.search(text) is not None
    replacements = {
        ord(mark): "" if delete_all or f"{mark} " in text or f" {mark}" in text else " "
        for mark in PUNCTUATION
        if mark in text
    }
    return _FULL_STOP.sub("", text.translate(replacements), count=MAX_FULL_STOPS)


def _words(text: str) -> str:
    words = (_DIGITS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)
