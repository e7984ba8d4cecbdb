"""The pointer selector: reads a query and its pool of candidates, points at k of them in order.

Legend: B queries, N beams, S picks, K candidates, D input width, H hidden width, L attention layers, A heads.

Parameter names are those of the checkpoints users already have. Deviations from the textbook:

- Dropout acts on each attention block's output and on the final query state, through masks that the caller passes in.
  Policies that share a mask therefore run in the same mode, to the bit (invariant 1).
- `input_proj` starts as (part of) an orthogonal map. `query_proj` and `cand_proj` start near the identity, and the
  attention output at zero. So an untrained selector ranks almost by cosine similarity.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from selector.attention import CrossAttention
from selector.config import SelectorConfig
from selector.errors import CheckpointError, HubError, SettingsError, first_line, printable
from selector.files import lfs_problem
from selector.tensors import read_tensors, tensor_bytes
from selector.unit import cosines, unit_length

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
"""What may be the name of a repository on the Hugging Face hub: owner/name."""
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


class Encoding(NamedTuple):
    """A batch of queries and pools, encoded once. All beams are unrolled from it."""

    query_BH: Tensor
    cand_BKH: Tensor
    cand_mask_BK: Tensor


class QueryStart(NamedTuple):
    """A batch of queries before the first dropout: projected, and the output of the first attention.

    Without a layer the latter is the former again, and nothing reads it.
    """

    state_BH: Tensor
    update_BH: Tensor


class PointerSelector(nn.Module):
    """Selects in-context demonstrations: it reads a query and its pool, and points at candidates one after the other.

    About 0.6 M parameters at D 768, H 256, one layer. Shapes: B queries, N beams, S picks, K candidates, D width of the
    embeddings, H hidden width. The weights are float32.
    """

    def __init__(self, config: SelectorConfig) -> None:
        super().__init__()
        self.config = config
        H = config.hidden
        self.input_proj = nn.Linear(config.width, H, bias=False)
        self.cross_attn_layers = nn.ModuleList(CrossAttention(H, config.heads) for _ in range(config.layers))
        self.attn_norms = nn.ModuleList(nn.LayerNorm(H) for _ in range(config.layers))
        self.query_proj = nn.Linear(H, H, bias=False)
        self.cand_proj = nn.Linear(H, H, bias=False)
        nn.init.orthogonal_(self.input_proj.weight)
        for projection in (self.query_proj, self.cand_proj):
            nn.init.eye_(projection.weight)
            with torch.no_grad():
                projection.weight.add_(0.01 * torch.randn(H, H) / H**0.5)
        if config.decoder == "gate":
            self.query_update_gate = nn.Linear(2 * H, H)
            nn.init.zeros_(self.query_update_gate.weight)
            nn.init.constant_(self.query_update_gate.bias, 2.0)  # keeps 88 % of the state: close to `static`

    # Encoding -------------------------------------------------------------------------------------------------------

    def encode(
        self, query_BD: Tensor, cand_BKD: Tensor, cand_mask_BK: Tensor, dropout_BXH: Tensor | None = None
    ) -> Encoding:
        """Encode each query and its pool once.

        Args:
            query_BD: query embeddings, float.
            cand_BKD: candidate embeddings. Rows outside the mask are ignored, but must be finite.
            cand_mask_BK: bool, True where a candidate exists. At least one per query.
            dropout_BXH: multiplicative dropout masks, X = L + 1 sites, already scaled by 1 / (1 - p). None: no dropout.
        """
        start = self.attend(query_BD, cand_BKD, cand_mask_BK)
        query_BH = self.finish(start, cand_BKD, cand_mask_BK, dropout_BXH)
        return Encoding(query_BH, self.project(cand_BKD), cand_mask_BK)

    def attend(self, query_BD: Tensor, cand_BKD: Tensor, cand_mask_BK: Tensor) -> QueryStart:
        """The part of `encode` before the first dropout. Arguments as there."""
        state_BH = self.input_proj(query_BD)
        if not self.cross_attn_layers:
            return QueryStart(state_BH, state_BH)
        attention = self.cross_attn_layers[0]
        return QueryStart(state_BH, attention(state_BH, cand_BKD, cand_mask_BK, self.input_proj.weight))

    def finish(self, start: QueryStart, cand_BKD: Tensor, cand_mask_BK: Tensor, dropout_BXH: Tensor | None) -> Tensor:
        """The rest of a query's way, [B, H], unit length. Arguments as in `encode`."""
        state_BH, update_BH = start
        for layer, (attention, norm) in enumerate(zip(self.cross_attn_layers, self.attn_norms, strict=True)):
            if layer:
                update_BH = attention(state_BH, cand_BKD, cand_mask_BK, self.input_proj.weight)
            if dropout_BXH is not None:
                update_BH = update_BH * dropout_BXH[:, layer]
            state_BH = norm(state_BH + update_BH)
        if dropout_BXH is not None:
            state_BH = state_BH * dropout_BXH[:, -1]
        return functional.normalize(self.query_proj(state_BH), dim=-1)

    def project(self, cand_XD: Tensor) -> Tensor:
        """Candidates as logits need them, [..., H], unit length. No query and no dropout changes them."""
        weight_HD = self.cand_proj.weight @ self.input_proj.weight
        return unit_length(functional.linear(cand_XD, weight_HD))

    # Decoding -------------------------------------------------------------------------------------------------------

    def step_log_probs(self, encoding: Encoding, beams_BNS: Tensor) -> Tensor:
        """Log-probabilities over the pool at every step of every beam, along the beam's own prefix.

        Args:
            encoding: from `encode`.
            beams_BNS: int64 pool positions, distinct within a beam.

        Returns:
            [B, N, S, K]. -inf where a candidate does not exist or was already chosen.
        """
        steps = [
            (cosine_BNK / self.config.temperature).masked_fill(gone_BNK, -torch.inf).log_softmax(-1)
            for cosine_BNK, gone_BNK in self._steps(encoding, beams_BNS)
        ]
        return torch.stack(steps, dim=2)

    def step_scores(self, encoding: Encoding, beams_BNS: Tensor) -> Tensor:
        """The cosines from which `step_log_probs` come. No temperature changes them.

        Args:
            encoding: from `encode`.
            beams_BNS: int64 pool positions, distinct within a beam.

        Returns:
            [B, N, S, K], in [-1, 1]. -inf where a candidate does not exist or was already chosen.
        """
        steps = [cosine.masked_fill(gone, -torch.inf) for cosine, gone in self._steps(encoding, beams_BNS)]
        return torch.stack(steps, dim=2)

    def _steps(self, encoding: Encoding, beams_BNS: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Per step the cosines, [B, 1 or N, K], and bool [B, N, K]: candidates that are not there, or were chosen."""
        B, N, S = beams_BNS.shape
        gone_BNK = ~encoding.cand_mask_BK[:, None, :].expand(B, N, -1)
        state_BNH = encoding.query_BH[:, None, :]
        cosine_BNK = cosines(state_BNH, encoding.cand_BKH)
        for step in range(S):
            yield cosine_BNK, gone_BNK
            if step + 1 == S:
                break
            pick_BN = beams_BNS[:, :, step]
            gone_BNK = gone_BNK.scatter(2, pick_BN[:, :, None], True)
            if self.config.decoder != "static":
                state_BNH = self._advance(state_BNH.expand(B, N, -1), pick_BN, encoding)
                cosine_BNK = cosines(state_BNH, encoding.cand_BKH)

    def unroll(self, encoding: Encoding, shots: int) -> Tensor:
        """Greedy selection from encodings.

        Args:
            encoding: from `encode`.
            shots: picks, at least 1. More than a pool has candidates give positions without meaning.

        Returns:
            int64 [B, shots] pool positions. The picks of k shots are the first of k + 1 shots.
        """
        available_BNK = encoding.cand_mask_BK[:, None, :]
        state_BNH = encoding.query_BH[:, None, :]
        cosine_BNK = cosines(state_BNH, encoding.cand_BKH)
        picks = []
        for step in range(shots):
            pick_BN = (cosine_BNK / self.config.temperature).masked_fill(~available_BNK, -torch.inf).argmax(-1)
            picks.append(pick_BN[:, 0])
            if step + 1 == shots:
                break
            available_BNK = available_BNK.scatter(2, pick_BN[:, :, None], False)
            if self.config.decoder != "static":
                state_BNH = self._advance(state_BNH, pick_BN, encoding)
                cosine_BNK = cosines(state_BNH, encoding.cand_BKH)
        return torch.stack(picks, dim=1)

    def _advance(self, state_BNH: Tensor, pick_BN: Tensor, encoding: Encoding) -> Tensor:
        """Gated update of the query state by the chosen candidate, [B, N, H], unit length."""
        B, K, H = encoding.cand_BKH.shape
        row_BN = pick_BN + K * torch.arange(B, device=pick_BN.device)[:, None]
        # Whole rows: `gather` takes and returns them number by number.
        chosen_BNH = encoding.cand_BKH.reshape(B * K, H).index_select(0, row_BN.reshape(-1)).view(*row_BN.shape, H)
        gate_BNH = self.query_update_gate(torch.cat([state_BNH, chosen_BNH], dim=-1)).sigmoid()
        return functional.normalize(gate_BNH * state_BNH + (1 - gate_BNH) * chosen_BNH, dim=-1)

    # Use ------------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def select(self, query_emb: Tensor, cand_emb: Tensor, shots: int, cand_mask: Tensor | None = None) -> Tensor:
        """Pick demonstrations greedily, in order.

        Args:
            query_emb: [D] or [B, D] query embeddings.
            cand_emb: [K, D] or [B, K, D] candidate embeddings.
            shots: how many to pick, 1 <= shots <= number of candidates of every query.
            cand_mask: [K] or [B, K] bool, True where a candidate exists. None: all do.

        Returns:
            int64 [shots] or [B, shots], positions in the candidate axis. The first k picks do not depend on `shots`.

        Raises:
            SettingsError: shapes do not fit the model or each other, values are not finite, or too few candidates.
        """
        single = query_emb.dim() == 1
        weight = self.input_proj.weight
        query_BD = (query_emb[None] if single else query_emb).to(weight)
        cand_BKD = (cand_emb[None] if cand_emb.dim() == 2 else cand_emb).to(weight)
        fits = query_BD.dim() == 2 and cand_BKD.dim() == 3 and len(query_BD) == len(cand_BKD)
        if not (fits and query_BD.shape[1] == cand_BKD.shape[2] == self.config.width):
            raise SettingsError(
                f"query_emb {tuple(query_emb.shape)} and cand_emb {tuple(cand_emb.shape)} do not fit: expected "
                f"[B, {self.config.width}] and [B, K, {self.config.width}]"
            )
        mask_BK = torch.ones(cand_BKD.shape[:2], dtype=torch.bool, device=weight.device)
        if cand_mask is not None:
            mask_BK = (cand_mask[None] if cand_mask.dim() == 1 else cand_mask).to(weight.device, torch.bool)
            if mask_BK.shape != cand_BKD.shape[:2]:
                raise SettingsError(f"cand_mask {tuple(cand_mask.shape)} does not fit cand_emb {tuple(cand_emb.shape)}")
        fewest = int(mask_BK.sum(1).min()) if len(mask_BK) else 0
        if not 1 <= shots <= fewest:
            raise SettingsError(f"shots {shots} must be between 1 and the smallest number of candidates, {fewest}")
        if not (query_BD.isfinite().all() and cand_BKD[mask_BK].isfinite().all()):
            raise SettingsError("query_emb or cand_emb holds NaN or infinite values")
        cand_BKD = cand_BKD.masked_fill(~mask_BK[:, :, None], 0.0)
        picks = self.unroll(self.encode(query_BD, cand_BKD, mask_BK), shots)
        return picks[0] if single else picks

    @classmethod
    def from_pretrained(cls, folder: str | Path, revision: str | None = None) -> PointerSelector:
        """Load an exported selector (`config.json` and `model.safetensors`) on the CPU, in evaluation mode.

        Args:
            folder: with both files; or `owner/name` on the Hugging Face hub, which needs the package huggingface_hub.
            revision: on the hub: branch, tag or commit. None: the newest of the main branch.

        Raises:
            CheckpointError: a file is missing, unreadable or does not fit the other.
            HubError: there is no such folder, and the hub does not give it either.
        """
        if not Path(folder).is_dir() and HUB_ID.fullmatch(str(folder)):
            folder = _hub(str(folder)).fetched(str(folder), revision)
        config_file = Path(folder) / CONFIG_FILE
        if problem := lfs_problem(config_file):
            raise CheckpointError(f"{config_file}: {problem}")
        try:
            config = SelectorConfig(**json.loads(config_file.read_text(encoding="utf-8"))["selector"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SettingsError) as error:
            reason = first_line(error)[:200]
            raise CheckpointError(f"{config_file}: no configuration of a selector ({reason})") from error
        weights_file = Path(folder) / WEIGHTS_FILE
        weights = read_tensors(weights_file)
        check_size(config, weights, weights_file)
        model = cls(config)
        model.load_weights(weights, weights_file)
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors` into a folder, which is made. Needs torch alone."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        (place / CONFIG_FILE).write_text(json.dumps(self.config_dict(), indent=2) + "\n", encoding="utf-8")
        (place / WEIGHTS_FILE).write_bytes(tensor_bytes(self.state_dict()))

    def push_to_hub(self, repo_id: str, private: bool | None = None) -> str:
        """Upload to the Hugging Face hub with a short card. `sweep export --push` uploads results and lineage too.

        Args:
            repo_id: `owner/name`. Made where there is none.
            private: whether a new repository is private. None: as the owner's account has it.

        Returns:
            The commit's address.

        Raises:
            HubError: the hub cannot be reached, or refuses; or the package huggingface_hub is missing.
        """
        return str(_hub(repo_id).push(self, repo_id, private))

    def load_weights(self, weights: dict[str, Tensor], source: Path) -> None:
        """Load a complete state.

        Args:
            weights: every tensor of the selector by its name.
            source: the file that they come from, for messages.

        Raises:
            CheckpointError: a tensor is missing, unknown, or of another shape.
        """
        try:
            self.load_state_dict(weights)
        except RuntimeError as error:
            detail = printable(" ".join(str(error).split()))[:500]
            raise CheckpointError(f"{source}: does not fit the selector's configuration ({detail})") from error

    def config_dict(self) -> dict[str, dict[str, object]]:
        """What `config.json` holds."""
        return {"selector": asdict(self.config)}


def _hub(repo_id: str) -> ModuleType:
    """`selector.hub`, which is loaded only where the hub is needed."""
    try:
        return import_module("selector.hub")
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise
        raise HubError(
            f"{repo_id}: no such folder here, and the Hugging Face hub needs `pip install huggingface_hub`"
        ) from None


def check_size(config: SelectorConfig, weights: dict[str, Tensor], source: Path) -> None:
    """Refuse, before anything is allocated, a configuration of more layers or larger matrices than the weights hold."""
    H, names = config.hidden, {f"cross_attn_layers.{layer}.in_proj_weight" for layer in range(len(weights))}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    layers = [found[name] for name in names if name in found]
    matrices = (found.get("input_proj.weight"), found.get("query_proj.weight"))
    if matrices != ((H, config.width), (H, H)) or len(layers) != config.layers or {*layers} - {(3 * H, H)}:
        raise CheckpointError(
            f"{source}: does not fit the selector's configuration (width {config.width}, hidden {H}, "
            f"{config.layers} layers)"
        )


def build_selector(config: SelectorConfig, seed: int) -> PointerSelector:
    """A freshly initialised selector, determined by the seed. The global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed every GPU, for good
        return PointerSelector(config)
