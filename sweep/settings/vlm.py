"""How the vision-language model is asked. Part of a space, never sampled."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from selector.settings import FrozenModel, NonNegativeFloat, PositiveFloat, PositiveInt
from sweep.settings.labels import SELECTOR, Labels
from sweep.settings.resources import Cpus, Gpus
from sweep.settings.texts import check_text

DEMO_MODEL = "demo"
DEFAULT_SYSTEM = "Answer the question about the last image with a short answer."


class Precision(StrEnum):
    """Number format of weights and activations. `auto` is bfloat16 on a GPU and float32 on the CPU."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class ModelSettings(FrozenModel):
    """Which checkpoint answers.

    Attributes:
        path: a folder with a Qwen2.5-VL checkpoint, a hub name, or `demo` for the small model that ships.
    """

    path: str = Field(min_length=1, description="A folder, a hub name, or demo for the small model that ships.")
    revision: str | None = Field(default=None, description="Branch, tag or commit of a hub name.")
    precision: Precision = Precision.AUTO


class Layout(StrEnum):
    """How demonstrations become a conversation."""

    TURNS = "turns"  # a user and an assistant turn per demonstration
    ONE_TURN = "one_turn"  # all demonstrations in one user turn
    FREE = "free"  # a template of the user's own, without the chat template


class CountPlace(StrEnum):
    """Where the system states how many demonstrations there are."""

    FIRST = "first"  # before them: prompts of one query with different numbers of shots then share nothing
    LAST = "last"  # after them: the k-shot prompt's demonstrations are a prefix of the (k+1)-shot prompt's


class PromptSettings(FrozenModel):
    """The words around questions and answers. Texts may hold placeholders in braces. Others stay as they are.

    Attributes:
        system: the system message.
        count: where a system message states the true number of demonstrations.
        count_text: that statement. `{demonstrations}` becomes `no demonstrations`, `1 demonstration`,
            `2 demonstrations` ..., `{count}` the bare number.
        demonstration: in layout `one_turn`, the text after a demonstration's image, with `{question}`, `{answer}`.
        query: text after the query's image, in layout `turns` after every demonstration's too, with `{question}`.
        template: in layout `free`, Jinja text over `demonstrations` (each with image, question, answer), `query`
            (image, question) and `count`.
        layout: how demonstrations become a conversation.
    """

    layout: Layout = Layout.TURNS
    system: str = DEFAULT_SYSTEM
    count: CountPlace = CountPlace.LAST
    count_text: str | None = None
    demonstration: str | None = None
    query: str | None = None
    template: str | None = None

    @field_validator("count_text")
    @classmethod
    def _count_text(cls, value: str | None) -> str | None:
        return check_text(value, {"demonstrations", "count"}, needed={"demonstrations", "count"})

    @field_validator("demonstration")
    @classmethod
    def _demonstration(cls, value: str | None) -> str | None:
        return check_text(value, {"question", "answer"}, needed={"answer"})

    @field_validator("query")
    @classmethod
    def _query(cls, value: str | None) -> str | None:
        return check_text(value, {"question"}, needed={"question"})

    @model_validator(mode="after")
    def _fitting(self) -> PromptSettings:
        if (self.template is not None) != (self.layout is Layout.FREE):
            raise ValueError("template belongs to layout free, and layout free needs one; use both or neither")
        if self.demonstration is not None and self.layout is not Layout.ONE_TURN:
            raise ValueError(f"demonstration belongs to layout one_turn; layout {self.layout} does not use it")
        if self.layout is Layout.FREE and (self.query or self.count_text):
            raise ValueError("layout free has its whole text in template; leave out query and count_text")
        return self

    @property
    def count_statement(self) -> str:
        """`count_text`, or its default."""
        default = "You are shown {demonstrations} first." if self.count is CountPlace.FIRST else None
        return self.count_text or default or "You have seen {demonstrations}."

    @property
    def demonstration_text(self) -> str:
        """`demonstration`, or its default."""
        return self.demonstration or "{question} Answer: {answer}\n"

    @property
    def query_text(self) -> str:
        """`query`, or its default."""
        return self.query or ("{question} Answer:" if self.layout is Layout.ONE_TURN else "{question}")


