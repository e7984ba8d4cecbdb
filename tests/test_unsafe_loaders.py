"""No line of ours loads what could execute: a scan of the source, and proof that the scan sees what it should."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "jsonpickle",
    "tarfile",
    "zipfile",
}
CHECKED = {
    "sweep/submission/package.py": "imports zipfile",  # writes an archive
    "sweep/results/bundle.py": "imports tarfile",  # writes headers
    "sweep/results/unpack.py": "imports tarfile",  # reads headers one by one, and extracts nothing by them
}
SAFE_LOADERS = {"SafeLoader", "CSafeLoader", "_Loader"}  # `_Loader` derives from SafeLoader and runs no constructor


def findings(source: str) -> list[str]:
    """Line and reason of everything unsafe in a module's text."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"{node.lineno}: imports {name}" for name in names if name.split(".")[0] in MODULES]
        elif isinstance(node, ast.Call) and (reason := _unsafe(node)):
            found.append(f"{node.lineno}: {reason}")
    return found


def _unsafe(call: ast.Call) -> str | None:
    name = ast.unparse(call.func)
    given = {word.arg: ast.unparse(word.value) for word in call.keywords}
    last = name.rpartition(".")[2]
    if name in ("eval", "exec", "__import__", "compile"):
        return name
    if name == "torch.load" and given.get("weights_only") != "True":
        return "torch.load without weights_only=True"
    if name in ("np.load", "numpy.load") and given.get("allow_pickle") != "False":
        return "np.load without allow_pickle=False"
    if last in ("read_pickle", "unsafe_load", "full_load", "extractall", "unpack_archive"):
        return name
    if name in ("yaml.load", "yaml.load_all") and given.get("Loader") not in {
        f"yaml.{loader}" for loader in SAFE_LOADERS
    }:
        return f"{name} without a safe loader"
    if given.get("trust_remote_code", "False") != "False":
        return "trust_remote_code"
    if given.get("shell", "False") != "False" or name == "os.system":
        return "a shell"
    return None


@pytest.mark.parametrize("package", ["selector", "sweep", "search_spaces"])
def test_nothing_executes_data(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    found = [(str(file.relative_to(ROOT)), what) for file in files for what in findings(file.read_text("utf-8"))]
    assert not [f"{file}:{what}" for file, what in found if not what.endswith(CHECKED.get(file, "nothing"))]


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "np.load(file)",
        "np.load(file, allow_pickle=True)",
        "import pickle",
        "from dill import loads",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "pd.read_pickle(file)",
        "archive.extractall(folder)",
        "eval(text)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "subprocess.run(line, shell=True)",
        "def late():\n    import marshal",
    ],
)
def test_the_scan_sees(line: str) -> None:
    assert len(findings(line)) == 1


def test_the_scan_lets_pass() -> None:
    good = "torch.load(f, weights_only=True)\nnp.load(f, allow_pickle=False)\nyaml.safe_load(t)\nmodel.eval()"
    assert not findings(good)


@pytest.mark.parametrize(
    ("reader", "homes"),
    [
        ("ParquetFile(", ["selector/parquet_helper.py"]),
        ("pq.read", []),
        ("Image.open(", ["sweep/vlm/engine/pixels.py"]),
        ("torch.load(", ["selector/data/embeddings.py", "selector/lever_plus.py"]),
        ("np.load(", ["selector/data/embeddings.py"]),
        (".from_string(", ["sweep/settings/rendering.py"]),
    ],
)
def test_readers_without_bounds_are_called_where_the_bounds_are(reader: str, homes: list[str]) -> None:
    files = (file for package in ("selector", "sweep") for file in sorted((ROOT / package).rglob("*.py")))
    assert [str(file.relative_to(ROOT)) for file in files if reader in file.read_text("utf-8")] == homes
