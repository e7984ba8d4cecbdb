"""The walk of docs/own-data.md, as written: every block in its order, in an empty folder with a download in small."""

from __future__ import annotations

import json
import random
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from sweep.evaluation.records import read_evaluation
from sweep.plan.cost import measure
from sweep.runs.paths import RunPaths
from sweep.space import load_space
from tests.sweep.commands import call
from tests.sweep.embed.checkpoints import clip_checkpoint
from tests.sweep.vlm.models import write_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]
PAGE = Path(__file__).resolve().parent.parent / "docs" / "own-data.md"
COLOURS = ("red", "green", "blue", "white")
IMAGES = 50


def blocks() -> Iterator[tuple[str, str]]:
    """Kind and text of the page's blocks."""
    yield from re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def download(folder: Path) -> None:
    """Fifty images, official JSON, a Qwen2.5-VL and a CLIP, where the page expects them."""
    draw = random.Random(0)
    (folder / "coco/train2014").mkdir(parents=True)
    (folder / "okvqa").mkdir()
    questions, annotations = [], []
    for number in range(1, IMAGES + 1):
        colour = draw.choice(COLOURS)
        image = Image.new("RGB", (draw.choice((56, 64, 84)), 56), "black")
        left, top = number % 20, number // 3
        ImageDraw.Draw(image).rectangle((left, top, left + 30, top + 30), fill=colour)
        image.save(folder / f"coco/train2014/COCO_train2014_{number:012}.jpg")
        both = {"image_id": number, "question_id": 10 * number}
        questions.append({**both, "question": f"What is the colour of this {draw.choice(('square', 'shape'))}?"})
        answers = [{"answer": colour, "raw_answer": colour, "answer_id": one} for one in range(1, 11)]
        annotations.append({**both, "answers": answers, "question_type": "other", "answer_type": "other"})
    form = {"info": {}, "license": {}, "data_type": "mscoco", "data_subtype": "train2014"}
    for name, content in (
        ("OpenEnded_mscoco_train2014_questions.json", {**form, "questions": questions}),
        ("mscoco_train2014_annotations.json", {**form, "annotations": annotations}),
    ):
        (folder / "okvqa" / name).write_text(json.dumps(content))
    write_checkpoint(folder / "models/vlm")
    clip_checkpoint(folder / "models/clip")


def test_the_walk_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measure, "SECONDS", dict.fromkeys(measure.SECONDS, 0.2))
    download(tmp_path)
    said: dict[str, str] = {}
    for kind, text in blocks():
        if kind == "yaml":
            name = text.split("\n")[0].removeprefix("# ")
            (tmp_path / name).write_text(text)
        elif kind == "python":
            capfd.readouterr()
            exec(compile(text, "own-data.md", "exec"), {})
            said["python"] = capfd.readouterr().out
        else:
            for line in text.splitlines():
                said[line] = run(line, capfd, monkeypatch, tmp_path)
    costs = said["$ python -m sweep validate mine.yaml --measure"]
    assert re.search(r"embed +50 images and 2 questions", costs) and re.search(r"collect +400 prompts", costs)
    assert "in all" in costs and "measured on the CPU" in costs
    assert "verdict:" in said["$ python -m sweep run mine.yaml"]
    assert load_space("okvqa.yaml").embed is not None  # the copy that `show-space` made
    paths = RunPaths.at(tmp_path / "runs/mine-1")
    assert {"similarity", "random"} < {row.name for row in read_evaluation(paths.evaluation("declared").file).rows}
    picks = json.loads(said["python"].split(":")[1])
    assert len(set(picks)) == 4 and set(picks) <= set(range(1, 17))


def run(line: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    """One line of a console block, which begins with `$ python -m sweep`. `> FILE` is done here."""
    words = shlex.split(line)
    assert words[:4] == ["$", "python", "-m", "sweep"], line
    into = None
    if ">" in words:
        words, into = words[: words.index(">")], words[-1]
    code, out, error = call(capfd, monkeypatch, *words[4:])
    assert code == 0, f"{line}: {error or out}"
    if into is not None:
        (folder / into).write_text(out)
    return out
