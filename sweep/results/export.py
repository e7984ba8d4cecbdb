"""Taking results home. Works on a run folder, or on a selector from elsewhere; needs no Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from selector.errors import HubError
from selector.lever_plus import write_selector
from selector.model import CONFIG_FILE, WEIGHTS_FILE, PointerSelector
from selector.program import write_program
from sweep.errors import RunError
from sweep.evaluation.records import Evaluation, read_evaluation
from sweep.results.best import best_epoch, best_of
from sweep.results.card import Card, CardOptions, unnamed
from sweep.results.card_text import SHOTS, card_text
from sweep.results.evaluations import main_evaluation
from sweep.results.run_verdict import verdict_of_run
from sweep.results.trained import HISTORY
from sweep.results.unaltered import check_stored_epoch, check_unaltered
from sweep.runs.paths import RunPaths, TrialPaths
from sweep.runs.record import read_record
from sweep.storage.hashes import file_hash
from sweep.storage.local import stored_at
from sweep.storage.path import StoredPath, json_text
from sweep.study import read_summaries
from sweep.study.ranking import rank
from sweep.trials.checkpoints import FORMAT, MANIFEST_FILE, read_manifest
from sweep.trials.given import Given
from sweep.trials.stored import best_epochs, step_of

CARD_FILE, EVALUATION_FILE = "README.md", "evaluation.json"


class Format(StrEnum):
    """What an export holds beside its own files."""

    SAFETENSORS = "safetensors"  # nothing: every export holds these
    TORCH_EXPORT = "torch-export"
    LEVER_PLUS = "lever-plus"
    LEVER_PLUS_V2 = "lever-plus-v2"

    @property
    def file(self) -> str:
        """Its name."""
        return _FILES[self]


_FILES = {
    Format.SAFETENSORS: WEIGHTS_FILE,
    Format.TORCH_EXPORT: "selector.pt2",
    Format.LEVER_PLUS: "selector.pt",
    Format.LEVER_PLUS_V2: "selector.ckpt",
}


@dataclass(frozen=True)
class ExportOptions:
    """How an export is made.

    Attributes:
        formats: what it holds besides.
        shots: picks of an exported program. None: as many as the evaluation shows, or 4.
        card: what the card says that no run knows.
    """

    formats: Sequence[Format] = ()
    shots: int | None = None
    card: CardOptions = field(default_factory=CardOptions)


PLACES = ("path", "embeddings")
"""Of the section `data`: where the files were, which is nobody else's business."""


@dataclass(frozen=True)
class Exported:
    """What was written where, and by which metric it is the best.

    `trial` is None for a selector from elsewhere. `unnamed` is what the card could name and does not.
    """

    folder: Path
    trial: int | None
    manifest: dict[str, Any]
    chosen: str
    verdict: str

    unnamed: Sequence[str] = ()

    @property
    def sentence(self) -> str:
        """For the screen."""
        lacking = " and ".join(self.unnamed)
        hint = f"\nthe card names no {lacking}: --license, --base-model and --dataset do" if lacking else ""
        return self._what + hint

    @property
    def _what(self) -> str:
        if self.trial is None:
            return f"{self.chosen} -> {self.folder}"
        metrics = self.manifest["metrics"]
        return (
            f"trial {self.trial} ({self.chosen}), epoch {self.manifest['step']}, val_loss {metrics['val_loss']:.4f} "
            f"-> {self.folder}\nverdict: {self.verdict}"
        )


def export(
    paths: RunPaths, trial: str, out: Path, epoch: int | None = None, options: ExportOptions | None = None
) -> Exported:
    """Write the best selector, or a trial's best epoch by val_loss: `model.safetensors`, `config.json`,
    `manifest.json`, `evaluation.json` where the run was evaluated, and the model card `README.md`. Best by answers
    where the run was evaluated, else by val_loss.

    Args:
        paths: of the run.
        trial: `best`, or a number.
        out: a folder that does not exist or is empty.
        epoch: another stored epoch of the trial, counted over both stages.
        options: other forms, and words of the card.

    Raises:
        RunError: no such trial or epoch, nothing complete yet, something that the choice rests on was changed, or
            `out` is taken.
        CheckpointError: the stored checkpoint is damaged.
        SettingsError: another form cannot carry this selector.
    """
    check_unaltered(paths)
    number, source, chosen = _choose(paths, trial, epoch)
    check_stored_epoch(paths, source)
    verdict = _verdict(paths, number)
    record = read_record(paths)
    data = {key: value for key, value in record.space.get("data", {}).items() if key not in PLACES}
    manifest = {**read_manifest(source), "chosen": chosen, "verdict": verdict, "data": data}
    place = main_evaluation(paths)
    evaluation = None if place is None else read_evaluation(place.file)
    copy = source.local()
    model = PointerSelector.from_pretrained(copy)
    card = Card(model.config, manifest, evaluation, record)
    files = {name: (copy / name).read_bytes() for name in (WEIGHTS_FILE, CONFIG_FILE)}
    files[HISTORY] = TrialPaths(source.parent.parent).history_file.read_bytes()
    options = options or ExportOptions()
    written = _write(out, model, card, files, options)
    return Exported(out, number, written, chosen, verdict, unnamed(card, options.card))


