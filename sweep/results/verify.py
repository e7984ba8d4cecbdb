"""What is stored in a run against what it was computed from, and against the run's seal. Needs neither Ray nor a GPU.

Everything that can be computed again is: the study's values from the histories, the manifests' from histories, settings
and weights, evaluations from answers, checkpoints and data, the ranking from all of them. The rest is hashed. Nothing
here stops at the first thing that differs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from selector.errors import UserError
from sweep.collect.digest import embeddings_hash
from sweep.embed.store import TABLE
from sweep.errors import RunError, StudyError
from sweep.evaluation.records import read_evaluation
from sweep.plan.plan import Plan
from sweep.results.differences import Fault, faults_of, known_fields, without_echoes
from sweep.results.evaluations import DECLARED, main_evaluation
from sweep.results.ranking import held_out_rows, ranking_document
from sweep.results.seal import SEAL, is_sealed, seal_faults
from sweep.results.verify_data import lineage_faults
from sweep.results.verify_evaluation import EvaluationCheck, VerifiedRow
from sweep.results.verify_study import STUDY, name_in, study_faults
from sweep.results.verify_trials import (
    Recomputed,
    WarmUps,
    Weights,
    checkpoints,
    folder_faults,
    manifest_faults,
    settings_faults,
    warm_up_faults,
)
from sweep.runs.paths import EvaluationPaths, RunPaths
from sweep.runs.record import RunRecord, read_record
from sweep.settings.evaluation import EvaluationSettings
from sweep.space.compare import identity
from sweep.storage.outage import is_outage
from sweep.study import TrialSummary, read_summaries
from sweep.study.ranking import rank
from sweep.study.records import Record, read_records
from sweep.trials.stored import stored_epochs

EVALUATIONS = "[!.]*/evaluation.json"
"""Of all evaluations of a run, below the folder that holds them."""
WORDS = re.compile(r"\b(sentence|correlation_note|conclusion|measure|(notes|details|next_steps)(\[\d+\])?)$")
"""Places of sentences. Another version says them otherwise, so what they are is the seal's matter."""
TOLERANCE = 1e-5
"""Of rewards and accuracies of the held-out table, which are added up in another order elsewhere."""


