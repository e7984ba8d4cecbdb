"""The model card of an export, by the conventions of the Hugging Face hub and with its own classes.

Here are the facts and the YAML header. `ModelCardData` makes the header, and quotes what needs quoting. The text below
the header is that of `card_text.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from selector.config import SelectorConfig
from sweep.evaluation.records import Evaluation, FinalistRecord, RowRecord, SeedRecord
from sweep.evaluation.row_kinds import RowKind
from sweep.evaluation.wording import counted
from sweep.runs.record import RunRecord

LICENSE_UNKNOWN = "unknown"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")


@dataclass(frozen=True)
class CardOptions:
    """What no run knows of a selector.

    Attributes:
        license: identifier of the hub, such as `mit`.
        base_model: the hub's name of the model that is shown the demonstrations. None: the space's, if it is one.
        datasets: the hub's names of the data.
    """

    license: str = LICENSE_UNKNOWN
    base_model: str | None = None
    datasets: Sequence[str] = ()


@dataclass(frozen=True)
class Card:
    """What a card is made from. `evaluation` and `record` are None where there is none."""

    config: SelectorConfig
    manifest: dict[str, Any]
    evaluation: Evaluation | None
    record: RunRecord | None

    @property
    def name(self) -> str:
        """Of the selector, for tables and citations."""
        if "trial" not in self.manifest:
            return f"selector {str(self.manifest.get('sha256'))[:12]}"
        return f"{self.manifest['run']}, trial {self.manifest['trial']}, epoch {self.manifest['step']}"

    @property
    def model(self) -> str | None:
        """The vision-language model whose answers were measured, as the space names it."""
        if self.evaluation is not None and self.evaluation.source is not None:
            return self.evaluation.source.model
        vlm = None if self.record is None else self.record.space.get("vlm")
        path = vlm.get("model", {}).get("path") if isinstance(vlm, dict) else None
        return path if isinstance(path, str) else None

    @property
    def data(self) -> str:
        """What the data is called: its folder, or what the space is called that made it."""
        record = self.record
        if record is None:
            return "unknown data"
        if record.data is None or record.space.get("collect") is not None:
            return f"data of the space {record.space.get('name')}"
        return record.data.name

    @property
    def row(self) -> RowRecord | None:
        """The row of the evaluation that was asked with exactly these weights."""
        rows = () if self.evaluation is None else self.evaluation.rows
        sha256 = self.manifest.get("sha256")
        return next((row for row in rows if row.checkpoint == sha256 and row.kind is not RowKind.FINALIST), None)

    @property
    def seed(self) -> tuple[FinalistRecord, SeedRecord] | None:
        """The finalist, and of it the fresh seed, that was asked with exactly these weights."""
        finalists = () if self.evaluation is None else self.evaluation.finalists
        for finalist in finalists:
            for seed in finalist.seeds:
                if seed.checkpoint == self.manifest.get("sha256"):
                    return finalist, seed
        return None


def card_data(card: Card, options: CardOptions) -> Any:  # noqa: ANN401 (huggingface_hub.ModelCardData, loaded late)
    """The header as the hub's own class."""
    from huggingface_hub import ModelCardData

    from selector.hub import LIBRARY, TAGS

    base = _base(card, options)
    results = _results(card)
    return ModelCardData(
        license=options.license,
        library_name=LIBRARY,
        tags=TAGS,
        base_model=base,
        datasets=list(options.datasets) or None,
        metrics=["accuracy"] if card.evaluation is not None else None,
        model_name=card.name if results else None,
        eval_results=results or None,
    )


def unnamed(card: Card, options: CardOptions) -> list[str]:
    """What the header does not say for want of knowing it."""
    known = {
        "licence": options.license != LICENSE_UNKNOWN,
        "base model": _base(card, options) is not None,
        "data set": bool(options.datasets),
    }
    return [name for name, is_known in known.items() if not is_known]


def _base(card: Card, options: CardOptions) -> str | None:
    """The hub's name of the model that answers. A folder of somebody's machine is none."""
    return options.base_model or (card.model if card.model and _is_hub_id(card.model) else None)


def _is_hub_id(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][\w-]*/[\w][\w.-]*", text, re.ASCII) is not None


def _results(card: Card) -> list[Any]:
    """One result of the hub per number of shots, then their mean; val_loss where no question was asked."""
    from huggingface_hub import EvalResult

    name = CONTROL.sub(" ", card.data)
    data: dict[str, Any] = {
        "task_type": "visual-question-answering",
        "task_name": "Visual question answering with selected demonstrations",
        "dataset_type": re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "data",
        "dataset_name": name,
        "dataset_args": {"fingerprint": card.manifest.get("data_fingerprint")},
    }
    own = _values(card)
    if own is None or card.evaluation is None:
        metrics = card.manifest.get("metrics")
        if not isinstance(metrics, dict):
            return []
        data |= {"dataset_split": "validation", "metric_type": "loss", "metric_name": "validation loss (ranks trials)"}
        return [EvalResult(**data, metric_value=metrics["val_loss"])]
    evaluation = card.evaluation
    what = f"VQA accuracy ({evaluation.settings.metric.value})"
    measures = [*(counted(shots, "shot") for shots in evaluation.shots), "mean over the numbers of shots"]
    return [
        EvalResult(
            **data,
            dataset_split=evaluation.settings.split.value,
            metric_type="accuracy",
            metric_name=f"{what}, {measure}",
            metric_value=value[0],
            metric_args=value[1],
        )
        for measure, value in zip(measures, own, strict=True)
        if value is not None
    ]


def _values(card: Card) -> list[tuple[float, dict[str, Any]] | None] | None:
    """Accuracy of exactly these weights per number of shots, then the mean, with the interval where there is one."""
    if card.row is not None:
        estimates = [*card.row.shots, card.row.mean]
        return [
            None if one is None else (one.value, {"low": one.low, "high": one.high, "questions": one.questions})
            for one in estimates
        ]
    if card.seed is not None:
        seed = card.seed[1]
        return [None if one is None else (one, {"seed": seed.seed}) for one in (*seed.shots, seed.mean)]
    return None
