"""Selecting with a model, loading an exported one, and doing both where only torch is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path

import pytest
import safetensors.torch
import torch

from selector.config import SelectorConfig
from selector.errors import CheckpointError, SettingsError
from selector.model import PointerSelector
from tests.selector.worlds import ARCHITECTURES, CONFIG, inputs, shaken

ROOT = Path(__file__).parents[2]


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
                    {"temperature": "0.1"}, {"dropout": 1}, {"dropout": None}, {"extra": 1},
                )
            ),
        ],
    )  # fmt: skip
    def test_broken_configuration(self, tmp_path: Path, text: str) -> None:
        export(tmp_path, shaken(CONFIG, torch.float32))
        (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(CheckpointError, match=r"config\.json: no configuration of a selector") as caught:
            PointerSelector.from_pretrained(tmp_path)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
    def test_missing_file_is_named(self, tmp_path: Path, missing: str) -> None:
        export(tmp_path, shaken(CONFIG, torch.float32))
        (tmp_path / missing).unlink()
        with pytest.raises(CheckpointError, match=missing):
            PointerSelector.from_pretrained(tmp_path)

    @pytest.mark.parametrize(
        "change",
        [{"hidden": 24}, {"layers": 2}, {"layers": 0}, {"decoder": "static"}, {"width": 10**15}, {"width": 10**30}],
    )
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
    OURS = {"selector"} | {f"selector.{name}" for name in "attention config errors files model tensors unit".split()}

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
