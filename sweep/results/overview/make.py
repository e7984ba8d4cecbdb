"""The document of a run, whatever its state is."""

from __future__ import annotations

from datetime import UTC, datetime

from sweep.results.doctor import diagnose
from sweep.results.overview.answers import agreement_section, answers_section, shots_section
from sweep.results.overview.cost import cost_section
from sweep.results.overview.curves import curves_section
from sweep.results.overview.data_card import data_section
from sweep.results.overview.gallery import gallery_section
from sweep.results.overview.lineage import lineage_section
from sweep.results.overview.model import Document
from sweep.results.overview.pruning import pruning_section
from sweep.results.overview.settings import settings_section
from sweep.results.overview.sources import Material, Sources, read_sources
from sweep.results.overview.trials import trials_section
from sweep.results.overview.verdicts import headline, health_section, verdict_section
from sweep.runs.paths import RunPaths


def overview(paths: RunPaths, material: Material | None = None) -> Document:
    """Everything that is known of a run, in the order in which people ask.

    Args:
        paths: of the run.
        material: data and items, where they are known already. None reads them now.

    Raises:
        RunError: not a run.
        StudyError: the study cannot be read.
    """
    return document_of(read_sources(paths, material))


def document_of(sources: Sources) -> Document:
    """The document that these files give."""
    diagnosis = diagnose(sources.evidence)
    sections = (
        verdict_section(sources, diagnosis),
        answers_section(sources),
        shots_section(sources),
        settings_section(sources),
        trials_section(sources),
        curves_section(sources),
        pruning_section(sources, diagnosis.receipts),
        agreement_section(sources),
        health_section(sources),
        gallery_section(sources),
        cost_section(sources),
        data_section(sources, diagnosis.learning_curves),
        lineage_section(sources),
    )
    return Document(
        run=sources.paths.name,
        state=sources.status.state.value,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        headline=headline(sources),
        sections=tuple(section for section in sections if section is not None),
    )
