"""Taking results home. Works on a run folder; needs no Ray."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selector.model import CONFIG_FILE, WEIGHTS_FILE
from sweep.errors import RunError
from sweep.evaluation.records import read_evaluation
from sweep.results.best import best_epoch, best_of
from sweep.results.evaluations import main_evaluation
from sweep.results.run_verdict import verdict_of_run
from sweep.results.trained import HISTORY
from sweep.results.unaltered import check_stored_epoch, check_unaltered
from sweep.runs.paths import RunPaths, TrialPaths
from sweep.runs.record import read_record
from sweep.storage.local import stored_at
from sweep.storage.path import StoredPath, json_text
from sweep.study import read_summaries
from sweep.study.ranking import rank
from sweep.trials.checkpoints import MANIFEST_FILE, read_manifest

PLACES = ("path", "embeddings")
"""Of the section `data`: where the files were, which is nobody else's business."""


@dataclass(frozen=True)
class Exported:
    """What was written where, and by which metric it is the best."""

    folder: Path
    trial: int
    manifest: dict[str, Any]
    chosen: str
    verdict: str

    @property
    def sentence(self) -> str:
        """For the screen."""
        metrics = self.manifest["metrics"]
        return (
            f"trial {self.trial} ({self.chosen}), epoch {self.manifest['step']}, val_loss {metrics['val_loss']:.4f} "
            f"-> {self.folder}\nverdict: {self.verdict}"
        )


def export(paths: RunPaths, trial: str, out: Path) -> Exported:
    """Write the best selector, or a trial's best epoch by val_loss: `model.safetensors`, `config.json`,
    `manifest.json`, `README.md`. Best by answers where the run was evaluated, else by val_loss.

    Args:
        paths: of the run.
        trial: `best`, or a number.
        out: a folder that does not exist or is empty.

    Raises:
        RunError: no such trial, nothing complete yet, something that the choice rests on was changed, or `out` is
            taken.
        CheckpointError: the stored checkpoint is damaged.
    """
    check_unaltered(paths)
    number, source, chosen = _choose(paths, trial)
    check_stored_epoch(paths, source)
    verdict = _verdict(paths, number)
    data = {key: value for key, value in read_record(paths).space.get("data", {}).items() if key not in PLACES}
    manifest = {**read_manifest(source), "chosen": chosen, "verdict": verdict, "data": data}
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} exists and is not an empty folder: name another --out")
    if out.is_dir():
        out.rmdir()
    copy = source.local()
    with stored_at(out).new_folder() as folder:
        for name in (WEIGHTS_FILE, CONFIG_FILE):
            shutil.copyfile(copy / name, folder / name)
        (folder / HISTORY).write_bytes(TrialPaths(source.parent.parent).history_file.read_bytes())
        (folder / "README.md").write_text(_readme(manifest), encoding="utf-8")
        (folder / MANIFEST_FILE).write_text(json_text(manifest), encoding="utf-8")
    return Exported(out, number, manifest, chosen, verdict)


def chosen_checkpoint(paths: RunPaths, trial: str) -> tuple[int, StoredPath, str]:
    """Number and stored checkpoint of the trial that `export` would take, and by what it is chosen. Raises as it."""
    return _choose(paths, trial)


def _choose(paths: RunPaths, trial: str) -> tuple[int, StoredPath, str]:
    """Number, checkpoint folder, and by what it was chosen."""
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
        raise RunError(f"run {paths.name} has no trial {trial!r}: it has {span}; or say --trial best")
    return int(trial), best_epoch(paths, rows[trial]), "chosen by number"


def _verdict(paths: RunPaths, trial: int) -> str:
    """The run's verdict in a sentence, and whether it is about this trial."""
    verdict = verdict_of_run(paths)
    if verdict is None:
        return "none: the run has not ended, or a version without verdicts ended it"
    other = f" (this is trial {trial})" if verdict.trial not in (None, trial) else ""
    return f"{verdict.sentence}{other}"


def _readme(manifest: dict[str, Any]) -> str:
    metrics = manifest["metrics"]
    return f"""# Demonstration selector

Run `{manifest["run"]}`, trial {manifest["trial"]}, epoch {manifest["step"]} ({manifest["stage"]}).
Chosen as: {manifest["chosen"]}.
Verdict of the run: {manifest["verdict"]}.
Validation loss {metrics["val_loss"]:.4f}, expected validation reward {metrics["val_reward"]:.4f}.

```python
from selector import PointerSelector

picks = PointerSelector.from_pretrained("THIS FOLDER").select(query_emb, cand_emb, shots=2)
```

`query_emb` is [D] or [B, D], `cand_emb` [K, D] or [B, K, D], from the encoder that made the training embeddings.
`picks` are positions in the candidate axis, best first. It needs the package `selector` and torch.

`manifest.json` holds the lineage: all settings, seed, data fingerprint, RCE artifact, versions, and the SHA-256 of
`model.safetensors`.
"""


# Data -----------------------------------------------------------------------------------------------------------------
