"""Lineage: which files the result rests on, by whom they were made, and how to check them."""

from __future__ import annotations

from sweep.errors import RunError
from sweep.results.best import Best, best_of
from sweep.results.overview.model import Column, Section, Table, Text, Value
from sweep.results.overview.sources import Sources
from sweep.results.seal import is_sealed
from sweep.trials.checkpoints import read_manifest

NAMES = (("sha256", "SHA-256 of its weights"), ("stage", "stage"), ("step", "epoch over both stages"), ("seed", "seed"))


def lineage_section(sources: Sources) -> Section:
    """The run, its best checkpoint, and the commands that check and export it."""
    record, space = sources.record, sources.space
    rows: list[tuple[Value, ...]] = [
        ("run", sources.paths.name),
        ("space", space.name + (f": {space.description}" if space.description else "")),
        ("set on the command line", ", ".join(name.partition("=")[0] for name in record.overrides) or "nothing"),
        ("data fingerprint", record.data_fingerprint or "the data is not collected yet"),
        ("val_loss is", f"{space.validation.metric}, fixed for all trials"),
        ("sampler, pruner", f"{space.sampler.type}, {space.pruner.type} (starts {space.pruning_starts})"),
        ("seed", str(space.seed)),
        *((f"version of {name}", version) for name, version in record.versions.items()),
        ("sealed", "yes: `verify` finds every change" if is_sealed(sources.paths) else "no"),
        *_answers(sources),
        *_checkpoint(sources),
    ]
    columns = Column("what", "what"), Column("value", "")
    commands = (
        f"Check every number again: python -m sweep verify {sources.paths.name}",
        f"Take the best selector home: python -m sweep export {sources.paths.name} --out DIR",
    )
    table = Table("lineage", "What the result rests on", columns, tuple(rows), open_rows=40)
    return Section("lineage", "Lineage", (table, Text(commands)))


def _answers(sources: Sources) -> list[tuple[Value, ...]]:
    evaluation = sources.evaluation
    if evaluation is None or evaluation.source is None:
        return []
    return [("answered by", evaluation.source.model), ("fingerprint of the items", evaluation.source.items)]


def _checkpoint(sources: Sources) -> list[tuple[Value, ...]]:
    best = _best(sources)
    if isinstance(best, str):
        return [("best checkpoint", best)]
    if best is None:
        return [("best checkpoint", "none: no trial is complete")]
    if best.folder is None:
        return [("best checkpoint", f"of trial {best.trial} ({best.chosen}), but {best.gone}")]
    manifest = read_manifest(best.folder)
    where = best.folder.path.relative_to(sources.paths.root.path).as_posix()
    found: list[tuple[Value, ...]] = [("best checkpoint", f"{where}: trial {best.trial}, {best.chosen}")]
    found += [(title, str(manifest[name])) for name, title in NAMES if name in manifest]
    warm_up = manifest.get("rce")
    if isinstance(warm_up, dict) and "digest" in warm_up:
        found.append(("warm-up that it started from", f"rce/{warm_up['digest']}"))
    return found


def _best(sources: Sources) -> Best | str | None:
    try:
        return best_of(sources.paths, sources.rows, sources.evaluation)
    except RunError as error:
        return str(error)
