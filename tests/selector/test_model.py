"""The selector against an ordinary, unfolded computation."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from selector.config import SelectorConfig
from selector.losses import beam_log_probs
from selector.model import Encoding, PointerSelector, build_selector
from tests.selector.worlds import ARCHITECTURES, CONFIG, inputs, shaken


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
def test_a_query_that_is_dropped_as_a_whole_prefers_none(config: SelectorConfig) -> None:
    """Dropout takes every number of a state of 12 once in 4,096 times. No NaN may come of it, nor of its gradient."""
    model, (query_BD, cand_BKD, mask_BK) = shaken(config), inputs()
    nothing = torch.zeros(3, config.layers + 1, 12, dtype=torch.float64)
    first_BK = model.step_log_probs(model.encode(query_BD, cand_BKD, mask_BK, nothing), some_beams(mask_BK, 1, 1))[
        :, 0, 0
    ]
    torch.testing.assert_close(first_BK.exp(), mask_BK / mask_BK.sum(1, keepdim=True).double())
    first_BK[mask_BK].sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())


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
