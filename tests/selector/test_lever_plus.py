"""Checkpoints of Lever-Plus: read, written, and compared with that project's computation, written down here plainly."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from selector.config import SelectorConfig
from selector.errors import CheckpointError, SettingsError
from selector.lever_plus import PREFIX, read_selector, write_selector
from selector.model import PointerSelector, build_selector

GIVEN = {"heads": 1, "temperature": 0.1, "dropout": 0.5}


class Theirs(nn.Module):
    """What a selector of Lever-Plus computes (FACTS: v2 is static, v3 has the gate), with the names of its files."""

    def __init__(self, width: int, hidden: int, layers: int, gate: bool, heads: int = 1) -> None:
        super().__init__()
        self.input_proj = nn.Identity() if width == hidden else nn.Linear(width, hidden, bias=False)
        self.cross_attn_layers = nn.ModuleList(
            nn.MultiheadAttention(hidden, heads, batch_first=True) for _ in range(layers)
        )
        self.attn_norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.query_proj = nn.Linear(hidden, hidden, bias=False)
        self.cand_proj = nn.Linear(hidden, hidden, bias=False)
        if gate:
            self.query_update_gate = nn.Linear(2 * hidden, hidden)
        for weights in self.parameters():
            nn.init.normal_(weights, std=0.3)

    @torch.no_grad()
    def forward(self, query_D: Tensor, cand_KD: Tensor, shots: int) -> tuple[list[int], Tensor]:
        """Picks, and the first step's logits."""
        state, cands = self.input_proj(query_D)[None], self.input_proj(cand_KD)
        for attention, norm in zip(self.cross_attn_layers, self.attn_norms, strict=True):
            state = norm(state + attention(state, cands, cands, need_weights=False)[0])
        state = functional.normalize(self.query_proj(state[0]), dim=-1)
        cands = functional.normalize(self.cand_proj(cands), dim=-1)
        picks: list[int] = []
        first = cands @ state / 0.1
        for _ in range(shots):
            logits = cands @ state / 0.1
            logits[picks] = -100.0
            picks.append(int(logits.argmax()))
            if hasattr(self, "query_update_gate"):
                chosen = cands[picks[-1]]
                gate = self.query_update_gate(torch.cat([state, chosen])).sigmoid()
                state = functional.normalize(gate * state + (1 - gate) * chosen, dim=-1)
        return picks, first


