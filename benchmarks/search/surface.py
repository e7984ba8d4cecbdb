"""A recorded surface: what a trial at any point of a space would report, from trials that were trained.

A lookup interpolates between the recorded points by a Gaussian process, field by field and epoch by epoch. Its kernel
is a product over the parameters, a Matern 5/2 of the distance for a float and a factor for another choice. Its lengths
are those of the highest likelihood of the best validation losses. `pack` finds them, and measures by how much a lookup
errs at a recorded point that it was not given. The other lookup takes the nearest recorded point, by the same distance.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve  # type: ignore[import-untyped]
from scipy.optimize import minimize  # type: ignore[import-untyped]
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from benchmarks.search.points import coordinates, spread_points
from selector.arrays import Float64Array
from selector.reports import EpochReport, Stage
from sweep.space import Scalar, SearchSpace, find_space, parse_space
from sweep.space.parameters import CategoricalParameter

FIELDS = ("val_loss", "val_reward", "train_loss", "grad_norm", "kl", "kl_share", "advantage_std",
          "zero_variance_share", "agreement_sequence")  # fmt: skip
"""What is recorded of an epoch: all that the driver and the verdicts look at."""
LARGEST = {"zero_variance_share": 1.0, "agreement_sequence": 1.0, "kl_share": 1.0}
SIGNED = ("val_reward", "train_loss")
UNKNOWN = {one.name: math.nan for one in dataclasses.fields(EpochReport)} | {
    "parameter_change": {}, "train_queries": 0, "policy_loss": None, "kl": None, "kl_share": None, "ratio_mean": None,
    "ratio_min": None, "ratio_max": None, "clip_fraction": None, "advantage_mean": None, "advantage_std": None,
    "advantage_max": None, "beta": None, "tau": None,
}  # fmt: skip
"""An epoch of which nothing was recorded."""
FOLDER = Path(__file__).parent / "surfaces"
EPOCH_SECONDS = 3600.0
"""An epoch of GRPO takes an hour of virtual time, so that a budget in hours is one in epochs."""
PROBES = 4096
"""Points that are looked up to find the lowest of the surface."""


class Lookup(StrEnum):
    """How a point between recorded ones is answered."""

    INTERPOLATION = "interpolation"
    NEAREST = "nearest"


class Surface:
    """Recorded points of one space.

    Args:
        header: how it was made.
        rows: one per point, as `benchmarks.search.record` writes them.
        lookup: between points.
    """

    def __init__(
        self, header: dict[str, Any], rows: list[dict[str, Any]], lookup: Lookup = Lookup.INTERPOLATION
    ) -> None:
        self.header = header
        self.lookup = lookup
        self.space: SearchSpace = parse_space(*find_space(header["space"]), tuple(header["changes"]))
        self.rce_epochs, self.grpo_epochs = self.space.epochs()
        self._points_NP = np.stack([coordinates(self.space, row["params"]) for row in rows])
        values = [[[math.nan if one is None else one for one in row[name]] for name in FIELDS] for row in rows]
        self._curves_NFE = np.array(values, dtype=np.float64)
        self._choices_P = np.array([isinstance(self.space.parameters[path], CategoricalParameter)
                                    for path in self.space.distributions])  # fmt: skip

    @classmethod
    def read(cls, file: Path, lookup: Lookup = Lookup.INTERPOLATION) -> Surface:
        """From a packed file."""
        header, *rows = map(json.loads, gzip.decompress(file.read_bytes()).decode("utf-8").splitlines())
        return cls(header, rows, lookup)

    def __len__(self) -> int:
        return len(self._points_NP)

    @cached_property
    def best_values(self) -> Float64Array:
        """The lowest validation loss of each recorded point's GRPO epochs."""
        return _best(self._curves_NFE, self.rce_epochs)

    def values(self, params: Mapping[str, Scalar]) -> Float64Array:
        """All fields of all epochs at a point, float64 [F, E]. NaN where a stage has no such quantity."""
        near_N = self.kernel(coordinates(self.space, params)[None], self._points_NP, self.header["lengths"])[0]
        if self.lookup is Lookup.NEAREST:
            return self._curves_NFE[int(near_N.argmax())]
        found = self._mean + np.tensordot(near_N, self._weights, axes=1)
        for place, name in enumerate(FIELDS):
            if name not in SIGNED:
                found[place] = np.clip(found[place], 0.0, LARGEST.get(name))
        return found

    def reports(self, params: Mapping[str, Scalar]) -> Iterator[EpochReport]:
        """The curve of a trial. A warm-up takes no time: it is trained once for all trials."""
        for place, column in enumerate(self.values(params).T.tolist()):
            grpo = place >= self.rce_epochs
            yield EpochReport(**{
                **UNKNOWN,
                **{name: None if math.isnan(value) else value for name, value in zip(FIELDS, column, strict=True)},
                "stage": Stage.GRPO if grpo else Stage.RCE,
                "epoch": place + 1 - self.rce_epochs * grpo,
                "step": place + 1,
                "seconds": EPOCH_SECONDS * grpo,
            })  # fmt: skip

    def best(self, params: Mapping[str, Scalar]) -> float:
        """What a trial would reach if nothing stopped it."""
        return float(_best(self.values(params)[None], self.rce_epochs)[0])

    @cached_property
    def lowest(self) -> float:
        """The lowest validation loss that a lookup gives at PROBES spread points or at a recorded one."""
        return min(float(self.best_values.min()), min(map(self.best, spread_points(self.space, PROBES))))

    @cached_property
    def _mean(self) -> Float64Array:
        return self._curves_NFE.mean(axis=0)

    @cached_property
    def _weights(self) -> Float64Array:
        gram = self._gram(self.header["lengths"], self.header["noise"])
        flat = np.nan_to_num(self._curves_NFE - self._mean).reshape(len(self), -1)
        return np.asarray(cho_solve(cho_factor(gram), flat)).reshape(self._curves_NFE.shape)

    def kernel(self, left_LP: Float64Array, right_RP: Float64Array, lengths: list[float]) -> Float64Array:
        """Likeness of points, float64 [L, R] in (0, 1]."""
        found = np.ones((len(left_LP), len(right_RP)))
        for place, length in enumerate(lengths):
            left, right = left_LP[:, None, place], right_RP[None, :, place]
            if self._choices_P[place]:
                found *= np.where(left == right, 1.0, math.exp(-1.0 / length))
                continue
            far = np.abs(left - right) / length * math.sqrt(5)
            found *= (1 + far + far**2 / 3) * np.exp(-far)
        return found

    def _gram(self, lengths: list[float], noise: float) -> Float64Array:
        return self.kernel(self._points_NP, self._points_NP, lengths) + noise * np.eye(len(self))

    def fit(self) -> None:
        """Find lengths and noise, and measure the errors of both lookups; all of it goes into the header."""
        best_N = self.best_values
        unit = (best_N - best_N.mean()) / best_N.std()

        def surprise(logs: Float64Array) -> float:
            lengths, noise = np.exp(logs[:-1]).tolist(), float(np.exp(logs[-1]))
            gram, lower = cho_factor(self._gram(lengths, noise), lower=True)
            scaled = unit @ cho_solve((gram, lower), unit) / len(unit)  # the best variance of the process
            return float(0.5 * len(unit) * math.log(scaled) + np.log(np.diag(gram)).sum())

        count = len(self._choices_P)
        start = np.log([2.0 if choice else 0.5 for choice in self._choices_P] + [0.01])
        bounds = [(math.log(0.05), math.log(100.0))] * count + [(math.log(1e-5), math.log(1.0))]
        found = minimize(surprise, start, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60})
        self.header["lengths"] = [round(one, 4) for one in np.exp(found.x[:-1]).tolist()]
        self.header["noise"] = float(f"{math.exp(found.x[-1]):.4g}")
        self.header["errors"] = self._errors(best_N)

    def _errors(self, best_N: Float64Array) -> dict[str, Any]:
        """Of the best validation loss at each point from all others: root mean square, and rank correlation."""
        gram = self._gram(self.header["lengths"], self.header["noise"])
        inverse = np.linalg.inv(gram)
        mean = best_N.mean()
        interpolated = best_N - (inverse @ (best_N - mean)) / np.diag(inverse)
        np.fill_diagonal(gram, -1.0)
        found = {Lookup.INTERPOLATION: interpolated, Lookup.NEAREST: best_N[gram.argmax(axis=1)]}
        return {
            "spread": round(float(best_N.std()), 5),
            **{
                name.value: {
                    "rms": round(float(np.sqrt(((values - best_N) ** 2).mean())), 5),
                    "rank_correlation": round(float(spearmanr(values, best_N).statistic), 3),
                }
                for name, values in found.items()
            },
        }


def _best(curves_NFE: Float64Array, skip: int) -> Float64Array:
    return np.asarray(curves_NFE[:, FIELDS.index("val_loss"), skip:].min(axis=1))


def pack(recorded: Path, file: Path) -> None:
    """Write the small file of a surface, and print how well it is looked up."""
    header, *rows = map(json.loads, recorded.read_text(encoding="utf-8").splitlines())
    surface = Surface(header, rows)
    surface.fit()
    lines = [surface.header | {"points": len(rows)}, *rows]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))
    print(f"{file}: {len(rows)} points, {file.stat().st_size / 1e3:.0f} kB; {json.dumps(surface.header['errors'])}")
