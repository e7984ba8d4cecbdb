"""The text of a model card. Every name that somebody else may have chosen shows as text and as nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from selector.settings import TrialSettings
from sweep.evaluation.records import Difference, Estimate, RowRecord
from sweep.evaluation.row_kinds import RowKind
from sweep.evaluation.wording import counted, p_text, signed
from sweep.results.card import CONTROL, Card, CardOptions, card_data

DISTRIBUTION = "demonstration-selector"
SHOTS = 4
"""Picks of a program, and of the example in the card, where no evaluation says how many."""
_MARKS = re.compile(r"([\\`*<|~$&@]|(?<!\w)_|_(?!\w)|\](?=[(\[:])|:(?=//)|(?<=www)\.)", re.IGNORECASE)
"""What begins markup, HTML, a link, a formula or a mention within a line, or ends a cell."""
_REFERENCES = (RowKind.NO_DEMONSTRATIONS, RowKind.RANDOM, RowKind.SIMILARITY, RowKind.RCE_ONLY, RowKind.CHECKPOINT)


def card_text(card: Card, options: CardOptions, formats: Sequence[str], folder: str) -> str:
    """The whole `README.md`.

    Args:
        card: what is known.
        options: what the user says.
        formats: forms that lie beside the weights.
        folder: name of the folder, for the lines that show how to use it.
    """
    from huggingface_hub import ModelCard

    body = "\n".join(_sections(card, formats, folder))
    text = str(ModelCard(f"---\n{card_data(card, options).to_yaml()}\n---\n\n{body}"))
    return text if text.endswith("\n") else f"{text}\n"


def plain(text: object) -> str:
    """A text as Markdown that shows it, on one line: no markup, no HTML, no link, no cell border."""
    return _MARKS.sub(r"\\\1", CONTROL.sub(" ", str(text)))


def _sections(card: Card, formats: Sequence[str], folder: str) -> Iterator[str]:
    yield f"# Demonstration selector: {plain(card.name)}\n"
    config = card.config
    yield (
        "A small pointer network. It reads the embedding of a question and of a pool of solved examples, and picks the "
        "examples, in order, that a vision-language model should see before the question. It answers nothing itself.\n"
    )
    yield f"Verdict of the run: {plain(card.manifest['verdict'])}.\n"
    yield "## Use\n"
    yield from _use(card, formats, folder)
    yield "## Results\n"
    yield from _table(card)
    yield "## Training\n"
    yield from _training(card)
    yield "## Limits\n"
    yield from _limits(card)
    yield "## Cite\n"
    title = re.sub(r"[^\w ,.:-]", " ", CONTROL.sub(" ", card.name))
    sha256 = str(card.manifest.get("sha256"))
    version = _versions(card).get("sweep", "unknown")
    yield (
        f"```bibtex\n@misc{{demonstration-selector-{sha256[:12]},\n  title = {{Demonstration selector: {title}}},\n"
        f"  note = {{Trained with demonstration-sweep {re.sub(r'[^0-9A-Za-z.+-]', '', str(version))}; "
        f"model.safetensors has the SHA-256 {sha256}}},\n}}\n```\n"
    )
    yield (
        "`manifest.json` holds the lineage: all settings, seed, data fingerprint, versions and hashes. The selector "
        f"has width {config.width}, hidden width {config.hidden}, {counted(config.layers, 'attention layer')} of "
        f"{counted(config.heads, 'head')}, the decoder {config.decoder}, and temperature {config.temperature:g}.\n"
    )


def _use(card: Card, formats: Sequence[str], folder: str) -> Iterator[str]:
    name = re.sub(r"[^\w.-]", "-", folder) or "FOLDER"
    shots = SHOTS if card.evaluation is None else card.evaluation.shots[-1]
    yield (
        f"Install torch and, from the source of demonstration-sweep, the distribution `{DISTRIBUTION}`. It needs torch "
        "and nothing else. The project `selector` on PyPI is somebody else's.\n"
    )
    yield "```\npip install torch\npip install ./selector   # in a checkout; a wheel of it will do as well\n```\n"
    yield (
        "```python\nimport torch\nfrom selector import PointerSelector\n\n"
        f'selector = PointerSelector.from_pretrained("{name}")  # this folder, or its name on the Hugging Face hub\n'
        f"query_emb, cand_emb = torch.randn(8, {card.config.width}), torch.randn(8, 64, {card.config.width})  # yours\n"
        f"picks = selector.select(query_emb, cand_emb, shots={shots})  # [8, {shots}] positions in each pool\n```\n"
    )
    yield (
        f"`query_emb` is [D] or [B, D] and `cand_emb` [K, D] or [B, K, D], with D = {card.config.width}, from the "
        "encoder that made the training embeddings. Pools may be padded: `cand_mask` says which candidates exist.\n"
    )
    for one in formats:
        yield _FORMS[one]


_FORMS = {
    "torch-export": "`selector.pt2` is the same selector as a program that needs torch alone: "
    '`torch.export.load("selector.pt2").module()(query_emb, cand_emb, mask)`, with a bool mask [B, K].\n',
    "lever-plus": "`selector.pt` is the same selector for the code of Lever-Plus.\n",
    "lever-plus-v2": "`selector.ckpt` is the same selector for the inference scripts of Lever-Plus (v2format).\n",
}


def _table(card: Card) -> Iterator[str]:
    evaluation = card.evaluation
    if evaluation is None:
        metrics = card.manifest.get("metrics")
        if isinstance(metrics, dict):
            loss, reward = metrics["val_loss"], metrics["val_reward"]
            yield f"Validation loss {loss:.4f}, expected validation reward {reward:.4f}.\n"
        yield "No vision-language model was asked held-out questions with these selections.\n"
        return
    settings = evaluation.settings
    yield (
        f"VQA accuracy ({settings.metric.value}) of the answers of {plain(card.model or 'a model')} in percent, with "
        f"95 % intervals, on {counted(evaluation.questions, 'question')} of the {settings.split.value} split. The "
        "intervals of differences hold for all rows together.\n"
    )
    measures = [*(counted(shots, "shot") for shots in evaluation.shots), "mean"]
    head = ["selects by", *measures, f"minus {settings.baseline.value}"]
    yield f"| {' | '.join(head)} |\n|{' --- |' * len(head)}"
    shown = [
        row for row in evaluation.rows if row is card.row or row.kind in _REFERENCES or _is_its_finalist(card, row)
    ]
    for row in shown:
        label = f"**this selector** ({plain(row.name)})" if row is card.row else plain(row.name)
        cells = [label, *map(_estimate, (*row.shots, row.mean)), _difference(row.minus_baseline)]
        yield f"| {' | '.join(cells)} |"
        if _is_its_finalist(card, row) and card.seed is not None:
            seed = card.seed[1]
            numbers = ["" if one is None else f"{100 * one:.1f}" for one in (*seed.shots, seed.mean)]
            yield f"| {' | '.join([f'**this selector** ({plain(seed.name)})', *numbers, ''])} |"
    yield ""
    if card.row is None and card.seed is None:
        yield "This very epoch was not asked: the rows are what the run compared.\n"
    if card.seed is not None:
        yield "The row above this selector is the mean over all fresh seeds of its settings. Its interval is theirs.\n"
    yield "`evaluation.json` holds all rows, all differences and what the numbers guarantee.\n"


def _is_its_finalist(card: Card, row: RowRecord) -> bool:
    return card.seed is not None and row.name == card.seed[0].row


def _estimate(one: Estimate | None) -> str:
    return "" if one is None else f"{100 * one.value:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]"


def _difference(one: Difference | None) -> str:
    if one is None:
        return ""
    low, high = one.joint or (one.low, one.high)
    return f"{signed(one.value)} [{signed(low)}, {signed(high)}], corrected p {p_text(one.p_holm)}"


def _training(card: Card) -> Iterator[str]:
    manifest = card.manifest
    try:
        settings = TrialSettings.model_validate(manifest.get("settings"))
    except ValidationError:
        source = manifest.get("source")
        yield f"Not known. It was read from {plain(source.get('name') if isinstance(source, dict) else 'elsewhere')}.\n"
        return
    rce, grpo = settings.rce, settings.grpo
    yield (
        "Two stages on beams. A beam is a sequence of demonstrations, with the score of the answer that a model gave "
        f"after them. RCE (reward-weighted cross-entropy) took {rce.epochs} epochs, and GRPO (group-relative policy "
        f"optimisation) up to {grpo.epochs}. This is epoch {manifest['step']} over both "
        f"({plain(manifest['stage'])}). Chosen as: {plain(manifest['chosen'])}.\n"
    )
    yield "| | |\n| --- | --- |"
    rows = [
        ("run, trial, seed", f"{manifest['run']}, {manifest['trial']}, {manifest['seed']}"),
        ("data", card.data),
        ("fingerprint of the data", manifest.get("data_fingerprint")),
        ("training queries", manifest["metrics"].get("train_queries")),
        ("model that answered", card.model or "not known"),
        ("reward", settings.reward.mode.value),
        ("RCE learning rate", f"{rce.lr:g}"),
        ("GRPO learning rate, KL beta, clip epsilon", f"{grpo.lr:g}, {grpo.kl_beta:g}, {grpo.clip_epsilon:g}"),
        ("started from", manifest.get("init_from") or "weights drawn from the seed"),
        ("versions", ", ".join(f"{name} {value}" for name, value in _versions(card).items())),
    ]
    for name, value in rows:
        yield f"| {name} | {plain(value)} |"
    yield ""


def _versions(card: Card) -> dict[str, Any]:
    found = card.manifest.get("versions")
    return found if isinstance(found, dict) else {}


def _limits(card: Card) -> Iterator[str]:
    yield (
        f"- It needs embeddings of width {card.config.width} from the encoder it was trained with. Others give picks "
        "without an error, and without sense."
    )
    yield "- It ranks the candidates of a pool. It finds none outside of it, and checks no answer for truth."
    yield "- Its rewards are answers of one model with one prompt. Others may need other demonstrations."
    if card.evaluation is not None:
        yield (
            f"- The intervals cover the choice of {card.evaluation.questions} questions. They do not cover other data, "
            "nor another training seed where the table has no fresh ones."
        )
    if card.record is not None:
        yield "- It is the best of several trials, and the best of several looks better than it is."
    yield "- Biases of the data and of the model that scored the beams are in its choices.\n"