def v2_form(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names that their converter writes."""
    return {
        PREFIX + name.replace("cross_attn_layers.0.", "cross_attn.").replace("attn_norms.0.", "attn_norm."): value
        for name, value in state.items()
    }


def saved(theirs: Theirs, folder: Path, form: str) -> Path:
    """Their file, of one of the three forms that are about."""
    file = folder / ("model.ckpt" if form == "v2" else "grpo_epoch2.pt")
    if form == "v2":
        content: dict[str, object] = {"epoch": 2, "global_step": 0, "state_dict": v2_form(theirs.state_dict())}
    elif form == "bare":
        content = dict(theirs.state_dict())
    else:
        content = {"epoch": 2, "phase": "grpo", "model_state_dict": theirs.state_dict(), "kl_beta": 0.1}
        content["metrics"] = {"val_loss": 0.5}
    torch.save(content, file)
    return file


def assert_same(theirs: Theirs, ours: PointerSelector, width: int) -> None:
    for _ in range(20):
        query_D, cand_KD = torch.randn(width), torch.randn(9, width)
        picks, logits = theirs(query_D, cand_KD, 4)
        assert ours.select(query_D, cand_KD, 4).tolist() == picks
        encoding = ours.encode(query_D[None], cand_KD[None], torch.ones(1, 9, dtype=torch.bool))
        torch.testing.assert_close(encoding.cand_BKH[0] @ encoding.query_BH[0] / 0.1, logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("gate", [False, True], ids=["static", "gate"])
@pytest.mark.parametrize("width", [10, 12], ids=["projected", "identity"])
@pytest.mark.parametrize(("layers", "form"), [(1, "state"), (3, "state"), (1, "bare"), (1, "v2")])
def test_their_file_picks_as_they_do_and_back(tmp_path: Path, width: int, layers: int, form: str, gate: bool) -> None:
    theirs = Theirs(width, 12, layers, gate)
    file = saved(theirs, tmp_path, form)
    ours = read_selector(file, **GIVEN)
    assert ours.config == SelectorConfig(width, 12, layers, 1, "gate" if gate else "static", 0.1, 0.5)
    assert_same(theirs, ours, width)
    again = tmp_path / f"again{file.suffix}"
    write_selector(ours, again, epoch=2)
    before, after = (torch.load(one, weights_only=True) for one in (file, again))
    if form == "bare":
        before = {"model_state_dict": before}
    name = "state_dict" if form == "v2" else "model_state_dict"
    assert before[name].keys() == after[name].keys()
    assert all(torch.equal(after[name][key], value) for key, value in before[name].items())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({file.name, again.name})


def test_our_selector_picks_the_same_in_their_code(tmp_path: Path) -> None:
    ours = build_selector(SelectorConfig(10, 12, 1, 1, "gate", 0.1, 0.5), 0)
    for file in (tmp_path / "a.pt", tmp_path / "a.ckpt"):
        write_selector(ours, file, phase="rce")
        content = torch.load(file, weights_only=True)
        state = content.get("model_state_dict") or {
            name.removeprefix(PREFIX)
            .replace("cross_attn.", "cross_attn_layers.0.")
            .replace("attn_norm.", "attn_norms.0."): value
            for name, value in content["state_dict"].items()
        }
        theirs = Theirs(10, 12, 1, gate=True)
        theirs.load_state_dict(state)
        assert_same(theirs, ours, 10)


def test_a_wrong_number_of_heads_would_pick_otherwise(tmp_path: Path) -> None:
    """Why the number is asked for: nothing else notices it."""
    theirs = Theirs(10, 12, 1, gate=False, heads=4)
    file = saved(theirs, tmp_path, "state")
    assert_same(theirs, read_selector(file, heads=4, temperature=0.1, dropout=0.0), 10)
    with pytest.raises(AssertionError):
        assert_same(theirs, read_selector(file, heads=1, temperature=0.1, dropout=0.0), 10)
    with pytest.raises(SettingsError, match="not a multiple of heads 5"):
        read_selector(file, heads=5, temperature=0.1, dropout=0.0)


@pytest.mark.parametrize(
    ("change", "suffix", "message"),
    [
        ({"heads": 4}, ".pt", "this selector has 4: train with model.heads 1"),
        ({"temperature": 0.2}, ".ckpt", "temperature 0.1"),
        ({"layers": 2}, ".ckpt", "exactly one attention layer"),
        ({"layers": 0}, ".pt", "at least one attention layer"),
        ({"width": 12}, ".pt", "no input projection"),
        ({}, ".bin", "ends in .pt or .ckpt"),
    ],
)
def test_what_a_form_cannot_carry_is_refused(
    tmp_path: Path, change: dict[str, object], suffix: str, message: str
) -> None:
    values = {"width": 10, "hidden": 12, "layers": 1, "heads": 1, "decoder": "static", "temperature": 0.1}
    model = build_selector(SelectorConfig(**(values | {"dropout": 0.0} | change)), 0)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=message):
        write_selector(model, tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())


class Harm:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def state(**changes: object) -> dict[str, object]:
    """A whole state, changed; None takes a tensor away."""
    found: dict[str, object] = dict(Theirs(10, 12, 1, gate=False).state_dict()) | changes
    return {name: value for name, value in found.items() if value is not None}


BROKEN = [
    (lambda folder: {"model_state_dict": state(), "x": Harm(folder)}, "could run code"),
    (lambda _: [1, 2], "holds a list"),
    (lambda _: {"model_state_dict": [1]}, "its state is a list"),
    (lambda _: {"epoch": 3}, "'epoch' is no tensor"),
    (lambda _: {}, "not a pointer selector"),
    (lambda _: state(**{"query_proj.weight": torch.tensor(1.0)}), "not a pointer selector"),
    (lambda _: state(**{"query_proj.weight": None}), "not a pointer selector"),
    (lambda _: state(**{"query_proj.weight": torch.ones(10**9, 0)}), "no square matrix"),
    (lambda _: state(**{"input_proj.weight": torch.tensor(1.0)}), "expected .12, width"),
    (lambda _: state(**{"query_proj.weight": torch.ones(0, 0)}), "no square matrix"),
    (lambda _: state(**{"cross_attn_layers.0.in_proj_weight": torch.ones(1)}), "does not fit"),
    (lambda _: state(**{"cand_proj.weight": None}), "no cand_proj.weight"),
    (lambda _: state(**{"clip.weight": torch.ones(2)}), "also clip.weight"),
    (lambda _: state(**{"decoder_gru.weight_ih": torch.ones(2)}), "another decoder"),
    (lambda _: state(**{"cross_attn.in_proj_bias": torch.ones(36)}), "twice"),
    (lambda _: state(**{"cross_attn_layers.7.in_proj_weight": torch.ones(36, 12)}), "not a pointer selector of 2"),
    (lambda _: state(**{"cand_proj.weight": torch.ones(12, 11)}), "does not fit"),
    (lambda _: state(**{"cand_proj.weight": torch.full((12, 12), torch.nan)}), "NaN or infinity"),
    (lambda _: state(**{"cand_proj.weight": torch.ones(12, 12, dtype=torch.int64)}), "expected dense floats"),
    (lambda _: state(**{"cand_proj.weight": torch.ones(12, 12).to_sparse()}), "expected dense floats"),
    (lambda _: state(**{"cand_proj.weight": torch.ones(1).expand(10**6, 10**6)}), "more than the file holds"),
]


@pytest.mark.parametrize(("content", "message"), BROKEN)
def test_a_foreign_or_broken_file_is_one_line(tmp_path: Path, content, message: str) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "theirs.pt"
    torch.save(content(tmp_path / "harmed"), file)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_selector(file, **GIVEN)
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)
    assert not (tmp_path / "harmed").exists()


def test_what_is_no_file_of_torch_is_one_line(tmp_path: Path) -> None:
    for name, content in (("empty", b""), ("text", b"hello"), ("half", b"PK\x03\x04" + bytes(40))):
        (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02.")
    (tmp_path / "folder").mkdir()
    for name in ("empty", "text", "half", "zip", "folder", "missing"):
        with pytest.raises(CheckpointError) as caught:
            read_selector(tmp_path / name, **GIVEN)
        assert "\n" not in str(caught.value)
