"""Small pools. Not beside the answerers: settings import torch, which each worker would wait for."""

from sweep.settings.vlm import WorkerSettings

SMALL = WorkerSettings(cpus=1, batch=8, in_flight=2, count=2)
ONE = SMALL.model_copy(update={"count": 1})
