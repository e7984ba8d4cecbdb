"""The notebook of the documents, executed on a finished run by a real kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sweep
from sweep.runs.paths import RunPaths

NOTEBOOK = Path(__file__).resolve().parents[3] / "docs" / "run.ipynb"


@pytest.fixture(scope="module")
def executed(finished: RunPaths, tmp_path_factory: pytest.TempPathFactory) -> Any:
    import nbformat
    from nbclient import NotebookClient

    folder = tmp_path_factory.mktemp("notebook")
    (folder / "runs").symlink_to(finished.root.local().parent)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(NOTEBOOK.parent.parent))
        NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    return notebook


def outputs(executed: Any) -> list[str]:
    """What each code cell shows as text."""
    return [
        "".join(one.get("text") or str(one.get("data", {})) for one in cell["outputs"] if one.get("name") != "stderr")
        for cell in executed["cells"]
        if cell["cell_type"] == "code"
    ]


def test_every_cell_shows_something_of_the_run(executed: Any, finished: RunPaths) -> None:
    run, shown = sweep.load_run(finished.shown), outputs(executed)
    assert all(shown)
    assert run.verdict is not None and shown[0] == f"mine has ended\n{run.verdict.sentence}\n"
    assert all(f"{row.number}" in shown[1] for row in run.trials)
    assert sum("application/vnd.plotly.v1+json" in text for text in shown) == 3
    assert f"trial {run.best().trial}, epoch {run.best().epoch}" in shown[-1]


def test_it_is_stored_without_outputs() -> None:
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook["cells"])
