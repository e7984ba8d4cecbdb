"""The selector against an ordinary, unfolded computation, and its promises of use."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import textwrap
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from selector.errors import CheckpointError, SettingsError
from selector.losses import beam_log_probs
from selector.model import Encoding, PointerSelector, SelectorConfig, build_selector
from tests.selector.worlds import shake

ROOT = Path(__file__).parents[2]
CONFIG = SelectorConfig(width=10, hidden=12, layers=1, heads=3, decoder="gate", temperature=0.1, dropout=0.5)
ARCHITECTURES = [
    replace(CONFIG, layers=layers, decoder=decoder) for layers in (0, 1, 3) for decoder in ("static", "gate")
]


def shaken(config: SelectorConfig, dtype: torch.dtype = torch.float64) -> PointerSelector:
    return shake(build_selector(config, seed=3).to(dtype))


def inputs(B: int = 3, K: int = 7, D: int = 10, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(B * 100 + K)
    mask_BK = torch.arange(K) < torch.tensor([K, *range(K - 1, 0, -1)] * B)[:B, None].clamp_min(4)
    query_BD = torch.randn(B, D, generator=generator, dtype=dtype)
    return query_BD, torch.randn(B, K, D, generator=generator, dtype=dtype), mask_BK


def some_beams(mask_BK: Tensor, N: int, S: int) -> Tensor:
    generator = torch.Generator().manual_seed(N)
    rows = [[torch.randperm(int(mask.sum()), generator=generator)[:S] for _ in range(N)] for mask in mask_BK]
    return torch.stack([torch.stack(row) for row in rows])


def plain_encode(model: PointerSelector, query_D: Tensor, cand_KD: Tensor, dropout_XH: Tensor | None) -> list[Tensor]:
    """One query, no padding, nothing folded: project all candidates, then torch's own attention."""
    state, weights = query_D @ model.input_proj.weight.t(), model.state_dict()
    cands = cand_KD @ model.input_proj.weight.t()
    for layer in range(model.config.layers):
        attention = nn.MultiheadAttention(model.config.hidden, model.config.heads, batch_first=True).double()
        prefix = f"cross_attn_layers.{layer}."
        attention.load_state_dict({k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)})
        update = attention(state[None, None], cands[None], cands[None], need_weights=False)[0][0, 0]
        if dropout_XH is not None:
            update = update * dropout_XH[layer]
        norm = [weights[f"attn_norms.{layer}.{name}"] for name in ("weight", "bias")]
        state = functional.layer_norm(state + update, (model.config.hidden,), *norm)
    if dropout_XH is not None:
        state = state * dropout_XH[-1]
    query, cands = state @ model.query_proj.weight.t(), cands @ model.cand_proj.weight.t()
    return [query / query.norm(), cands / cands.norm(dim=1, keepdim=True)]


