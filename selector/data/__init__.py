"""Training data: one in-memory form, the formats it is read from, and the checks that all of them pass."""

from selector.data.dataset import Dataset, Outcome, Split
from selector.data.load import load
from selector.data.settings import DataSettings
from selector.data.summary import DataSummary, describe

__all__ = ["DataSettings", "DataSummary", "Dataset", "Outcome", "Split", "describe", "load"]
