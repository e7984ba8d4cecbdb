"""From a search space to a job on a cluster. Everything that can be known before is checked and said first."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sweep.driver.create import check_name
from sweep.errors import ClusterError, RunError
from sweep.execution.ray.jobs import JobServer
from sweep.space import SearchSpace, find_space, parse_space
from sweep.storage.location import Location, is_uri
from sweep.submission.command import HOME_RUNS, entry_point, run_words
from sweep.submission.contents import Contents, Named, contents_of
from sweep.submission.jobs import FILES, PROGRAM, PYTHON, RUN, RUNS, SWEEP, check_free, new_name
from sweep.submission.needs import lacking_on, too_old
from sweep.submission.package import Files, files_at, installed_code, pack, size_of, working_tree
from sweep.submission.surroundings import Surroundings
from sweep.terminal.sizes import size_text

START_SECONDS = 30
"""A dashboard may answer so long before the first node has joined."""


@dataclass(frozen=True)
class RunOptions:
    """What of the options of `run` is decided here, and the rest as it was written.

    Attributes:
        name: the run's. None: one that is made up.
        runs: the folder of runs as the cluster sees it.
        paths: what `--data` and `--embeddings` name, by option.
        replaced: sections of the space whose files do not count then.
        overrides: of `--set` and `--log`.
        words: all other words.
    """

    name: str | None = None
    runs: str = HOME_RUNS
    paths: tuple[Named, ...] = ()
    replaced: Collection[str] = ()
    overrides: Sequence[str] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Submission:
    """A job before it is handed in.

    Attributes:
        run: its name.
        runs: the folder of runs as the cluster sees it.
        space_file: name of the space in the archive.
        code: whose code travels. None: what the image has.
    """

    run: str
    runs: str
    space: SearchSpace
    text: str
    space_file: str
    contents: Contents
    surroundings: Surroundings
    code: Path | str | None
    files: Files
    words: tuple[str, ...]

    def entry_point(self, columns: int = 0) -> str:
        """The command on the cluster. `columns`: width of what it says; 0: as the program likes."""
        words = run_words(self.space_file, self.run, self.runs, self.words)
        texts = {} if self.files else {self.space_file: self.text}
        return entry_point(self.surroundings.python, words, texts, columns)

    def lines(self) -> Iterator[tuple[str, str]]:
        """What travels and what must be there: for people, before it is handed in."""
        if self.code is None:
            yield "travels", f"{self.space_file}; program and packages are those of image {self.surroundings.image}"
        else:
            yield "travels", f"{self.space_file}, and the code of {self.code} ({size_text(size_of(self.files))} in all)"
            for one in self.contents.travelling:
                yield "", f"{one.name} ({one.by}, {size_text(size_of(files_at(Path(one.name))))})"
        for one in self.contents.there:
            yield "on nodes", f"{one.name} ({one.by}): every node must see it under this path"
        for one in self.contents.fetched:
            yield "hub", f"{one.name} ({one.by}): each node fetches it, or has it in its cache"
        if self.surroundings.pip:
            yield "pip", f"{len(self.surroundings.pip)} requirements, which each node installs first"
        elif self.code is not None:
            yield "packages", "those of the cluster; --pip same installs the versions of this machine"
        where = "storage that all nodes reach" if is_uri(self.runs) else "a folder of the head; on all nodes if shared"
        yield "runs", f"{self.runs} ({where})"


def prepare(
    argument: str, options: RunOptions, surroundings: Surroundings, working_dir: Path | None = None
) -> Submission:
    """Read the space and what it names.

    Args:
        argument: a file, or the name of a shipped space.
        options: of `run`.
        surroundings: what the job runs in.
        working_dir: a source tree whose code travels. None: the code that runs here.

    Raises:
        SpaceError: the space is wrong, or names what cannot travel.
        RunError: an option is wrong.
    """
    _check_runs(options.runs)
    text, source = find_space(argument)
    space = parse_space(text, source, options.overrides)
    run = options.name or f"{space.name[:57]}-{secrets.token_hex(3)}"
    check_name(run)
    contents = contents_of(space, options.paths, options.replaced)
    name = Path(source).name
    space_file = name if name.endswith((".yaml", ".yml")) and not name.startswith("-") else "space.yaml"
    code: Path | str | None = working_dir or "this installation"
    files: dict[str, Path | str] = {}
    if surroundings.image is not None:
        code = None
        if contents.travelling or working_dir is not None:
            what = "--working-dir" if working_dir is not None else repr(contents.travelling[0].name)
            raise RunError(f"--image: {what} cannot travel into an image; name what is in it by absolute paths")
    else:
        files = installed_code() if working_dir is None else working_tree(working_dir)
        for one in contents.travelling:
            files |= files_at(Path(one.name))
        files[space_file] = text
    return Submission(run, options.runs, space, text, space_file, contents, surroundings, code, files, options.words)


def check_cluster(server: JobServer, submission: Submission, sleep: Callable[[float], None] = time.sleep) -> None:
    """Raise ClusterError, before anything is handed in, for all that the cluster cannot give, as far as it shows."""
    if problem := too_old(server.ray_version()):
        raise ClusterError(f"{server.url}: {problem}")
    check_free(server, submission.run)
    for _ in range(START_SECONDS):
        if server.nodes():
            break
        sleep(1)  # a head that has just been started
    if lacks := list(lacking_on(submission.space, server.nodes())):
        raise ClusterError("\n".join(lacks))


def hand_in(server: JobServer, submission: Submission, columns: int = 0) -> str:
    """Upload what travels and start the job. Returns its name. `columns` as for `Submission.entry_point`.

    Raises:
        RunError: more would travel than Ray takes.
        ClusterError: the cluster refuses.
    """
    name = new_name(submission.run)
    labels = {PROGRAM: SWEEP, RUN: submission.run, RUNS: submission.runs, PYTHON: submission.surroundings.python}
    if submission.contents.travelling:
        labels[FILES] = ", ".join(one.name for one in submission.contents.travelling)
    with TemporaryDirectory() as folder:
        archive = None
        if submission.files:
            archive = Path(folder) / "sweep.zip"
            pack(submission.files, archive)
        server.submit(name, submission.entry_point(columns), submission.surroundings.runtime(archive), labels)
    return name


def _check_runs(runs: str) -> None:
    if is_uri(runs):
        location = Location.of(runs)
        if location.shown != location.uri:
            raise RunError(
                f"--runs {location.shown}: everybody who sees the cluster's jobs would see the keys in it; give "
                "keys to the nodes, and leave them out here"
            )
    elif not runs.startswith(("/", "~/")):
        raise RunError(
            f"--runs {runs}: on the cluster it would begin at the job's own folder, which goes with the job; give an "
            f"absolute path, {HOME_RUNS}, or a URI such as s3://bucket/runs"
        )
