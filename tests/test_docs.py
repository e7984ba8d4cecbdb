"""What the documents show works as shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sweep.space import parse_space

ROOT = Path(__file__).resolve().parent.parent


def test_the_example_space_is_valid() -> None:
    text = (ROOT / "docs" / "spaces.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    space = parse_space(example, "spaces.md")
    assert space.name == "mine" and "grpo.adaptive_beta.factor" in space.parameters


def test_the_training_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(example, "training.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 15 and lines[0].startswith("rce 1 ") and lines[-1].startswith("grpo 10 ")


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_every_page_is_linked_from_the_readme(page: str) -> None:
    assert f"(docs/{page})" in (ROOT / "README.md").read_text(encoding="utf-8")
