"""What travels: all of the code and nothing else, the same bytes for the same content."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from sweep.errors import RunError
from sweep.submission import package
from sweep.submission.package import PACKAGES, files_at, installed_code, pack, working_tree

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    pack(installed_code(), folder / "code.zip")
    zipfile.ZipFile(folder / "code.zip").extractall(folder)
    return folder


def test_the_archive_alone_is_the_program(unpacked: Path) -> None:
    """With the packages of the cluster, and from the archive even where another version is installed."""
    code = "import sweep, selector, search_spaces; from importlib import metadata; import sweep.cli.app as app; "
    code += "print(*(m.__path__[0] for m in (sweep, selector, search_spaces)), metadata.version('demonstration-sweep'))"
    bare = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    line = [sys.executable, "-c", code]
    said = subprocess.run(line, cwd=unpacked, env=bare, capture_output=True, text=True, check=True).stdout.split()
    assert said == [*(str(unpacked / name) for name in PACKAGES), metadata.version("demonstration-sweep")]


def test_the_archive_has_every_file_of_the_packages_and_no_byte_code(unpacked: Path) -> None:
    ours = {
        str(file.relative_to(ROOT))
        for name in PACKAGES
        for file in (ROOT / name).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    sent = set(zipfile.ZipFile(unpacked / "code.zip").namelist())
    assert ours <= sent
    assert {name.split("/")[0] for name in sent - ours} == {
        f"demonstration_sweep-{metadata.version('demonstration-sweep')}.dist-info"
    }


def test_the_same_content_is_the_same_archive(tmp_path: Path) -> None:
    """Ray names an archive by its hash, and takes it only once."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/one").write_text("1")
    files = {"b": "two", **{f"x/{name}": file for name, file in files_at(tmp_path / "data").items()}}
    hashes = set()
    for number, changed in enumerate((0, 10**9)):
        os.utime(tmp_path / "data/one", (changed, changed))
        pack(dict(reversed(files.items())) if number else files, tmp_path / f"{number}.zip")
        hashes.add(hashlib.sha256((tmp_path / f"{number}.zip").read_bytes()).hexdigest())
    assert len(hashes) == 1


def test_a_source_tree_travels_without_what_git_ignores(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in PACKAGES:
        (tree / name).mkdir(parents=True)
        (tree / name / "__init__.py").write_text("")
    (tree / ".gitignore").write_text("runs/\n")
    (tree / "runs").mkdir()
    (tree / "runs/big").write_text("x")
    (tree / "mine.yaml").write_text("name: x\n")
    assert {"runs/big", "mine.yaml", "sweep/__init__.py"} <= set(working_tree(tree))  # no checkout
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    sent = set(working_tree(tree))
    assert {"mine.yaml", "sweep/__init__.py"} <= sent and "runs/big" not in sent
    assert not [name for name in sent if name.startswith(".git/")]


def test_a_folder_without_the_program_is_no_source_tree(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"--working-dir .*has no sweep/__init__\.py.*source tree"):
        working_tree(tmp_path)


def test_what_ray_would_refuse_is_refused_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "MOST_PACKED", 1000)
    with pytest.raises(RunError, match=r"would travel, packed.*absolute paths"):
        pack({"noise": os.urandom(3000).hex()}, tmp_path / "a")
    monkeypatch.setattr(package, "MOST_BYTES", 10)
    with pytest.raises(RunError, match=r"would travel: Ray takes"):
        pack({"a": "x" * 11}, tmp_path / "b")
