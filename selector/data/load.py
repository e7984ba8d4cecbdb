"""The one entrance for training data: settings in, a checked `Dataset` out."""

from __future__ import annotations

from pathlib import Path

from selector.arrays import Int64Array
from selector.data.checks import check_dataset
from selector.data.dataset import Dataset
from selector.data.embeddings import SUFFIXES, load_embeddings
from selector.data.json_text import check_file
from selector.data.lever_plus import looks_like_training_data, read_lever_plus
from selector.data.native import is_native, read_native
from selector.data.place import Place, file_label
from selector.data.settings import DataSettings, SplitBy
from selector.data.synthetic import demo_dataset
from selector.errors import DataError
from selector.files import is_leftover, lfs_problem

RL_FILE = "rl_data.json"
EMBEDDINGS_STEM = "embeddings"


def load(settings: DataSettings, images: Int64Array | None = None) -> Dataset:
    """Read and check the data that the settings name, and divide its queries.

    Args:
        settings: what to read.
        images: int64 [items], the image of every item. Needed where queries are divided by image.

    Returns:
        A data set that passed every check. `counts` says what was left out or noticed. Data in native form keeps the
        split it was stored with. `settings.split` and `settings.keep_fallback` had their say when it was imported.

    Raises:
        DataError: the files are missing, ambiguous, damaged or hold values that cannot be trained on.
    """
    by_image = settings.split_by is SplitBy.IMAGE
    if by_image and images is None:
        raise DataError("data.split_by is image, but no images are known: give the section items, or use query")
    if by_image and (settings.path is None or is_native(settings.path)):
        raise DataError("data.split_by is image, but this data has its split already: leave it out")
    if settings.path is None:
        dataset = demo_dataset(settings.demo, settings.split)
        check_dataset(dataset, "demo data")
        return dataset
    if settings.path.is_dir():
        if is_native(settings.path) or _only_manifest(settings.path):
            if settings.embeddings is not None:
                raise Place(file_label(settings.path)).error(
                    "data in native form holds its own embeddings; leave out the setting", "embeddings"
                )
            return read_native(settings.path)
        data_file = find_training_file(settings.path)
    else:
        data_file = settings.path
    check_file(data_file)
    embeddings_file = settings.embeddings or find_embeddings(data_file.parent)
    embeddings = load_embeddings(embeddings_file)
    return read_lever_plus(
        data_file,
        embeddings,
        embeddings_file,
        settings.split,
        keep_fallback=settings.keep_fallback,
        images=images if by_image else None,
    )


def find_training_file(folder: Path) -> Path:
    """The JSON file of training data in a folder: `rl_data.json`, or the only one that looks like it."""
    if (folder / RL_FILE).exists():
        return folder / RL_FILE
    place = Place(file_label(folder))
    files = _json_files(folder)
    if len(files) == 1:
        return files[0]
    fitting = [path for path in files if looks_like_training_data(path)]
    if len(fitting) == 1:
        return fitting[0]
    pointer = next((path for path in files if not fitting and lfs_problem(path)), None)
    if pointer is not None:
        check_file(pointer)  # says so
    if not fitting:
        raise place.error(f"the folder holds neither {RL_FILE}, nor one other JSON file of RL data, nor native tables")
    raise place.error(f"the folder holds several JSON files of RL data ({_listed(fitting)}); name the file instead")


def find_embeddings(folder: Path) -> Path:
    """The only `embeddings.*` file of a folder."""
    place = Place(file_label(folder))
    files = [path for suffix in SUFFIXES if (path := folder / (EMBEDDINGS_STEM + suffix)).exists()]
    if not files:
        names = ", ".join(EMBEDDINGS_STEM + suffix for suffix in SUFFIXES)
        raise place.error(f"the folder holds none of {names}; name the file with the setting embeddings")
    if len(files) > 1:
        raise place.error(f"the folder holds {_listed(files)}; name one with the setting embeddings")
    return files[0]


def _only_manifest(folder: Path) -> bool:
    return [path.name for path in _json_files(folder)] == ["manifest.json"]


def _json_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if not is_leftover(path.name))


def _listed(paths: list[Path]) -> str:
    return ", ".join(ascii(path.name)[1:-1] for path in paths)
