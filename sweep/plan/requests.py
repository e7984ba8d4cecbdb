"""What somebody asks for: a search space, read and parsed once, and where its data and its answers come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from selector.data.settings import DataSettings
from selector.settings import ValidationMetric
from sweep.errors import RunError, SpaceError
from sweep.runs.paths import RunPaths, SharedPaths, data_at
from sweep.runs.record import RunRecord, read_record
from sweep.space import SearchSpace, check_named_files, find_space, merged, parse_override, parse_space
from sweep.storage.path import StoredPath
from sweep.vlm.keys import answer_settings

if TYPE_CHECKING:
    from sweep.trials.given import Given

ANSWERS = ("items", "vlm", "evaluation")
"""Sections that say how questions are answered. An evaluation may take them from another space."""


@dataclass(frozen=True)
class Request:
    """One parsed space.

    Attributes:
        space: as its file describes it.
        text: the file.
        source: the file's name, for people.
        data: the space's section `data`, or what the command line named instead.
        answers: the space whose sections `items`, `vlm` and `evaluation` count: `space`, or another one.
        shared: what the runs of one folder share.
        collected: where the data is kept, if the run collected it. `data` then names this machine's copy.
        overrides: assignments `PATH=VALUE` of the command line that `space` has instead of what `text` says.
        exists: whether the run was created earlier. What would refuse a new run is only shown then.
        init: the hash of the weights that an existing run began with. None: it is new, or each trial has its seed's.
        kept: copies that an existing run has of selectors from elsewhere, by hash.
    """

    space: SearchSpace
    text: str
    source: str
    data: DataSettings
    answers: SearchSpace
    shared: SharedPaths
    collected: StoredPath | None = None
    overrides: tuple[str, ...] = ()
    exists: bool = False
    init: str | None = None
    kept: Mapping[str, Given] = field(default_factory=dict)

    @property
    def collects(self) -> bool:
        """Whether the data is measured with the model first."""
        return self.space.collect is not None and self.data.path is None

    @property
    def is_declared(self) -> bool:
        """Whether `answers` asks what `space` asks for, in whatever file it stands."""
        own, other = self.space, self.answers
        if own.vlm is None or other.vlm is None or other is own:
            return other is own
        devices = bool(own.vlm.workers.gpus), bool(other.vlm.workers.gpus)
        same = [(own.evaluation, other.evaluation), (own.items, other.items), (own.vlm.model, other.vlm.model), devices]
        return all(one == two for one, two in same) and answer_settings("", own.vlm) == answer_settings("", other.vlm)


def request_of_space(
    argument: str,
    shared: SharedPaths,
    data: Path | None = None,
    embeddings: Path | None = None,
    overrides: Sequence[str] = (),
) -> Request:
    """A request for a new run.

    Args:
        argument: a file, or the name of a shipped space.
        shared: what the runs of one folder share.
        data: instead of the space's `data.path`.
        embeddings: instead of the space's `data.embeddings`.
        overrides: assignments `PATH=VALUE` that count instead of what the file says.

    Raises:
        SpaceError: the space is wrong.
    """
    return request_of_text(*find_space(argument), shared, data, embeddings, overrides)


def request_of_text(
    text: str,
    source: str,
    shared: SharedPaths,
    data: Path | None = None,
    embeddings: Path | None = None,
    overrides: Sequence[str] = (),
) -> Request:
    """As `request_of_space`, from the text of a space. `source` is its name for people."""
    space = parse_space(text, source, overrides)
    check_named_files(space, text, source, () if data is None else ("data", "collect"), overrides)
    return Request(space, text, source, _data(space, data, embeddings), space, shared, overrides=tuple(overrides))


def request_of_run(
    paths: RunPaths,
    data: Path | None = None,
    embeddings: Path | None = None,
    answers: Path | None = None,
    scratch: Path | None = None,
    overrides: Sequence[str] = (),
    answers_overrides: Sequence[str] = (),
) -> Request:
    """The request that a run was started with.

    Args:
        paths: the run's.
        data: where the data is now, if it was moved. Its fingerprint tells whether it is the same.
        embeddings: where the embeddings are now.
        answers: a space file whose sections `items`, `vlm` and `evaluation` count instead of the run's.
        scratch: where demo items are made if there are none yet, for who only reads. None: beside the run.
        overrides: assignments `PATH=VALUE` on top of those that the run was started with.
        answers_overrides: assignments below `items`, `vlm` and `evaluation`, for `answers` or for the run's own.

    Raises:
        RunError: the folder is not a run's.
        SpaceError: the file of `answers` is wrong, or has no section `evaluation`.
    """
    from sweep.trials.given import all_kept  # with torch, which a space needs not

    record = read_record(paths)
    text, source = _space_text(paths), paths.space_file.shown
    own = merged(record.overrides, overrides)
    space = _with_its_metric(parse_space(text, source, own), record, paths)
    collected = None
    if data is None and record.data is not None:
        kept = data_at(paths, record.data)
        collected = kept if isinstance(kept, StoredPath) else None
        if paths.bundled_data is None:  # what is bundled holds its own
            embeddings = embeddings or record.embeddings
        data = kept if isinstance(kept, Path) else kept.local()
    for assignment in answers_overrides:
        if parse_override(assignment).path[0] not in ANSWERS:
            raise SpaceError(f"--set {assignment}: an evaluation takes {', '.join(ANSWERS)} alone; leave it out")
    other = space if answers is None else _other_space(str(answers), answers_overrides)
    if answers is None and answers_overrides:
        other = parse_space(text, source, merged(own, answers_overrides))
    if answers is not None and other.evaluation is None:
        raise SpaceError(f"{answers}: has no section evaluation; name a space that has one, with --space FILE")
    shared = paths.shared_with(scratch)
    settings = _data(space, data, embeddings)
    return Request(
        space,
        text,
        source,
        settings,
        other,
        shared,
        collected,
        own,
        exists=True,
        init=record.init_from,
        kept=all_kept(paths),
    )


def _with_its_metric(space: SearchSpace, record: RunRecord, paths: RunPaths) -> SearchSpace:
    """The space with the validation metric that the run began with, where its file leaves it to the default.

    Another version may have another default, and all trials of a run are compared by one metric.
    """
    if "metric" in space.validation.model_fields_set:
        return space
    began = record.space.get("validation")
    name = began.get("metric") if isinstance(began, dict) else None
    if name not in set(ValidationMetric):
        raise RunError(f"{paths.run_file}: space.validation.metric is {name!r}: damaged, or of another version")
    return space.replace(validation=space.validation.replace(metric=ValidationMetric(name)))


def _data(space: SearchSpace, data: Path | None, embeddings: Path | None) -> DataSettings:
    """The space's section `data` with other files; None keeps its own."""
    if data is None and embeddings is None:
        return space.data
    if data is None and space.data.path is None:
        raise SpaceError(f"--embeddings {embeddings}: name the data as well, with --data")
    return DataSettings.model_validate({**dict(space.data), "path": data or space.data.path, "embeddings": embeddings})


def _other_space(argument: str, overrides: Sequence[str]) -> SearchSpace:
    text, source = find_space(argument)
    space = parse_space(text, source, overrides)
    check_named_files(space, text, source, skipped=("data", "collect"), overrides=overrides)
    return space


def _space_text(paths: RunPaths) -> str:
    try:
        return paths.space_file.read_text()
    except OSError as error:
        raise RunError(f"{paths.space_file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise RunError(f"{paths.space_file}: not UTF-8 text (byte {error.start}): damaged") from None
