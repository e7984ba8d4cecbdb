"""VQA accuracy as pure functions of texts. Needs the standard library only."""

from sweep.vqa.accuracy import AnswerNormalisation, accuracy
from sweep.vqa.cleanup import CLEANUP_VERSION, normalise

__all__ = ["CLEANUP_VERSION", "AnswerNormalisation", "accuracy", "normalise"]
