"""VQA accuracy as pure functions of texts. Needs the standard library only."""

from sweep.vqa.accuracy import Mode, Scores, TypeScore, accuracy, score_all
from sweep.vqa.cleanup import CLEANUP_VERSION, normalise

__all__ = ["CLEANUP_VERSION", "Mode", "Scores", "TypeScore", "accuracy", "normalise", "score_all"]
