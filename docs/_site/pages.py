"""What mkdocs is told beyond mkdocs.yml: which pages there are, their order, and links that leave `docs/`.

The documents stay as GitHub shows them. The README becomes the first page, and gives the order of the others. A new
page needs nothing here. The pages of the reference are made from `__all__` of the two packages.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

ROOT = Path(__file__).resolve().parents[2]
FROM_ROOT = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
"""Documents outside `docs/`, and the pages that they become."""
PACKAGES = ("selector", "sweep")
LINK = re.compile(r"\[([^\]\[]+)\]\(([^)\s#]*)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The navigation, and anchors as GitHub makes them."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    titles = {file.name: _title(file) for file in sorted((ROOT / "docs").glob("*.md"))}
    more = readme.partition("\n## More\n")[2]
    listed = {Path(target).name: title for title, target, _ in LINK.findall(more) if Path(target).name in titles}
    guides: list[Any] = [{title: name} for name, title in listed.items()]
    guides += [{title: name} for name, title in titles.items() if name not in listed]
    reference = [{f"Package {name}": f"api/{name}.md"} for name in PACKAGES]
    rest: list[Any] = [{"Contributing": "CONTRIBUTING.md"}, {"Changes": "CHANGELOG.md"}]
    config.nav = [{"Start": "index.md"}, {"Guides": guides}, {"Reference": reference}, *rest]
    config.mdx_configs["toc"] = {"slugify": slugify(case="lower"), "permalink": True}
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """The pages whose source is not in `docs/`."""
    for source, page in FROM_ROOT.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    for package in PACKAGES:
        files.append(File.generated(config, f"api/{package}.md", content=_reference(package)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links, from where the document is in the repository to where its page is."""
    folder = ROOT if page.file.src_uri in FROM_ROOT.values() else ROOT / "docs"

    def page_of(found: re.Match[str]) -> str:
        text, target, anchor = found[1], found[2], found[3] or ""
        if not target or ":" in target or page.file.src_uri.startswith("api/"):
            return found[0]
        place = (folder / target).resolve()
        if not place.exists() or not place.is_relative_to(ROOT):
            return found[0]  # mkdocs says that it leads nowhere
        if place.parent == ROOT and place.name in FROM_ROOT:
            return f"[{text}]({FROM_ROOT[place.name]}{anchor})"
        if place.is_relative_to(ROOT / "docs"):
            return f"[{text}]({place.relative_to(ROOT / 'docs').as_posix()}{anchor})"
        return text  # a file of the repository, which the pages do not have

    return LINK.sub(page_of, markdown)


def _title(file: Path) -> str:
    return file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ").strip()


def _reference(package: str) -> str:
    """A page with every public name of a package."""
    module = import_module(package)
    summary = (module.__doc__ or "").strip()
    return "\n".join([f"# Package {package}", "", summary, "", *(f"::: {package}.{name}\n" for name in module.__all__)])
