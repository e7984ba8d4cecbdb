"""Weights & Biases: one of its runs per trial, in a group, and one for the sweep itself, which gets the results."""

from __future__ import annotations

import os
from typing import Any

from sweep.errors import RunError
from sweep.execution.events import TrialEnded, TrialStarted
from sweep.execution.loggers.follow import Ending, Followed
from sweep.settings.loggers import WandbSettings
from sweep.study import TrialState
from sweep.trials.messages import EpochResult

START_SECONDS = 30


class WandbLogger:
    """As `Service`."""

    name = "W&B"

    def __init__(self, settings: WandbSettings) -> None:
        """Raises RunError if nothing can be sent: no key, though the mode is online."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # faults of the library are nobody's business
        import wandb

        self._wandb = wandb
        self._settings = settings
        self._mode = settings.mode or os.environ.get("WANDB_MODE", "online")
        if self._mode == "online" and not _has_key():
            raise RunError(
                "W&B has no key: run `wandb login` once, set WANDB_API_KEY, or set loggers.wandb.mode to offline"
            )
        self._trials: dict[int, Any] = {}

    def begin(self, run: Followed) -> None:
        """Opens the sweep's own run, so that a wrong project or account shows at once."""
        self._run = run
        if run.scratch is not None:  # what an offline artifact is made of would lie in the user's home
            os.environ.setdefault("WANDB_DATA_DIR", str(run.scratch / "wandb"))
        self._sweep = self._open(run.name, run.identity, "sweep", {"space": run.settings, "folder": run.folder})

    def started(self, event: TrialStarted) -> None:
        """Its sampled parameters are the configuration."""
        name = f"trial-{event.number:04d}"
        config = {"trial": event.number, **event.params}
        self._trials[event.number] = self._open(name, f"{self._run.identity}-{event.number:04d}", "trial", config)

    def epoch(self, result: EpochResult) -> None:
        """All numbers of the report. W&B takes a step once, so an epoch that is reported again changes nothing."""
        self._trials[result.number].log(result.report.numbers(), step=result.report.step)

    def ended(self, event: TrialEnded) -> None:
        """The epoch that stands for it, beside the curves."""
        run, trial = self._trials.pop(event.number, None), event.trial
        if run is None:  # it failed before it was handed out
            return
        best, step = trial.reached
        summary = {"state": trial.state_name, "verdicts": " ".join(trial.verdicts), "reason": trial.reason}
        run.summary.update({**summary, "best_val_loss": best, "best_epoch": step})
        run.finish(exit_code=int(trial.state is TrialState.FAIL))

    def end(self, ending: Ending) -> None:
        """The tables and the report become an artifact of the sweep's run."""
        for run in self._trials.values():
            run.finish(exit_code=1)
        self._trials.clear()
        self._sweep.summary.update({"state": ending.state, "verdict": ending.verdict})
        if ending.files:
            artifact = self._wandb.Artifact(f"{self._run.name}-results", "results")
            for name, file in ending.files.items():
                artifact.add_file(str(file), name=name)
            self._sweep.log_artifact(artifact)
        self._sweep.finish(exit_code=int(ending.state != "finished"))

    def _open(self, name: str, identity: str, kind: str, config: dict[str, Any]) -> Any:  # noqa: ANN401 (wandb.Run)
        return self._wandb.init(
            project=self._settings.project,
            entity=self._settings.entity,
            group=self._run.name,
            job_type=kind,
            name=name,
            id=identity,
            resume="allow",
            config=config,
            reinit="create_new",
            settings=self._wandb.Settings(
                mode=self._mode,
                root_dir=str(self._run.scratch or "."),
                init_timeout=START_SECONDS,
                silent=True,
                console="off",
                disable_code=True,
                disable_git=True,
                x_disable_stats=True,
                x_disable_machine_info=True,
            ),
        )


def _has_key() -> bool:
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        return bool(wandb.login(prompt=False))
    except wandb.errors.UsageError:
        return False