def plain_steps(model: PointerSelector, query_H: Tensor, cand_KH: Tensor, beam: list[int]) -> list[Tensor]:
    """Log-probabilities at every step of one beam, one candidate at a time."""
    state, chosen, steps = query_H, [], []
    for pick in beam:
        logits = torch.stack([state @ cand / model.config.temperature for cand in cand_KH])
        weights = torch.tensor([0.0 if k in chosen else 1.0 for k in range(len(cand_KH))], dtype=torch.float64)
        steps.append((logits.exp() * weights / (logits.exp() * weights).sum()).log())
        chosen.append(pick)
        if model.config.decoder == "gate":
            gate = model.query_update_gate(torch.cat([state, cand_KH[pick]])).sigmoid()
            state = gate * state + (1 - gate) * cand_KH[pick]
            state = state / state.norm()
    return steps


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("config", ARCHITECTURES, ids=lambda c: f"{c.decoder}-{c.layers}")
@torch.no_grad()
def test_equals_an_unfolded_computation(config: SelectorConfig, dropout: bool) -> None:
    model = shaken(config)
    query_BD, cand_BKD, mask_BK = inputs()
    beams_BNS = some_beams(mask_BK, N=4, S=3)
    masks = (torch.rand(3, config.layers + 1, 12) > 0.5).double() * 2 if dropout else None
    encoding = model.encode(query_BD, cand_BKD, mask_BK, masks)
    steps_BNSK = model.step_log_probs(encoding, beams_BNS)
    for b in range(3):
        count = int(mask_BK[b].sum())
        query_H, cand_KH = plain_encode(model, query_BD[b], cand_BKD[b, :count], None if masks is None else masks[b])
        torch.testing.assert_close(encoding.query_BH[b], query_H, rtol=0, atol=1e-12)
        torch.testing.assert_close(encoding.cand_BKH[b, :count], cand_KH, rtol=0, atol=1e-12)
        for n, beam in enumerate(beams_BNS[b].tolist()):
            for s, expected_K in enumerate(plain_steps(model, query_H, cand_KH, beam)):
                torch.testing.assert_close(steps_BNSK[b, n, s, :count], expected_K, rtol=0, atol=1e-10)
                assert (steps_BNSK[b, n, s, count:] == -torch.inf).all()


