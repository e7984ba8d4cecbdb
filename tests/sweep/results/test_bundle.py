"""A run as one archive: what is in it, that it can be read elsewhere, and what no archive of a stranger may do."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from sweep.errors import RunError
from sweep.results.bundle import write_bundle
from sweep.results.unpack import import_bundle
from sweep.runs.paths import RunPaths
from sweep.storage.local import stored_at
from tests.sweep.commands import Command
from tests.sweep.results.changes import append
from tests.sweep.trees import tree

ENDINGS = [".tar.zst", ".tar.gz"]


@pytest.fixture(scope="module")
def packed(finished: RunPaths, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A whole bundle of each kind, which nobody changes."""
    folder = tmp_path_factory.mktemp("packed")
    return {ending: write_bundle(finished, folder / f"mine{ending}").file for ending in ENDINGS}


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    return tmp_path / "elsewhere" / "runs"


def test_a_run_with_its_data_is_verified_elsewhere(
    copy: Path, elsewhere: Path, tmp_path: Path, command: Command
) -> None:
    """The runs that it comes from are gone then, and with them all data and items."""
    runs, file = ["--runs", str(copy.parent)], tmp_path / "mine.tar.zst"
    before = tree(copy.parent)
    code, out, error = command("export", "mine", "--bundle", str(file), "--with-data", *runs)
    assert code == 0 and "with its data" in out and "runs import mine.tar.zst" in out, error
    assert tree(copy.parent) == before, "nothing of the run changes"
    shutil.move(copy.parent, tmp_path / "gone")
    code, _, error = command("verify", str(file))
    assert code == 2 and "take it in first, with `python -m sweep runs import" in error
    code, out, error = command("runs", "import", str(file), "--runs", str(elsewhere))
    assert code == 0 and f"python -m sweep verify {elsewhere}/mine\n" in out, error
    taken = tree(elsewhere)
    code, out, error = command("verify", "mine", "--runs", str(elsewhere))
    assert code == 0 and out.rstrip().endswith("nothing differs"), out + error
    code, out, _ = command("status", "mine", "--runs", str(elsewhere))
    assert code == 0 and out.startswith("mine: finished")
    assert command("reproduce", "mine", "--trial", "0", "--runs", str(elsewhere))[0] == 0
    assert tree(elsewhere) == taken and [one.name for one in elsewhere.iterdir()] == ["mine"]
    code, _, error = command("runs", "import", str(file), "--runs", str(elsewhere))
    assert code == 2 and "run 'mine' exists" in error
    assert command("export", "mine", "--bundle", f"{file}2.tar.zst", "--with-data", "--runs", str(elsewhere))[0] == 0
    assert Path(f"{file}2.tar.zst").read_bytes() == file.read_bytes(), "what came out goes in again"


@pytest.mark.parametrize("ending", ENDINGS)
def test_equal_bytes_without_what_belongs_to_a_machine(
    ending: str, copy: Path, elsewhere: Path, tmp_path: Path
) -> None:
    """Somebody has the study open, with a change that is not in the database file yet."""
    (copy / "ray.log").write_text("of this machine")
    (copy / "run.log").write_text("what happened")
    (copy / "report.html").write_text("what was found")
    (copy / "tune").mkdir()
    (copy / "tune" / "scratch").write_text("x")
    with closing(sqlite3.connect(copy / "study.db")) as connection:
        connection.execute("pragma journal_mode=wal")
        connection.execute("create table note (text)")
        connection.commit()
        assert (copy / "study.db-wal").stat().st_size
        paths, files = RunPaths.at(copy), [tmp_path / f"{name}{ending}" for name in "ab"]
        written = [write_bundle(paths, file) for file in files]
    assert files[0].read_bytes() == files[1].read_bytes() and written[0].bytes > files[0].stat().st_size
    found = import_bundle(files[0], stored_at(elsewhere), "other")
    names = set(found.run.root.walk())
    assert {"run.json", "space.yaml", "study.db", "run.log", "seal.json", "ranking.json", "report.html"} <= names
    assert not [name for name in names if name.startswith(("ray", "tune", "driver", "study.db-", "bundle"))]
    assert {path.stat().st_mode & 0o7777 for path in found.run.root.local().rglob("*.json")} == {0o666 & ~umask()}
    with closing(sqlite3.connect(found.run.study_file.local())) as connection:
        assert connection.execute("select count(*) from note").fetchone() == (0,)


def umask() -> int:
    mask = Path("/proc/self/status").read_text().partition("Umask:")[2].split()[0]
    return int(mask, 8)


