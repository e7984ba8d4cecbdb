"""Section `loggers`: services that follow a run beside its own folder."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from selector.settings import FrozenModel

Name = Annotated[str, Field(min_length=1)]


class WandbSettings(FrozenModel):
    """Weights & Biases. Its key is never here."""

    project: Name = Field(default="demonstration-sweep", description="Where the trials are shown.")
    entity: Name | None = Field(default=None, description="User or team; null: the account's own.")
    mode: Literal["online", "offline"] | None = Field(
        default=None, description="offline: files for `wandb sync`; null: WANDB_MODE, else online."
    )


class MlflowSettings(FrozenModel):
    """MLflow. Its password is never here."""

    uri: Annotated[str, Field(min_length=1, max_length=2000)] | None = Field(
        default=None,
        description="Such as sqlite:///mlflow.db or http://host:5000; null: what MLFLOW_TRACKING_URI says.",
    )
    experiment: Name = Field(default="demonstration-sweep", description="Where the runs are shown.")

    @field_validator("uri")
    @classmethod
    def _no_password(cls, value: str | None) -> str | None:
        """The message says what is wrong and not what the URI is."""
        try:
            password = urlsplit(value or "").password
        except ValueError:
            raise ValueError("not a URI; use one such as sqlite:///mlflow.db or http://host:5000") from None
        if password is not None:
            raise ValueError("a password in the URI would be stored; put it into MLFLOW_TRACKING_PASSWORD")
        return value


class LoggersSettings(FrozenModel):
    """Which services follow the run."""

    wandb: WandbSettings | None = Field(default=None, description="{} for its defaults.")
    mlflow: MlflowSettings | None = Field(default=None, description="{} for its defaults.")
