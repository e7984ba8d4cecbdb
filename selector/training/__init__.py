"""The two training stages and the generator that runs them one after the other."""

from selector.training.grpo import GrpoStage
from selector.training.rce import RceStage
from selector.training.run import Training, train
from selector.training.stage import StageState

__all__ = ["GrpoStage", "RceStage", "StageState", "Training", "train"]