@pytest.mark.parametrize("config", ARCHITECTURES, ids=lambda c: f"{c.decoder}-{c.layers}")
@torch.no_grad()
def test_probabilities_of_all_ordered_tuples_sum_to_one(config: SelectorConfig) -> None:
    model, (query_BD, cand_BKD, mask_BK) = shaken(config), inputs(K=5)
    mask_BK[:] = torch.tensor([True] * 5)
    beams_NS = torch.tensor(list(itertools.permutations(range(5), 3)))
    beams_BNS = beams_NS.expand(3, -1, -1)
    steps = model.step_log_probs(model.encode(query_BD, cand_BKD, mask_BK), beams_BNS)
    log_prob_BN = beam_log_probs(steps, beams_BNS, torch.ones(3, len(beams_NS), dtype=torch.bool))
    torch.testing.assert_close(log_prob_BN.exp().sum(1), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("config", ARCHITECTURES, ids=lambda c: f"{c.decoder}-{c.layers}")
@torch.no_grad()
def test_padding_candidates_change_nothing(config: SelectorConfig) -> None:
    model = shaken(config)
    query_BD, cand_BKD, mask_BK = inputs()
    beams_BNS = some_beams(mask_BK, N=4, S=3)
    before = model.step_log_probs(model.encode(query_BD, cand_BKD, mask_BK), beams_BNS)
    garbage = torch.where(mask_BK[:, :, None], cand_BKD, 1e3 * torch.randn(3, 7, 10, dtype=torch.float64))
    wider = torch.cat([garbage, 1e3 * torch.randn(3, 2, 10, dtype=torch.float64)], dim=1)
    wider_mask = torch.cat([mask_BK, torch.zeros(3, 2, dtype=torch.bool)], dim=1)
    encoding = model.encode(query_BD, wider, wider_mask)
    after = model.step_log_probs(encoding, beams_BNS)
    torch.testing.assert_close(after[..., :7], before, rtol=0, atol=1e-11)
    assert (after[..., 7:] == -torch.inf).all()
    assert wider_mask.gather(1, model.unroll(encoding, 4)).all()


@pytest.mark.parametrize("config", ARCHITECTURES, ids=lambda c: f"{c.decoder}-{c.layers}")
@torch.no_grad()
def test_greedy_unroll_is_a_prefix_and_the_argmax_along_itself(config: SelectorConfig) -> None:
    model = shaken(config)
    query_BD, cand_BKD, mask_BK = inputs(B=8, K=9)
    encoding = model.encode(query_BD, cand_BKD, mask_BK)
    longest = int(mask_BK.sum(1).min())
    picks_BS = model.unroll(encoding, longest)
    assert all(len(set(row)) == longest for row in picks_BS.tolist())
    for shots in range(1, longest):
        assert torch.equal(model.unroll(encoding, shots), picks_BS[:, :shots])
    steps = model.step_log_probs(encoding, picks_BS[:, None, :])
    assert torch.equal(steps[:, 0].argmax(-1), picks_BS)


def test_the_gate_matters_and_static_ignores_what_was_picked() -> None:
    for decoder, moves in (("static", False), ("gate", True)):
        model = shaken(replace(CONFIG, decoder=decoder), torch.float32)
        query_BD, cand_BKD, mask_BK = inputs(B=1, dtype=torch.float32)
        steps = model.step_log_probs(model.encode(query_BD, cand_BKD, mask_BK), torch.tensor([[[0, 2], [1, 2]]]))
        kept = [2, 3, 4, 5, 6]  # candidates available after either first pick
        after_0, after_1 = (steps[0, n, 1, kept].log_softmax(-1) for n in (0, 1))
        assert torch.allclose(after_0, after_1, atol=1e-5) is not moves


@pytest.mark.parametrize(("width", "hidden"), [(32, 32), (32, 64), (48, 40)])
def test_an_untrained_selector_ranks_almost_as_cosine_similarity(width: int, hidden: int) -> None:
    config = SelectorConfig(width, hidden, layers=2, heads=4, decoder="gate", temperature=0.1, dropout=0.1)
    model = build_selector(config, seed=0)
    query_BD, cand_BKD, mask_BK = inputs(B=40, K=20, D=width, dtype=torch.float32)
    mask_BK[:] = True
    picks = model.select(query_BD, cand_BKD, shots=1)[:, 0]
    cosine_BK = functional.cosine_similarity(query_BD[:, None], cand_BKD, dim=-1)
    ranks = (cosine_BK > cosine_BK.gather(1, picks[:, None])).sum(1).double()
    assert ranks.mean() < (0.5 if width <= hidden else 2.0)  # 9.5 by chance; a narrower H loses part of the cosine


def test_building_is_determined_by_the_seed_and_leaves_global_randomness_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one, same, other = (build_selector(CONFIG, seed).input_proj.weight for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


class TestSelect:
    model = shaken(CONFIG, torch.float32)

    def test_single_equals_batch(self) -> None:
        query_BD, cand_BKD, _ = inputs(dtype=torch.float32)
        batch = self.model.select(query_BD, cand_BKD, shots=3)
        assert batch.shape == (3, 3)
        assert batch.dtype == torch.int64
        for b in range(3):
            single = self.model.select(query_BD[b], cand_BKD[b], shots=3)
            assert single.shape == (3,)
            assert torch.equal(single, batch[b])

    def test_masked_equals_cut(self) -> None:
        query_BD, cand_BKD, _ = inputs(dtype=torch.float32)
        mask_K = torch.tensor([False, True, True, False, True, True, False])
        cand_BKD[0, ~mask_K] = torch.nan  # what does not exist is not looked at
        masked = self.model.select(query_BD[0], cand_BKD[0], 3, cand_mask=mask_K)
        cut = self.model.select(query_BD[0], cand_BKD[0][mask_K], 3)
        assert torch.equal(masked, mask_K.nonzero()[:, 0][cut])

    def test_first_picks_do_not_depend_on_shots(self) -> None:
        query_BD, cand_BKD, _ = inputs(dtype=torch.float32)
        assert torch.equal(self.model.select(query_BD, cand_BKD, 7)[:, :2], self.model.select(query_BD, cand_BKD, 2))

    def test_other_float_types_are_taken(self) -> None:
        query_BD, cand_BKD, _ = inputs()
        expected = self.model.select(query_BD.float(), cand_BKD.float(), 4)
        assert torch.equal(self.model.select(query_BD, cand_BKD, 4), expected)

    @pytest.mark.parametrize(
        ("query", "cand", "expected"),
        [
            ((3, 9), (3, 7, 9), r"query_emb \(3, 9\) and cand_emb \(3, 7, 9\) do not fit: expected \[B, 10\]"),
            ((3, 10), (2, 7, 10), r"\(2, 7, 10\) do not fit"),
            ((10,), (7, 9), r"\(7, 9\) do not fit"),
            ((10,), (10,), r"cand_emb \(10,\) do not fit"),
            ((), (7, 10), r"query_emb \(\) and"),
            ((1, 3, 10), (3, 7, 10), r"query_emb \(1, 3, 10\) and"),
            ((3, 10), (7, 10), r"\(7, 10\) do not fit"),
        ],
    )
    def test_shapes_that_do_not_fit(self, query: tuple[int, ...], cand: tuple[int, ...], expected: str) -> None:
        with pytest.raises(SettingsError, match=expected):
            self.model.select(torch.zeros(query), torch.zeros(cand), shots=1)

    @pytest.mark.parametrize("shots", [-1, 0, 8])
    def test_shots_out_of_range(self, shots: int) -> None:
        query_BD, cand_BKD, _ = inputs()
        with pytest.raises(SettingsError, match=f"shots {shots} must be between 1 and .* 7"):
            self.model.select(query_BD, cand_BKD, shots)

    def test_too_few_candidates_behind_the_mask(self) -> None:
        query_BD, cand_BKD, mask_BK = inputs()
        mask_BK[1, 2:] = False
        with pytest.raises(SettingsError, match=r"shots 3 must be between 1 and .* 2"):
            self.model.select(query_BD, cand_BKD, 3, mask_BK)

    def test_empty_batch(self) -> None:
        with pytest.raises(SettingsError, match="candidates, 0"):
            self.model.select(torch.zeros(0, 10), torch.zeros(0, 7, 10), 1)

    def test_mask_that_does_not_fit(self) -> None:
        query_BD, cand_BKD, _ = inputs()
        with pytest.raises(SettingsError, match=r"cand_mask \(3, 6\) does not fit cand_emb \(3, 7, 10\)"):
            self.model.select(query_BD, cand_BKD, 1, torch.ones(3, 6, dtype=torch.bool))

    @pytest.mark.parametrize("where", ["query", "cand"])
    def test_not_finite(self, where: str) -> None:
        query_BD, cand_BKD, _ = inputs()
        (query_BD if where == "query" else cand_BKD)[1, 0] = torch.inf
        with pytest.raises(SettingsError, match="NaN or infinite"):
            self.model.select(query_BD, cand_BKD, 1)


def export(folder: Path, model: PointerSelector) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(model.config_dict()))
    safetensors.torch.save_file(model.state_dict(), folder / "model.safetensors")


class TestFromPretrained:
    @pytest.mark.parametrize("config", ARCHITECTURES, ids=lambda c: f"{c.decoder}-{c.layers}")
    def test_round_trip(self, tmp_path: Path, config: SelectorConfig) -> None:
        model = shaken(config, torch.float32)
        export(tmp_path, model)
        loaded = PointerSelector.from_pretrained(tmp_path)
        assert loaded.config == config
        assert not loaded.training
        assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())
        query_BD, cand_BKD, _ = inputs(dtype=torch.float32)
        assert torch.equal(loaded.select(query_BD, cand_BKD, 4), model.select(query_BD, cand_BKD, 4))

    @pytest.mark.parametrize(
        "text",
        [
            "", "{", "[]", "{}", "null", '{"selector": 3}', '{"selector": {"width": 10}}', "\udcff", "[" * 100_000,
            *(
                json.dumps({"selector": asdict(CONFIG) | change})
                for change in (
                    {"decoder": "gru"}, {"heads": 5}, {"heads": 0}, {"hidden": -12}, {"width": "10"}, {"width": 0},
                    {"layers": -1}, {"layers": 1.0}, {"temperature": 0}, {"temperature": float("nan")},
                    {"temperature": "0.1"}, {"dropout": 1}, {"dropout": None}, {"extra": 1}, {"width": 10**15},
                    {"width": 10**30},
                )
            ),
        ],
    )  # fmt: skip
    def test_broken_configuration(self, tmp_path: Path, text: str) -> None:
        export(tmp_path, shaken(CONFIG, torch.float32))
        (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(CheckpointError, match=r"config\.json: not the configuration of a selector") as caught:
            PointerSelector.from_pretrained(tmp_path)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
    def test_missing_file_is_named(self, tmp_path: Path, missing: str) -> None:
        export(tmp_path, shaken(CONFIG, torch.float32))
        (tmp_path / missing).unlink()
        with pytest.raises(CheckpointError, match=missing):
            PointerSelector.from_pretrained(tmp_path)

    @pytest.mark.parametrize("change", [{"hidden": 24}, {"layers": 2}, {"layers": 0}, {"decoder": "static"}])
    def test_weights_of_another_architecture(self, tmp_path: Path, change: dict[str, object]) -> None:
        export(tmp_path, shaken(CONFIG, torch.float32))
        (tmp_path / "config.json").write_text(json.dumps({"selector": asdict(CONFIG) | change}))
        with pytest.raises(CheckpointError, match=r"model\.safetensors: does not fit") as caught:
            PointerSelector.from_pretrained(tmp_path)
        assert "\n" not in str(caught.value)


LONELY = """
    import sys

    TORCH_NEEDS = {"torch", "torchgen", "functorch", "filelock", "fsspec", "jinja2", "markupsafe", "mpmath", "networkx",
                   "setuptools", "sympy", "triton", "typing_extensions", "cuda", "nvidia"}
    OURS = {"selector", "selector.model", "selector.tensors", "selector.errors"}

    class OnlyTorch:
        refused = set()

        def find_spec(self, name, path=None, target=None):
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names or top in TORCH_NEEDS or name in OURS:
                return None
            self.refused.add(name)
            raise ModuleNotFoundError(f"blocked: {name}", name=name)

    sys.meta_path.insert(0, OnlyTorch())
    import warnings
    warnings.simplefilter("ignore")  # torch says that it has no numpy
    import torch
    from selector import PointerSelector

    for absent in ("numpy", "pydantic", "safetensors", "pyarrow", "ray", "optuna", "selector.settings"):
        try:
            __import__(absent)
        except ModuleNotFoundError:
            continue
        raise SystemExit(f"{absent} was not blocked")
    query, cand = torch.load(sys.argv[2], weights_only=True)
    print(PointerSelector.from_pretrained(sys.argv[1]).select(query, cand, shots=4).tolist())
    ours = {name for name in sys.modules if name.partition(".")[0] in ("selector", "sweep")}
    assert ours == OURS, ours
"""


def test_an_export_works_with_torch_alone(tmp_path: Path) -> None:
    model = shaken(CONFIG, torch.float32)
    query_BD, cand_BKD, _ = inputs(dtype=torch.float32)
    export(tmp_path / "export", model)
    torch.save((query_BD, cand_BKD), tmp_path / "inputs.pt")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LONELY), str(tmp_path / "export"), str(tmp_path / "inputs.pt")],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == model.select(query_BD, cand_BKD, 4).tolist()


def test_encoding_is_shared_by_all_beams() -> None:
    """The cost of beams is the decoder's alone: the encoder runs once, whatever N is."""
    model = shaken(CONFIG, torch.float32)
    calls = []
    hook = model.input_proj.register_forward_hook(lambda *_: calls.append(1))
    query_BD, cand_BKD, mask_BK = inputs(dtype=torch.float32)
    encoding = model.encode(query_BD, cand_BKD, mask_BK)
    assert isinstance(encoding, Encoding)
    model.step_log_probs(encoding, some_beams(mask_BK, N=30, S=2))
    hook.remove()
    assert len(calls) == 1
