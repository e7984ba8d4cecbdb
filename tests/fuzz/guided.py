"""Coverage-guided fuzzing of the readers, with atheris: `python -m tests.fuzz.guided TARGET --seconds 300`.

A finding is a file that a reader neither loads nor refuses with a typed error: another exception, a hang, too much
memory, a crash of native code. It is stored, and the search in that target ends. The search runs in a process of its
own, because the packages must be instrumented while they are imported, and because libFuzzer ends its process.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import io
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from pathlib import Path
from random import Random

INSTRUMENTED = ("selector", "sweep")  # with yaml, a space takes five times as long
FOLDER = Path("build/fuzz")
LAST = "last"  # the input that is being read
HANG_SECONDS, MEMORY_MB = 20, 4096
NO_ATHERIS = "atheris is not installed: `pip install atheris` (wheels for x86-64 Linux, Python 3.11 to 3.13)"
COVERAGE = re.compile(r"^#\d+\s+\w+\s+cov: (\d+) ft: \d+ corp: (\d+)", re.MULTILINE)
EXECUTED = re.compile(r"^stat::number_of_executed_units: (\d+)", re.MULTILINE)
SECONDS = re.compile(r"^Done \d+ runs in (\d+) second", re.MULTILINE)
RAISED = re.compile(r"=== Uncaught Python exception: ===\n(.*)")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz.guided", description="Search for files that break readers."
    )
    parser.add_argument("target", help="the kind of file, or all; an unknown name lists them")
    parser.add_argument("--seconds", type=int, default=300, help="per target (default: 300)")
    parser.add_argument(
        "--corpus", type=Path, help=f"inputs that reach new code, kept (default: {FOLDER}/TARGET/corpus)"
    )
    parser.add_argument("--repeat", type=Path, metavar="FILE", help="give the target this one file; needs no atheris")
    parser.add_argument("--engine", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.engine is not None:
        search(given.target, given.seconds, given.corpus, given.engine)
    targets = importlib.import_module("tests.fuzz.targets").TARGETS
    if given.target not in (*targets, "all"):
        parser.error(f"no target {given.target!r}; there are {', '.join(targets)}, and all of them by the name all")
    if given.repeat is not None:
        return repeat(targets[given.target], given.repeat)
    if importlib.util.find_spec("atheris") is None:
        print(NO_ATHERIS, file=sys.stderr)
        return 2
    names = list(targets) if given.target == "all" else [given.target]
    found = [search_apart(name, given.seconds, given.corpus or FOLDER / name / "corpus") for name in names]
    return max(found)


def repeat(make, file: Path) -> int:
    """Raises what the finding raises."""
    with tempfile.TemporaryDirectory() as folder:
        print("refused with a typed error" if make(Path(folder)).load(file.read_bytes()) is None else "loaded")
    return 0


def search_apart(name: str, seconds: int, corpus: Path) -> int:
    """Search in another process and say in one line how far it came, and of a finding where it is. 0: none; 1: one."""
    findings, log = FOLDER / name / "findings", FOLDER / name / "log.txt"
    for folder in (findings, corpus):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    with tempfile.TemporaryDirectory() as folder, log.open("w", encoding="utf-8") as stream:
        command = [sys.executable, "-m", "tests.fuzz.guided", name, "--seconds", str(seconds)]
        process = subprocess.Popen(
            [*command, "--corpus", str(corpus), "--engine", folder], stdout=stream, stderr=subprocess.STDOUT
        )
        try:
            status = process.wait()
        except KeyboardInterrupt:  # it was interrupted as well, and says how far it came
            process.wait()
            raise
        finally:
            process.kill()
        if status and set(findings.iterdir()) == before and (last := Path(folder) / LAST).exists():
            shutil.copy(
                last, findings / f"crash-{hashlib.sha1(last.read_bytes()).hexdigest()}"
            )  # libFuzzer could not store it
    new = sorted(set(findings.iterdir()) - before)
    print("\n".join(report(name, log.read_text(encoding="utf-8", errors="replace"), new)), flush=True)
    if status and not new:
        print(f"  the search itself failed; see {log}")
    return int(bool(new or status))


def report(name: str, said: str, findings: Sequence[Path]) -> list[str]:
    """How far a search came, and of each finding where it is, what was raised, and how it is repeated."""
    lines = [f"{name}: {progress(said)}, {f'findings: {len(findings)}' if findings else 'no finding'}"]
    for file in findings:
        raised = RAISED.search(said)
        lines.append(f"  {file}: {raised[1] if raised else file.name.partition('-')[0]}")
        lines.append(f"  repeat it with: python -m tests.fuzz.guided {name} --repeat {file}")
    return lines


def progress(said: str) -> str:
    """Of libFuzzer's output: inputs, and edges reached by the seeds (with the stored corpus) and in the end."""
    reached, executed, seconds = COVERAGE.findall(said), EXECUTED.search(said), SECONDS.search(said)
    if not reached or executed is None:
        return "nothing executed"
    time = f" in {seconds[1]} s" if seconds else ""
    return f"{executed[1]} inputs{time}, {reached[0][0]} -> {reached[-1][0]} edges, corpus of {reached[-1][1]}"


def search(name: str, seconds: int, corpus: Path, folder: Path) -> None:
    """Search in this process, with the target's files in `folder`. Does not return."""
    import atheris

    warnings.simplefilter("ignore")
    with atheris.instrument_imports(include=INSTRUMENTED), redirect_stderr(io.StringIO()):
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
    importlib.import_module("torch").set_num_threads(1)
    logging.disable()
    files = folder / "files"
    files.mkdir()
    target = targets[name](files)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = {word for seed in target.seeds for word in re.findall(rb"[A-Za-z_][\w./-]{2,40}", seed)}
    (folder / "words").write_bytes(b"".join(b'"%s"\n' % word for word in sorted(words)))

    def load(content: bytes) -> None:
        (folder / LAST).write_bytes(content)
        target.load(content)

    def mutate(content: bytes, most: int, seed: int) -> bytes:
        """Half of the times within the file's form; bytes that random cuts made are hardly ever of any form."""
        random = Random(seed)
        if random.random() < 0.5:
            with suppress(ValueError, RecursionError):
                altered = target.alter(content, random)
                if len(altered) <= most:
                    return altered
        return atheris.Mutate(content, most)

    options = {
        "max_total_time": seconds,
        "max_len": max(4096, 2 * max(map(len, target.seeds))),
        "mutate_depth": 2,
        "timeout": HANG_SECONDS,
        "rss_limit_mb": MEMORY_MB,
        "dict": folder / "words",
        "artifact_prefix": f"{FOLDER / name / 'findings'}/",
        "print_final_stats": 1,
    }
    arguments = [f"-{option}={value}" for option, value in options.items()]
    atheris.Setup([sys.argv[0], *arguments, str(corpus)], load, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