@dataclass
class Verification:
    """What was looked at, and what differs.

    Attributes:
        notes: what could not be checked, and why.
        epochs: validation losses that were computed again. None of them where only hashes are checked.
        rows: rows of the tables by answers.
    """

    trials: int = 0
    checkpoints: int = 0
    answers: int = 0
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    epochs: list[Recomputed] = field(default_factory=list)
    rows: list[VerifiedRow] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        """The end of the matter, in one sentence."""
        counts = [(self.trials, "trial"), (self.checkpoints, "checkpoint"), (self.answers, "answer")]
        looked = ", ".join(f"{count:,} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count)
        if not self.faults:
            return f"verified: {looked or 'no trial'}; nothing differs"
        count = "1 place" if len(self.faults) == 1 else f"{len(self.faults)} places"
        return f"differs: {count} ({looked or 'no trial'})"


def verify(paths: RunPaths, make_plan: Callable[[RunPaths], Plan] | None) -> Verification:
    """Check a run.

    Args:
        paths: the run's.
        make_plan: gives the run's plan with its data, and with the items of its evaluations if there are any. None:
            only what needs no data, which is the hashes, and that study, histories and manifests agree.

    Raises:
        UserError: there is no plan, and nothing differs that would say why.
    """
    found = Verification()
    record, records = _read(paths, found)
    faults = [*found.faults, *seal_faults(paths, record, records)]
    if not is_sealed(paths) and not any(fault.file == SEAL for fault in faults):
        why = "it is of version 0.1" if paths.ranking_file.exists() else "it has not ended"
        found.notes.append(f"the run has no seal, since {why}: what cannot be computed again is not checked")
    for folder in checkpoints(paths):
        found.checkpoints += 1
        faults += folder_faults(paths, folder)
    if records is not None and record is not None:
        found.trials = len(records)
        faults += [*study_faults(paths, records), *_manifests(paths, record)]
        if make_plan is not None and (plan := _plan(make_plan, paths, faults, found)) is not None:
            faults += _recomputed(paths, plan, record, records, found)
    changed = {fault.file for fault in faults if fault.source == SEAL}
    found.faults = [
        fault for fault in without_echoes(faults, SEAL) if fault.file in changed or not WORDS.search(fault.where)
    ]
    return found


def _plan(
    make_plan: Callable[[RunPaths], Plan], paths: RunPaths, faults: Sequence[Fault], found: Verification
) -> Plan | None:
    """The plan. None where what differs may be why there is none."""
    try:
        return make_plan(paths)
    except UserError as error:
        if not faults:
            raise
        found.notes.append(f"nothing was computed again: {error}")
        return None


def _read(paths: RunPaths, found: Verification) -> tuple[RunRecord | None, list[Record] | None]:
    """The run's record and its study's, as far as they can be read."""
    record = None
    try:
        record = read_record(paths)
        return record, read_records(record.storage_url(paths), record.study)
    except StudyError as error:
        hint = (
            f"; `python -m sweep resume {paths.shown} --rebuild-study` builds it again"
            if paths.trials_folder.glob("*/study.json")
            else ""
        )
        found.faults.append(Fault(STUDY, "", f"not readable ({error}){hint}"))
    except RunError as error:
        found.faults.append(Fault("run.json", "", f"not readable ({str(error).rpartition('run.json: ')[2]})"))
    return record, None


def _manifests(paths: RunPaths, record: RunRecord) -> Iterator[Fault]:
    warm_ups = WarmUps(paths)
    for trials in (paths.trials_folder, paths.finalists_folder):
        for folder in stored_epochs(trials):
            yield from manifest_faults(paths, folder, record, warm_ups)
    yield from warm_up_faults(paths)


def _recomputed(
    paths: RunPaths, plan: Plan, record: RunRecord, records: Sequence[Record], found: Verification
) -> Iterator[Fault]:
    """All that needs the space or the data."""
    space = json.loads(json.dumps(identity(plan.space)))
    known = {key: value for key, value in record.space.items() if key in space}
    right = known_fields(known, space)
    yield from faults_of("run.json", known, right, where="space", source="space.yaml", derived=True)
    yield from settings_faults(paths, plan, records)
    name, found_data = str(plan.data.path or "demo data"), plan.summary.fingerprint
    other = faults_of(name, found_data, record.data_fingerprint, where="data_fingerprint", source="run.json")
    if other:
        found.notes.append("nothing was computed again from data that is not the run's")
        yield from other
        return
    yield from lineage_faults(plan.data.path, plan.dataset)
    yield from _embeddings(plan, record)
    weights = Weights(paths, plan)
    yield from weights.faults()
    found.epochs = weights.recomputed
    ranked = rank(read_summaries(record.storage_url(paths), record.study))
    for place in [EvaluationPaths(file.parent) for file in paths.evaluations_folder.glob(EVALUATIONS)]:
        check = EvaluationCheck(paths, place, plan, ranked, _declared(paths, place, plan, record))
        yield from check.faults
        found.answers += check.answers
        found.rows += check.rows
    yield from _ranking(paths, plan, ranked)


def _embeddings(plan: Plan, record: RunRecord) -> Iterator[Fault]:
    """Whether the data holds the embeddings that the run says it made."""
    if record.embed is None:
        return
    hashes = record.embed.get("hashes")
    stored = hashes.get(TABLE) if isinstance(hashes, dict) else None
    found = embeddings_hash(plan.dataset.embeddings)
    yield from faults_of("run.json", stored, found, where=f"embed.hashes.{TABLE}", source=str(plan.data.path))


def _declared(paths: RunPaths, place: EvaluationPaths, plan: Plan, record: RunRecord) -> EvaluationSettings | None:
    """The settings of the evaluation that the space declares, as long as the space is what it was at the start.

    In a run of version 0.1 another space may have taken the place of this one.
    """
    own = plan.space.evaluation
    if place.name != DECLARED or own is None or not is_sealed(paths):
        return None
    return own if own.model_dump(mode="json") == record.space.get("evaluation") else None


def _ranking(paths: RunPaths, plan: Plan, ranked: Sequence[TrialSummary]) -> Iterator[Fault]:
    """The ranking, made again by what made it."""
    name = name_in(paths, paths.ranking_file)
    try:
        stored = json.loads(paths.ranking_file.read_bytes())
    except FileNotFoundError:  # the run has not ended, or the seal says so
        return
    except (OSError, ValueError, RecursionError) as error:
        if is_outage(error):
            raise
        yield Fault(name, "", f"not readable ({error})")
        return
    try:
        place = main_evaluation(paths)
        if place is None and isinstance(stored, dict) and stored.get("winner_by_answers") is not None:
            gone = name_in(paths, paths.evaluation(DECLARED).file)
            yield Fault(gone, "", "missing", f"what {name} rests on")
            return
        evaluation = None if place is None else read_evaluation(place.file)
        any_complete = any(row.is_complete for row in ranked)
        held_out = held_out_rows(plan, paths, ranked) if evaluation is None and any_complete else []
    except UserError:  # said by the check of the evaluation
        return
    right = known_fields(stored, ranking_document(plan, ranked, held_out, evaluation))
    by_answers = STUDY if place is None else name_in(paths, place.file)
    for key in [*stored, *(key for key in right if key not in stored)] if isinstance(stored, dict) else []:
        source = STUDY if key in ("trials", "best_trial") else by_answers
        one, other = ({key: values[key]} if key in values else {} for values in (stored, right))
        tolerance = TOLERANCE if key == "held_out" else 0.0
        yield from faults_of(name, one, other, source=source, derived=True, tolerance=tolerance)
