"""Which items a run asks about. Part of a space, never sampled."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from selector.settings import FrozenModel
from sweep.settings.demo import WorldSettings


class Sending(StrEnum):
    """Whether images travel to the nodes of a cluster through Ray's object store."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class AnswerForm(StrEnum):
    """Which of an official annotation's texts are the answers. OK-VQA has both. VQAv2 the first alone."""

    STEMMED = "stemmed"  # the field `answer`
    RAW = "raw"  # the field `raw_answer`

    @property
    def field(self) -> str:
        """Its name in annotation files."""
        return "raw_answer" if self is AnswerForm.RAW else "answer"


def _as_tuple(value: object) -> object:
    """One path, or a list: behind this function strict validation takes a tuple only, whatever the file held."""
    if isinstance(value, str | Path):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


Paths = Annotated[tuple[Path, ...], BeforeValidator(_as_tuple, json_schema_input_type=Path | list[Path])]


Address = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*://")]
"""The URI of what is kept elsewhere."""


class ItemsSettings(FrozenModel):
    """Either `demo`, or `path`, or the official files.

    Item id = position (over all files in their order) = row of the embeddings.
    """

    demo: WorldSettings | None = Field(
        default=None,
        description="Items that the project makes itself, with queries and embeddings; {} for all defaults.",
    )
    path: Address | Path | None = Field(
        default=None, description="Items in native form: a folder that holds items.parquet, or such a file; also a URI."
    )
    questions: Paths = Field(
        default=(), description="Official VQA or OK-VQA questions: a JSON file, or several in the order of the items."
    )
    annotations: Paths = Field(
        default=(), description="Their annotations: a JSON file or several; test sets have none. Matched by question."
    )
    images: Paths = Field(
        default=(),
        description="Folders with the images, searched with all their folders for names that end in the image id.",
    )
    answers: AnswerForm = Field(
        default=AnswerForm.STEMMED,
        description="stemmed takes the field answer of the annotations, raw the field raw_answer (OK-VQA).",
    )

    send: Sending = Field(
        default=Sending.AUTO,
        description="Whether images travel to nodes: always, never, or auto (up to 1 GiB, if a node lacks them).",
    )
    allow_shared_images: bool = Field(
        default=False,
        description="Accept data in which queries of different splits show one image. Their number is shown still.",
    )

    @property
    def folder(self) -> Path | None:
        """The folder of this machine that holds items in native form, and may hold more beside them."""
        return self.path if isinstance(self.path, Path) and self.path.is_dir() else None

    @model_validator(mode="after")
    def _one_source(self) -> ItemsSettings:
        official = [name for name in ("questions", "annotations", "images") if getattr(self, name)]
        if self.demo is not None:
            others = [*(["path"] if self.path is not None else []), *official]
            if others:
                raise ValueError(f"demo and {others[0]} are both given: keep one of them")
            return self
        if self.path is not None:
            if official:
                raise ValueError(
                    f"path {str(self.path)!r} and {official[0]} are both given: give path for items in native form, "
                    "or questions, annotations and images for official files"
                )
            if self.answers is not AnswerForm.STEMMED:
                raise ValueError(
                    f"answers {self.answers.value!r} chooses a field of official annotations; items in native form "
                    "hold one set of answers: leave it out"
                )
            return self
        if not self.questions:
            given = f"{official[0]} without questions" if official else "no items are named"
            raise ValueError(
                f"{given}: give path (a folder with items.parquet), or questions, annotations and images, or demo"
            )
        if not self.images:
            raise ValueError("questions without images: give the folder, or the list of folders, that hold the images")
        return self
