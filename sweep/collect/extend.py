"""Extending a data set: more training queries, and more beams for training groups without contrast.

Validation and test queries stay as they are. So runs on both data sets are compared on the same questions.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selector.data.collection import Ancestor, CollectionRecord
from selector.data.dataset import Outcome, Split
from selector.data.embeddings import unit_rows
from selector.data.native import MANIFEST, Note, is_native, read_manifest, read_native, read_note
from selector.data.place import Place, file_label
from selector.data.queries import QueryTable
from selector.settings import FrozenModel, NonNegativeInt
from sweep.collect.beams import Beams
from sweep.collect.measure import Measured
from sweep.collect.rounds import Collection, wanted_beams
from sweep.settings.proposers import FurtherBeamCounts, Proposer, ProposerCounts
from sweep.settings.rounds import RoundsSettings, Until

MOST_BEAMS = 100_000


class Additions(FrozenModel):
    """What is added to which data set.

    Attributes:
        data: its folder.
        queries: training queries.
        beams: further beams for each training group without contrast, at most.
    """

    data: Path
    queries: NonNegativeInt = 0
    beams: NonNegativeInt = 0


@dataclass(frozen=True)
class Parent:
    """A data set that is extended.

    Attributes:
        measured: its beams.
        record: of its manifest.
        as_ancestor: the same as the child names it.
    """

    measured: Measured
    record: CollectionRecord
    as_ancestor: Ancestor

    @property
    def next_round(self) -> int:
        """The first round of an extension."""
        return self.as_ancestor.last_round + 1


def read_parent(folder: Path, measured_by: str) -> Parent:
    """A data set that was collected as the present settings say.

    Args:
        folder: in native form.
        measured_by: digest of all that decides the outcome of a beam (`outcome_digest`).

    Raises:
        DataError: damaged, not collected here, or under other settings.
    """
    place = Place(file_label(folder))
    if not is_native(folder):
        raise place.error("holds no data in native form; name a folder that `collect` has written")
    dataset, record = read_native(folder), read_manifest(folder).collection
    proposers, rounds = (read_note(folder, note) for note in (Note.PROPOSER, Note.ROUND))
    texts = read_note(folder, Note.PREDICTION)
    if record is None or proposers is None or rounds is None or texts is None:
        raise place.error(
            f"{MANIFEST} does not say how the data was measured, so it cannot be extended; collect it again with this "
            "version: stored answers are not asked again"
        )
    if record.measured_by != measured_by:
        raise place.error(
            "was measured with other items, embeddings, another model or prompt, or another metric, gt_prob or picks "
            "than this space has; beams of both cannot stand side by side. Take the space that the data was made with"
        )
    unknown = sorted(set(proposers) - set(Proposer))
    if unknown:
        raise place.error(f"proposer {unknown[0]!a:.40} is not known", Note.PROPOSER)
    beams = Beams(
        queries=QueryTable(dataset.query_items, dataset.pool_items, dataset.pool_starts, dataset.split),
        embeddings=dataset.embeddings,
        unit=unit_rows(dataset.embeddings),
        beam_picks=dataset.beam_picks,
        beam_starts=dataset.beam_starts,
        proposers=tuple(Proposer(name) for name in proposers),
        rounds=np.array(rounds, dtype=np.int64),
        counts=Counter(dataset.counts),
    )
    outcomes = dict(dataset.outcomes)
    outcomes.pop(Outcome.CORRECT, None)
    ancestor = Ancestor(
        fingerprint=dataset.fingerprint(),
        last_round=max(one.number for one in record.rounds),
        queries=dataset.queries,
        beams=len(dataset.beam_picks),
    )
    return Parent(Measured(beams, outcomes, texts, Counter()), record, ancestor)


def check_additions(additions: Additions, rounds: RoundsSettings | None, parent: Parent) -> None:
    """Refuse an extension that would add nothing. Raises DataError."""
    beams, accuracy = parent.measured.beams, parent.measured.accuracy
    train = np.flatnonzero(beams.queries.split == int(Split.TRAIN))
    groups = (accuracy[beams.beam_starts[query] : beams.beam_starts[query + 1]] for query in train)
    if additions.queries or (rounds is not None and any(wanted_beams(rounds, group) for group in groups)):
        return
    raise Place(file_label(additions.data)).error(
        "every training group has contrast or is given up, so there is no group to measure more beams for; add queries"
    )


def record_of(
    measured_by: str, found: Collection, cut_by: str | None, parent: Parent | None = None
) -> CollectionRecord:
    """What the manifest says of a collection."""
    return CollectionRecord(
        measured_by=measured_by,
        rounds=[*(parent.record.rounds if parent else ()), *found.rounds],
        cut_by=cut_by if found.is_cut else None,
        parents=[] if parent is None else [*parent.record.parents, parent.as_ancestor],
    )


def rounds_of_extension(first: ProposerCounts, rounds: RoundsSettings | None, beams: int) -> RoundsSettings | None:
    """One round of more beams for every training group whose outcomes are all alike.

    Args:
        first: beams of the first round. Their mix is taken where there is no section `rounds`.
        rounds: the space's section, for its mix and its rule of giving up.
        beams: how many more, at most. 0: None is returned.
    """
    if not beams:
        return None
    mix = first if rounds is None else rounds.beams
    counts = in_proportion({name: getattr(mix, name, 0) for name in FurtherBeamCounts.model_fields}, beams)
    base = RoundsSettings(give_up=None) if rounds is None else rounds
    further = FurtherBeamCounts.model_validate(counts)
    online = base.online if further.of_selector else None
    return base.replace(most=1, beams=further, until=Until.CONTRAST, largest=MOST_BEAMS, online=online)


def in_proportion(shares: dict[str, int], total: int) -> dict[str, int]:
    """Whole numbers in proportion to the shares that add up to the total. The largest remainders are rounded up."""
    whole = sum(shares.values())
    if not whole:
        return {**shares, "random": total}
    exact = {name: total * share / whole for name, share in shares.items()}
    found = {name: int(value) for name, value in exact.items()}
    for name in sorted(exact, key=lambda name: found[name] - exact[name])[: total - sum(found.values())]:
        found[name] += 1
    return found
