"""The driver's machine for tests: in this process, and yet nothing crosses that could not cross to another one."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from sweep.storage.home_files import HomeFiles


class NearHome:
    """As `Home`. What is asked and answered is pickled, as it is on a cluster.

    Attributes:
        asked: what was asked for, in order.
        damages: whether contents are changed on their way.
    """

    def __init__(self, root: Path, patience: float = 20.0) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.place = str(root)
        self.files = HomeFiles(root, patience)
        self.asked: list[str] = []
        self.damages = False

    def ask(self, what: str, key: str, *given: object) -> Any:
        self.asked.append(what)
        question = pickle.dumps((what, key, given))
        if self.damages:
            question = question.replace(b"weights", b"weighty")
        what, key, given = pickle.loads(question)
        answer = pickle.dumps(self.files.ask(what, key, *given))
        return pickle.loads(answer.replace(b"weights", b"weighty") if self.damages else answer)
