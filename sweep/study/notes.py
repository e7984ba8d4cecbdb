"""What optuna-dashboard shows people of a study and its trials. Written for them alone: nothing here is read again.

The names and the pieces are those of optuna-dashboard 0.21 (`optuna_dashboard/_note.py`), no dependency. Unlike
there, the version is written last, so a new note is whole or not there. A note that somebody wrote stays.
"""

from __future__ import annotations

from sweep.space.search_space import SearchSpace
from sweep.study.kept import KeptStorage
from sweep.study.summaries import TrialSummary

PIECE = 2045
"""Letters of one attribute, which a database may hold."""


def study_note(space: SearchSpace) -> str:
    """What the study is, and what its attributes are, in Markdown."""
    lines = [
        f"Sweep {_plain(space.name)}",
        _plain(space.description),
        f"The objective `val_loss` is the validation metric `{space.validation.metric}`. Lower is better, and only "
        "complete trials are ranked.",
        "The note of a trial says how it ended. Its attributes `plan`, `trial` and `standing` hold the same for the "
        "program.",
    ]
    return "\n\n".join(filter(None, lines))


def trial_note(trial: TrialSummary) -> str:
    """How a trial ended, in Markdown: its best value with the epoch of that value, verdicts, and why it stopped."""
    standing, lines = trial.standing, []
    if standing.best_loss is not None and standing.best_step is not None:
        of = f" of {trial.last_step}" if trial.last_step else ""
        lines.append(f"**Best val_loss {standing.best_loss:.4f} at epoch {standing.best_step}{of}**")
    elif trial.last_step:
        lines.append(f"Ended after epoch {trial.last_step}, and no epoch competes.")
    if standing.agreement is not None:
        lines.append(f"Selects the same as its reference for {standing.agreement:.0%} of the validation queries.")
    lines.append(f"Verdicts: {', '.join(trial.verdicts) or 'none'}.")
    if trial.reason:
        lines.append(f"{trial.state_name.capitalize()}: {_plain(trial.reason)}")
    if trial.configuration is not None:
        lines.append(f"Configuration {trial.configuration}, repeat {trial.repeat}, seed {trial.seed}.")
    return "\n\n".join(lines)


def save_note(storage: KeptStorage, trial_id: int | None, body: str) -> None:
    """Store a note, unless there is one already: a person may have written it.

    Args:
        storage: of the study.
        trial_id: Optuna's. None: the note is the study's.
        body: Markdown, not empty.
    """
    if not storage.has_study_system_attr(f"{_owner(trial_id)}note_ver"):
        _write(storage, _owner(trial_id), body, 1)


def extend_study_note(storage: KeptStorage, first: str, more: str) -> None:
    """Put something below the study's note, in the place of what was below it before.

    Args:
        storage: of the study.
        first: how our own note begins. One that begins otherwise was written by a person, and stays.
        more: Markdown.
    """
    attributes, owner = storage.get_study_system_attrs(storage.study_id), _owner(None)
    pieces = sum(key.startswith(f"{owner}note_str:") for key in attributes)
    before = "".join(attributes[f"{owner}note_str:{place}"] for place in range(pieces))
    body = f"{first}\n\n{more}"
    if before.startswith(first) and before != body:
        _write(storage, owner, body, int(attributes[f"{owner}note_ver"]) + 1, pieces)


def _owner(trial_id: int | None) -> str:
    return "dashboard:" if trial_id is None else f"dashboard:{trial_id}:"


def _write(storage: KeptStorage, owner: str, body: str, version: int, pieces: int = 0) -> None:
    """`pieces`: that the note had so far. Those that it needs no more become empty."""
    with storage.transaction():
        for place in range(max(pieces, -(-len(body) // PIECE))):
            piece = body[place * PIECE : (place + 1) * PIECE]
            storage.set_study_system_attr(storage.study_id, f"{owner}note_str:{place}", piece)
        storage.set_study_system_attr(storage.study_id, f"{owner}note_ver", version)


def _plain(text: str) -> str:
    """Text of others as one piece of code, in which Markdown has no meaning."""
    words = " ".join(text.replace("`", "'").split())
    return f"`{words}`" if words else ""
