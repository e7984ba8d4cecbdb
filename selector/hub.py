"""Selectors on the Hugging Face hub. Needs the package `huggingface_hub`, which nothing else of `selector` does.

`PointerSelector.from_pretrained` and `.push_to_hub` come here where they need the hub. Nobody else loads this module
without need: the library takes a second to import.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from selector.config import SelectorConfig
from selector.errors import HubError, printable
from selector.model import CONFIG_FILE, WEIGHTS_FILE, PointerSelector

TAGS = ["demonstration-selection", "in-context-learning", "few-shot", "pointer-network", "visual-question-answering"]
LIBRARY = "demonstration-selector"
TEMPLATE = """---
{{ card_data }}
---

# Demonstration selector

A pointer network that picks, in order, the solved examples that a vision-language model sees before a question.

```python
from selector import PointerSelector  # the distribution demonstration-selector; `selector` on PyPI is something else

selector = PointerSelector.from_pretrained("OWNER/NAME")
picks = selector.select(query_emb, cand_emb, shots=4)  # [B, 4] positions in each query's pool
```
"""


class HubSelector(  # type: ignore[misc]  # of both bases, the hub's methods count
    PyTorchModelHubMixin, PointerSelector, library_name=LIBRARY, tags=[*TAGS], model_card_template=TEMPLATE
):
    """`PointerSelector` with the hub's own `save_pretrained`, `from_pretrained` and `push_to_hub`.

    Files are those of every export: `config.json` and `model.safetensors`. Where a folder has no card, a short one is
    made.
    """

    def __init__(self, config: SelectorConfig) -> None:
        PointerSelector.__init__(self, config)

    @classmethod
    def of(cls, selector: PointerSelector) -> HubSelector:
        """The same selector with the same weights."""
        made = cls(selector.config)
        made.load_state_dict(selector.state_dict())
        return made.train(selector.training)

    def _save_pretrained(self, save_directory: Path) -> None:
        PointerSelector.save_pretrained(self, save_directory)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **unused: object,
    ) -> HubSelector:
        folder = Path(model_id)
        if not folder.is_dir():
            folder = _fetched(
                model_id,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
            )
        return cls.of(PointerSelector.from_pretrained(folder))


def fetched(repo_id: str, revision: str | None = None) -> Path:
    """A folder with the configuration and the weights of a selector on the hub, fetched once.

    Args:
        repo_id: `owner/name`.
        revision: branch, tag or commit. None: the newest of the main branch.

    Raises:
        HubError: it cannot be had. One line says why.
    """
    with _one_line(f"{repo_id}, which is no folder here,"):
        return _fetched(repo_id, revision=revision)


def _fetched(repo_id: str, **options: Any) -> Path:  # noqa: ANN401 (what the library takes)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        file = hf_hub_download(repo_id, name, **options)
    return Path(file).parent


def push(selector: PointerSelector, repo_id: str, private: bool | None = None) -> str:
    """Make a repository where there is none, and upload. Returns the commit's address. Raises HubError."""
    with _one_line(repo_id):
        return str(HubSelector.of(selector).push_to_hub(repo_id, private=private))


def push_folder(folder: Path, repo_id: str, message: str) -> str:
    """Make a repository where there is none, and upload a folder with all its files.

    Returns:
        The commit's address.

    Raises:
        HubError: it cannot be reached, or refuses. One line says why.
    """
    with _one_line(repo_id):
        api = HfApi()
        api.create_repo(repo_id, exist_ok=True)
        return str(api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message).commit_url)


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """What the hub's library raises, as one line that says what to do."""
    try:
        yield
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise HubError(f"{name} on the Hugging Face hub: {reason}") from error


def _reason(error: Exception) -> str | None:
    said = printable(" ".join(str(error).split()))[:200]
    reasons: list[tuple[type[Exception] | tuple[type[Exception], ...], str]] = [
        (OfflineModeIsEnabled, "not reached, since HF_HUB_OFFLINE is set; unset it where there is a network"),
        (LocalTokenNotFoundError, "nobody is logged in; run `hf auth login`, or set HF_TOKEN"),
        (HFValidationError, "no name of a repository; expected owner/name"),
        (GatedRepoError, "its owner has to grant access first"),
        (RepositoryNotFoundError, "there is no such repository, or this token does not give access to it"),
        (RevisionNotFoundError, "it has no such revision"),
        (LocalEntryNotFoundError, "not reached, and not in this machine's cache"),
        (EntryNotFoundError, f"it has no {CONFIG_FILE} and {WEIGHTS_FILE} of a selector"),
        ((HfHubHTTPError, ValueError), f"refused ({said})"),
        ((OSError, ConnectionError), f"not reached ({said})"),
    ]
    for kinds, reason in reasons:
        if isinstance(error, kinds):
            return reason
    # The transport's own errors, such as those of httpx, which is the library's choice and no dependency of ours.
    return f"not reached ({said})" if type(error).__module__.partition(".")[0] in ("httpx", "httpcore") else None