class ImageSettings(FrozenModel):
    """Limits between which images are resized, in pixels. One token of the model is a square of 28 by 28.

    Attributes:
        max_side: an image with a longer side is refused before it is decoded, as a typed failure.
        min_pixels: smaller images are enlarged to this.
        max_pixels: larger images are reduced to this.
    """

    min_pixels: PositiveInt = 56 * 56
    max_pixels: PositiveInt = 1280 * 28 * 28
    max_side: PositiveInt = 30_000

    @model_validator(mode="after")
    def _ordered(self) -> ImageSettings:
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels {self.min_pixels} is above max_pixels {self.max_pixels}")
        return self


class DecodingSettings(FrozenModel):
    """How an answer is generated. Nothing is taken from the checkpoint's own generation settings but its end tokens.

    Attributes:
        num_beams: 1 is greedy. Sampling is not offered.
        stop: the answer ends before the first of these strings.
        max_new_tokens: longest answer.
    """

    max_new_tokens: Annotated[int, Field(ge=1, le=1024)] = 10
    num_beams: Annotated[int, Field(ge=1, le=16)] = 1
    length_penalty: float = Field(default=1.0, description="For beam search: above 0 prefers longer answers.")
    stop: tuple[str, ...] = ()


class BatchingSettings(FrozenModel):
    """What fits at once. Changes speed and memory, not answers.

    Attributes:
        prefill_tokens: tokens of one forward pass over prompts. Halved when the device's memory runs out. `auto` is as
            many as fill a GPU, and on the CPU as many as its cache can hold (`prefill_tokens_on`).
        decode_rows: answers generated side by side. Halved for the same reason.
        vision_cache_gb: memory for image features, least recently used out first.
        image_threads: threads that decode and resize.
    """

    prefill_tokens: PositiveInt | Literal["auto"] = "auto"
    decode_rows: PositiveInt = 64
    vision_cache_gb: NonNegativeFloat = 2.0
    image_threads: PositiveInt = 2

    def prefill_tokens_on(self, device: str) -> int:
        """`prefill_tokens` for a kind of device, `cpu` or `cuda`."""
        if self.prefill_tokens == "auto":
            return 2048 if device == "cpu" else 16_384
        return self.prefill_tokens


class WorkerSettings(FrozenModel):
    """The pool: one engine per worker.

    Attributes:
        count: workers. None: as many as the cluster has room for.
        gpus: for one worker. A fraction lets several share one. Above 1 it must be whole.
        in_flight: batches given to a worker before its first one is back.
        batch: work items of one batch.
        retries: tries of an item after the first, if it takes its worker down.
        batch_seconds: a worker that takes longer for one batch, or for loading its model, is taken for hung and
            replaced. What it had is tried again in smaller batches.
        cpus: cores of one worker.
    """

    section: ClassVar[str] = "vlm.workers"
    """Where a space has these settings, for messages."""
    holds: ClassVar[str] = "the vision-language model"
    """What a worker loads, for messages."""
    actor: ClassVar[str] = "VlmWorker"
    """What Ray's dashboard calls a worker."""

    count: PositiveInt | None = None
    cpus: Cpus = 1.0
    gpus: Gpus = 0.0
    labels: Labels = Field(default={}, description=SELECTOR)
    in_flight: PositiveInt = 2
    batch: PositiveInt = 64
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    batch_seconds: PositiveFloat = 3600.0

    @property
    def device(self) -> str:
        """The kind of device that a worker has, `cpu` or `cuda`."""
        return "cuda" if self.gpus else "cpu"


class VlmSettings(FrozenModel):
    """Everything about the model that answers.

    Attributes:
        model: which checkpoint answers.
    """

    model: ModelSettings
    prompt: PromptSettings = PromptSettings()
    images: ImageSettings = ImageSettings()
    decoding: DecodingSettings = DecodingSettings()
    batching: BatchingSettings = BatchingSettings()
    workers: WorkerSettings = WorkerSettings()


def demo_model_folder() -> Path:
    """Where the small model that ships lies."""
    return Path(__file__).resolve().parent.parent / "demo" / "vlm"
