"""The file of results -> the section of `docs/benchmarks.md` about GPUs.

    python -m benchmarks.gpu_check.report FILE [--docs docs/benchmarks.md]

Figures of a CPU, or of the size for trying out, are refused. Steps that failed or never came stand in the text.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.groups import GROUPS
from benchmarks.gpu_check.record import Result, read

DOCS = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- gpu-check: written by benchmarks.gpu_check.report -->", "<!-- end of gpu-check -->"


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return ["", *("| " + " | ".join(map(str, line)) + " |" for line in lines), ""]


def section(lines: Sequence[Mapping[str, Any]]) -> str:
    """The whole section. Raises ValueError if the figures are not of a GPU."""
    header = next((dict(line) for line in lines if "header" in line), None)
    if header is None or header["device"] != "cuda" or not header["card"]:
        raise ValueError("these are no figures of a GPU")
    if header["size"] != "full":
        raise ValueError("these figures are of the size for trying out")
    results = {line["step"]: line["result"] for line in lines if "result" in line}
    text = [_place(header)]
    for needed, write in WRITERS:
        if all(name in results for name in needed):
            text += write(*(results[name] for name in needed))
    return "\n".join([*text, *_problems(lines)]).strip()


def _place(header: Result) -> str:
    return (
        f"`make gpu-check` on one {header['card']} ({header['card_gb']} GB, driver {header['driver']}), "
        f"{header['date']} UTC: torch {header['torch']}, CUDA {header['cuda']}, transformers {header['transformers']}, "
        f"Python {header['python']}, {header['cores']} cores, commit {header['commit']}."
    )


def _machine(found: Result) -> list[str]:
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in found["tflops"].items())
    copies = f"copies move {found['copy_gb_per_s']:.0f} GB/s, read and written"
    return ["", f"Bounds measured in the same run: products of {found['side']} a side, TFLOP/s: {rates}; {copies}."]


def _promises(zero: Result, ragged: Result, goldens: Result, repeatable: Result) -> list[str]:
    rows = [
        ["learning rate 0: KL and ratio - 1 are 0", f"{zero['not_zero']} of {len(zero['rows'])} cases are not"],
        ["ragged batch = one at a time", f"largest difference {ragged['worst']:.1e}"],
        ["goldens of the CPU", f"{goldens['outside']} values outside of {goldens['tolerance']}"],
    ]
    for decoder, one in repeatable.items():
        said = "yes" if one["weights_equal"] else f"no, weights differ by {one['difference']:.1e}"
        rows.append([f"two runs equal to the bit, {decoder}", said])
    return table(["training on the card", "found"], rows)


def _epochs(cpu: Result, card: Result) -> list[str]:
    rows: list[list[object]] = []
    slow = {(one["stage"], one["decoder"], one["batch"]): one["epoch_s"] for one in cpu["rows"]}
    for one in card["rows"]:
        other = slow.get((one["stage"], one["decoder"], one["batch"]))
        faster = f"x {other / one['epoch_s']:.1f}" if other else ""
        times = (other or "", one["epoch_s"], one["query_us"], faster)
        rows.append([one["stage"], one["decoder"], one["batch"], *times])
    where = f"CPU, {cpu['threads']} threads, s"
    columns = ["stage", "decoder", "batch", where, "card, s", "card, us per query", "faster"]
    return ["", f"An epoch of {card['queries']} queries x 20 beams x 64 candidates:", *table(columns, rows)]


def _trials(found: Result) -> list[str]:
    rows = [
        [one["trials"], one["queries_per_s"], one["slowest_queries_per_s"], one["fastest_queries_per_s"]]
        for one in found["rows"]
    ]
    columns = ["trials side by side", "queries/s, all", "slowest", "fastest"]
    return [*table(columns, rows), f"Each takes up to {found.get('peak_mb_each')} MB of tensors."]


def _equality(demo: Result, random: Result, half: Result) -> list[str]:
    rows: list[list[object]] = []
    named = [("demo, float32", demo)]
    named += [(f"random, {one['kv_heads']} key heads, float32", one) for one in random["rows"]]
    named += [(f"{one['model']}, bfloat16", one) for one in half["rows"]]
    for name, one in named:
        counts = [f"{one['different'][way]} of {one['compared'][way]}" for way in one["compared"]]
        error = f"{one['engine_error']:.1e} ({one['generate_error']:.1e})" if "engine_error" in one else ""
        rows.append([name, *counts, f"{one['largest_logit_difference']:.1e}", error])
    columns = ["model", "different answers, greedy", "3 beams", "largest logit difference", "error (of `generate`)"]
    return table(columns, rows)


def _speed(usual: Result, engine: Result) -> list[str]:
    ways = list(usual["prompts_per_s"])
    rows: list[list[object]] = [
        [name, *(usual["prompts_per_s"][way][name] for way in ways)] for name in usual["prompts_per_s"][ways[0]]
    ]
    rows.append(["the engine", *(engine[way]["prompts_per_s"] for way in ways)])
    for name, against in (("prompt by prompt", 0), ("left-padded batches", -1)):
        ratios = [engine[way]["prompts_per_s"] / list(usual["prompts_per_s"][way].values())[against] for way in ways]
        rows.append([f"against {name}", *(f"x {ratio:.1f}" for ratio in ratios)])
    rows.append(["share of the bound", *(f"{engine[way]['share_of_bound']:.0%}" for way in ways)])
    for stage in engine[ways[0]]["seconds_by_stage"]:
        rows.append([f"{stage}, s", *(_stage(engine[way], stage) for way in ways)])
    rows.append(["peak memory, GB", *(engine[way].get("peak_gb") for way in ways)])
    shape = f"{engine['parameters'] / 1e9:.1f} billion random weights in the shape of Qwen2.5-VL-3B, bfloat16"
    asked = f"{engine['prompts']} prompts, {engine['different']} of them different"
    asked += f"; the bound is {engine['tflops_bound']} TFLOP/s"
    return ["", f"{shape}: {asked}.", *table(["prompts per second", *(way.replace("_", " ") for way in ways)], rows)]


def _stage(row: Result, stage: str) -> str:
    share = row["share_of_bound_by_stage"].get(stage)
    return f"{row['seconds_by_stage'][stage]:.2f}" + (f" ({share:.0%} of the bound)" if share is not None else "")


def _memory(single: Result, half: Result) -> list[str]:
    rows = [
        [name, one["halvings"], f"{one['unanswered']} of {one['prompts']}", one["different"]]
        for name, one in (("15 million, float32", single), ("3B, bfloat16", half))
    ]
    return table(["memory lowered until it runs out", "halvings", "unanswered", "answered otherwise"], rows)


def _embedding(found: Result) -> list[str]:
    rows = [[one["batch"], one["images_per_s"], f"{one['share_of_bound']:.0%}"] for one in found["rows"]]
    first, decoding = found["patch_embedding_ms"], found["decoding"]
    said = (
        f"Its first layer takes {first['product']} ms as a product, {first['convolution']} ms as a convolution. "
        f"{decoding['threads']} threads decode and resize {decoding['images_per_s']} images/s ({decoding['from']})."
    )
    title = f"vision tower of 3B, {found['side']} x {found['side']} pixels: batch"
    return [*table([title, "images/s", "share of the bound"], rows), said]


WRITERS: Sequence[tuple[Sequence[str], Callable[..., list[str]]]] = (
    (("machine",), _machine),
    (("learning_rate_zero", "ragged", "goldens", "repeatable"), _promises),
    (("epochs_cpu", "epochs_device"), _epochs),
    (("trials",), _trials),
    (("fp32_demo", "fp32_random", "bf16"), _equality),
    (("usual", "engine"), _speed),
    (("memory_fp32", "memory_bf16"), _memory),
    (("embedding",), _embedding),
)


def _problems(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Steps without a result, and steps that found what should not be."""
    by_step = {line["step"]: line for line in lines if "step" in line}
    found = []
    for name in (name for group in GROUPS for name in group.seconds):
        line = by_step.get(name, {"error": "not reached"})
        if "error" in line:
            found.append(f"- `{name}` has no result: {str(line['error']).splitlines()[0]}")
        elif line["result"].get("holds") is False:
            found.append(f"- `{name}` found what should not be")
    return ["", *found] if found else []


def replaced(page: str, text: str) -> str:
    """The page with its section renewed. Raises ValueError if it has no place for it."""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"the page needs one line {BEGIN!r} and one line {END!r}")
    before, after = page[: page.index(BEGIN)], page[page.index(END) :]
    return f"{before}{BEGIN}\n\n{text}\n\n{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check.report")
    parser.add_argument("file", type=Path)
    parser.add_argument("--docs", type=Path, default=DOCS)
    options = parser.parse_args(arguments)
    try:
        text = section(read(options.file))
        options.docs.write_text(replaced(options.docs.read_text(encoding="utf-8"), text), encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"gpu-report: {options.file}: {error}", file=sys.stderr)
        return 2
    print(f"{options.docs}: the section is that of {options.file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