def test_a_run_that_was_changed_is_driven_or_has_links_is_not_packed(copy: Path, tmp_path: Path) -> None:
    paths, file = RunPaths.at(copy), tmp_path / "mine.tar.zst"
    with paths.lock_file.lock(), pytest.raises(RunError, match="run mine is running"):
        write_bundle(paths, file)
    with pytest.raises(RunError, match=r"ends in .tar.zst or .tar.gz"):
        write_bundle(paths, tmp_path / "mine.zip")
    (copy / "link.txt").symlink_to("/etc/hostname")
    with pytest.raises(RunError, match=r"link.txt is a link"):
        write_bundle(paths, file)
    (copy / "link.txt").unlink()
    renamed = copy.rename(copy.with_name("my run"))
    with pytest.raises(RunError, match="rename the run's folder"):
        write_bundle(RunPaths.at(renamed), file)
    renamed.rename(copy)
    weights = next(copy.glob("trials/*/best/*/model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(RunError, match="run mine was changed since it was written"):
        write_bundle(paths, file)
    append("ranking.json")(copy)
    with pytest.raises(RunError, match="run mine was changed since it was written"):
        write_bundle(paths, file)
    assert not list(tmp_path.glob("*mine.tar*"))


# Strangers' archives --------------------------------------------------------------------------------------------------


def member(name: str, content: bytes = b"", size: int | None = None, **fields: object) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = len(content) if size is None else size
    for field, value in fields.items():
        setattr(header, field, value)
    return header.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + content + bytes(-len(content) % 512)


def contents(*names: str, run: str = "mine", **fields: object) -> bytes:
    entry = {"bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest(), **fields}
    document = {"format": "sweep-bundle/1", "run": run, "files": [{"name": name, **entry} for name in names]}
    return member(f"{run}/bundle.json", json.dumps(document).encode())


X = member("mine/a", b"x")
HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "ends too early"),
    "no archive": (b"hello" * 200, "no bundle, or damaged"),
    "another archive": (member("readme", b"x"), "does not begin with bundle.json"),
    "no contents": (member("mine/bundle.json", b"{"), "damaged, or of another version"),
    "another version": (contents().replace(b"bundle/1", b"bundle/9"), "damaged, or of another version"),
    "run with a path": (contents("a", run="../mine"), "damaged, or of another version"),
    "hidden run": (contents("a", run=".mine"), "damaged, or of another version"),
    "absolute": (contents("/etc/cron.d/x"), "is no file that a bundle holds"),
    "upwards": (contents("trials/../../x"), "is no file that a bundle holds"),
    "backslash": (contents("..\\x"), "is no file that a bundle holds"),
    "line break": (contents("a\nb"), "is no file that a bundle holds"),
    "empty name": (contents("a//b"), "is no file that a bundle holds"),
    "a driver": (contents("driver.json"), "is no file that a bundle holds"),
    "a write-ahead log": (contents("study.db-wal"), "is no file that a bundle holds"),
    "negative": (contents("a", bytes=-1), "damaged, or of another version"),
    "twice": (contents("a", "a") + X + X, "names a file twice"),
    "twice where case is ignored": (contents("a", "A") + X + X, "names a file twice"),
    "file and folder": (contents("a", "a/b") + X, "names a file twice"),
    "link": (contents("a") + member("mine/a", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is no plain file"),
    "hard link": (contents("a") + member("mine/a", type=tarfile.LNKTYPE, linkname="/etc/passwd"), "is no plain file"),
    "device": (contents("a") + member("mine/a", type=tarfile.CHRTYPE), "is no plain file"),
    "pipe": (contents("a") + member("mine/a", type=tarfile.FIFOTYPE), "is no plain file"),
    "folder": (contents("a") + member("mine/a", type=tarfile.DIRTYPE), "is no plain file"),
    "sparse": (contents("a") + member("mine/a", type=tarfile.GNUTYPE_SPARSE), "is no plain file"),
    "long name": (
        contents("a") + member("././@LongLink", b"y" * 999, type=tarfile.GNUTYPE_LONGNAME),
        "is no plain file",
    ),
    "another name": (contents("a") + member("mine/../../b", b"x"), "holds 'mine/../../b' where bundle.json has"),
    "another size": (contents("a") + member("mine/a", b"xx"), "where bundle.json has 'mine/a' of 1 bytes"),
    "another content": (contents("a") + member("mine/a", b"y"), "its SHA-256 is not the one"),
    "cut off": (contents("a", bytes=5000) + member("mine/a", b"x", size=5000), "ends too early"),
    "a bomb": (contents("a", bytes=10**12) + member("mine/a", b"x", size=10**12), "times its own size: no run does so"),
    "large contents": (member("mine/bundle.json", b"", size=10**9), "does not begin with bundle.json"),
    "no run": (contents("a") + X, "not a run folder"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_strangers_archive_is_refused_in_a_line(name: str, elsewhere: Path, tmp_path: Path) -> None:
    content, said = HOSTILE[name]
    file = tmp_path / "theirs.tar.gz"
    file.write_bytes(gzip.compress(content + bytes(1024) if content else b""))
    with pytest.raises(RunError, match=r"^[^\n]*$") as refused:
        import_bundle(file, stored_at(elsewhere))
    assert said in str(refused.value)
    assert not list(elsewhere.glob("*")) and sorted(path.name for path in tmp_path.iterdir() if path != file) in (
        [],
        ["elsewhere"],
    )


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"\0" * 99, lambda raw: raw[:-9] + b"\1" * 9]
)
def test_a_damaged_archive_is_refused_in_a_line(
    ending: str, damage: Callable[[bytes], bytes], packed: dict[str, Path], elsewhere: Path, tmp_path: Path
) -> None:
    """The packing has a sum of its own in `.gz`. What follows the last file is not read in `.zst`."""
    file, raw = tmp_path / f"mine{ending}", packed[ending].read_bytes()
    file.write_bytes(damage(raw))
    try:
        found = import_bundle(file, stored_at(elsewhere))
    except RunError as error:
        assert "\n" not in str(error) and not list(elsewhere.glob("*"))
    else:
        assert damage(raw)[:-9] == raw[:-9] and found.run.ranking_file.exists()


def test_a_full_disk_is_seen_before_anything_is_written(
    packed: dict[str, Path], elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(RunError, match=r"has room for 0\.001 MB"):
        import_bundle(packed[".tar.gz"], stored_at(elsewhere))
    assert not list(elsewhere.glob("*"))