def export_given(given: Given, out: Path, options: ExportOptions | None = None) -> Exported:
    """Write a selector from elsewhere in the same forms. What nobody knows of it, its card does not say.

    Raises as `export`.
    """
    lineage = {key: value for key, value in (given.lineage or {}).items() if key != "formats"}
    manifest = lineage or {
        "format": FORMAT,
        "kind": "given",
        "file": WEIGHTS_FILE,
        "sha256": given.sha256,
        "source": {"name": given.name, "sha256": given.source},
    }
    chosen = f"the selector of {given.name}"
    verdict = str(manifest.get("verdict", "none: nothing is known of a comparison"))
    card = Card(given.model.config, {**manifest, "chosen": chosen, "verdict": verdict}, None, None)
    options = options or ExportOptions()
    written = _write(out, given.model, card, {}, options)
    return Exported(out, None, written, chosen, verdict, unnamed(card, options.card))


def names_a_path(trial: str) -> bool:
    """Whether `--trial` names a file or folder rather than a trial of a run."""
    return trial != "best" and not trial.isdecimal() and ("/" in trial or Path(trial).exists() or "." in trial)


def pushed(exported: Exported, repo_id: str) -> str:
    """Upload an export with all its files. Returns the commit's address.

    Raises:
        HubError: the hub cannot be reached, or refuses. The folder stays.
    """
    from selector.hub import push_folder

    try:
        return push_folder(exported.folder, repo_id, f"Demonstration selector: {exported.chosen}")
    except HubError as error:
        raise HubError(f"{error}; the export is in {exported.folder}") from error


def chosen_checkpoint(paths: RunPaths, trial: str) -> tuple[int, StoredPath, str]:
    """Number and stored checkpoint of the trial that `export` would take, and by what it is chosen. Raises as it."""
    return _choose(paths, trial, None)


def _write(
    out: Path, model: PointerSelector, card: Card, files: dict[str, bytes], options: ExportOptions
) -> dict[str, Any]:
    """The folder, whole or not at all. Files of the selector are copied where they exist. Returns the manifest."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} exists and is not an empty folder: name another --out")
    formats = [one for one in dict.fromkeys(options.formats) if one is not Format.SAFETENSORS]
    others: dict[str, str] = {}
    manifest = card.manifest
    if out.is_dir():
        out.rmdir()
    with stored_at(out).new_folder() as folder:
        if not files:
            model.save_pretrained(folder)
            manifest = {**manifest, "files": {CONFIG_FILE: file_hash(folder / CONFIG_FILE)}}
        for name, content in files.items():
            (folder / name).write_bytes(content)
        for one in formats:
            _write_form(model, one, folder / one.file, _shots(card.evaluation, options), manifest)
            others[one.file] = file_hash(folder / one.file)
        if card.evaluation is not None:
            (folder / EVALUATION_FILE).write_text(json_text(card.evaluation.model_dump(mode="json")), encoding="utf-8")
        text = card_text(card, options.card, [one.value for one in formats], out.name)
        (folder / CARD_FILE).write_text(text, encoding="utf-8")
        manifest = {**manifest, **({"formats": others} if others else {})}
        (folder / MANIFEST_FILE).write_text(json_text(manifest), encoding="utf-8")
    return manifest


def _write_form(model: PointerSelector, form: Format, file: Path, shots: int, manifest: dict[str, Any]) -> None:
    """One form besides. A program is compared with the selector before it is stored."""
    if form is Format.TORCH_EXPORT:
        write_program(model, file, shots)
    else:
        write_selector(model, file, epoch=manifest.get("step") or 0, phase=str(manifest.get("stage") or "grpo"))


def _shots(evaluation: Evaluation | None, options: ExportOptions) -> int:
    return options.shots or (SHOTS if evaluation is None else evaluation.shots[-1])


def _choose(paths: RunPaths, trial: str, epoch: int | None) -> tuple[int, StoredPath, str]:
    """Number, checkpoint folder, and by what it was chosen."""
    number, folder, chosen = _choose_trial(paths, trial)
    if epoch is None or epoch == step_of(folder):
        return number, folder, chosen
    stored = {step_of(one): one for one in best_epochs(paths, number)}
    if epoch not in stored:
        raise RunError(
            f"run {paths.name}: epoch {epoch} of trial {number} is not stored; stored are "
            f"{', '.join(map(str, sorted(stored)))}"
        )
    return number, stored[epoch], f"{chosen}, and epoch {epoch} by number"


def _choose_trial(paths: RunPaths, trial: str) -> tuple[int, StoredPath, str]:
    record = read_record(paths)
    ranked = rank(read_summaries(record.storage_url(paths), record.study))
    if trial == "best":
        place = main_evaluation(paths)
        best = best_of(paths, ranked, None if place is None else read_evaluation(place.file))
        if best is None:
            raise RunError(f"run {paths.name} has no complete trial yet; name one with --trial to take it as it is")
        if best.folder is None:
            raise RunError(
                f"run {paths.name}: {best.gone}; restore it, or take another trial with --trial (`python -m sweep "
                f"status {paths.shown}` lists them)"
            )
        return best.trial, best.folder, best.chosen
    rows = {str(row.number): row for row in ranked}
    if trial not in rows:
        span = f"0 to {len(rows) - 1}" if rows else "none"
        raise RunError(
            f"run {paths.name} has no trial {trial!r}: it has {span}; or say --trial best, or name a folder or file"
        )
    return int(trial), best_epoch(paths, rows[trial]), "chosen by number"


def _verdict(paths: RunPaths, trial: int) -> str:
    """The run's verdict in a sentence, and whether it is about this trial."""
    verdict = verdict_of_run(paths)
    if verdict is None:
        return "none: the run has not ended, or a version without verdicts ended it"
    other = f" (this is trial {trial})" if verdict.trial not in (None, trial) else ""
    return f"{verdict.sentence}{other}"
