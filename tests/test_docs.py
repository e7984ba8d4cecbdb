"""What the documents show works as shown."""

from __future__ import annotations

import json
import re
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch

from selector.config import SelectorConfig
from selector.model import build_selector
from selector.program import write_program
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


def test_the_lines_for_users_of_a_selector_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    selector = build_selector(SelectorConfig(768, 16, 1, 1, "gate", 0.1, 0.1), 0).eval()
    selector.save_pretrained("best")
    write_program(selector, tmp_path / "best" / "selector.pt2", 4)
    text = (ROOT / "docs" / "using.md").read_text(encoding="utf-8")
    plain, batch, service, program = re.findall(r"```python\n(.*?)```", text, re.DOTALL)

    found = run_lines(plain)
    assert torch.equal(found["picks"], selector.select(found["query_emb"], found["cand_emb"], 4))

    embeddings, pools = torch.randn(60, 768), torch.stack([torch.randperm(60)[:21] for _ in range(300)])
    torch.save(embeddings, "embeddings.pt")
    torch.save(pools, "pools.pt")
    run_lines(batch)
    picks = selector.select(embeddings[pools[:, 0]], embeddings[pools[:, 1:]], 4)
    assert torch.equal(torch.load("picks.pt", weights_only=True), pools[:, 1:].gather(1, picks))

    found = run_lines(program)
    assert torch.equal(found["picks"], selector.select(found["query_emb"], found["cand_emb"], 4))

    started = service.replace("make_server(", "server = make_server(").replace("8000", "0")
    found = run_lines(started.replace(".serve_forever()", ""))
    server, query, cand = found["server"], torch.randn(768), torch.randn(9, 768)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    asked = {"query": query.tolist(), "candidates": cand.tolist(), "shots": 3}
    url = f"http://localhost:{server.server_port}/"
    with urllib.request.urlopen(url, json.dumps(asked).encode(), timeout=30) as answer:
        assert json.load(answer) == selector.select(query, cand, 3).tolist()
    thread.join()
    server.server_close()


def run_lines(code: str) -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec(compile(code, "using.md", "exec"), space)
    return space
