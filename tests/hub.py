"""A small server that speaks the calls of the Hugging Face hub which uploading and downloading a folder take.

It stores what is committed, so that what was uploaded can be downloaded again. A card is refused as the hub
documents it (hub-docs, modelcard.md: `license`, `datasets` and `model-index` are verified): see `card_problems`.

Not spoken here: the upload of large files (LFS, Xet). The server asks for every file within the commit, as the hub does
for small ones. It knows a few licences, and cannot tell whether a model or data set exists.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml

TOKEN = "hf_only_for_tests"
COMMIT = "c0ffee" + "0" * 34
LICENSES = {"apache-2.0", "mit", "cc-by-4.0", "cc-by-nc-4.0", "openrail", "other", "unknown"}
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)


class Hub(ThreadingHTTPServer):
    """Files by repository and path, and every call as `METHOD path`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.calls: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, format: str, *args: object) -> None:
        self.server.calls.append(f"{self.command} {self.path.partition('?')[0]}")

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        if path == "/api/validate-yaml":
            problems = card_problems(json.loads(content)["content"])
            return self._json(
                {"errors": [{"message": one} for one in problems], "warnings": []}, 400 if problems else 200
            )
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json({"error": "Invalid username or password."}, 401)
        if path == "/api/repos/create":
            body = json.loads(content)
            name = "/".join(filter(None, (body.get("organization"), body["name"])))
            self.server.repos.setdefault(name, {})
            return self._json({"url": f"{self.server.url}/{name}", "name": name, "id": name})
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path)
        if found is None or found[1] not in self.server.repos:
            return self._json({"error": "Repository not found"}, 404)
        if found[2] == "preupload":
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(content)["files"]
            ]
            return self._json({"files": files})
        for line in map(json.loads, content.decode().splitlines()):
            if line["key"] == "file":
                self.server.repos[found[1]][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return self._json({"commitUrl": f"{self.server.url}/{found[1]}/commit/{COMMIT}", "commitOid": COMMIT})

    def do_GET(self) -> None:
        self._file()

    def do_HEAD(self) -> None:
        self._file()

    def _file(self) -> None:
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path.partition("?")[0])
        repo = None if found is None else self.server.repos.get(found[1])
        if found is None or repo is None or found[3] not in repo:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound" if repo is None else "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = repo[found[3]]
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _json(self, value: Any, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def card_problems(text: str) -> list[str]:
    """What the hub's documented rules find wrong with a model card."""
    found = re.match(r"\A---\n(.*?)\n---\n", text, re.DOTALL)
    if found is None:
        return ["the card has no YAML header"]
    try:
        header = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        return [f"the header is not YAML ({error})"]
    if not isinstance(header, dict):
        return ["the header is no mapping"]
    return list(_header_problems(header))


def _header_problems(header: dict[str, Any]) -> Iterator[str]:
    if header.get("license", "mit") not in LICENSES:
        yield f"license must be one of {sorted(LICENSES)}"
    for name in ("tags", "datasets", "metrics"):
        if name in header and not (
            isinstance(header[name], list) and all(isinstance(one, str) for one in header[name])
        ):
            yield f"{name} must be a list of strings"
    bases = header.get("base_model", [])
    for one in [*([bases] if isinstance(bases, str) else bases), *header.get("datasets", [])]:
        if not _HUB_NAME.fullmatch(one):
            yield f"{one!r} is no name on the hub"
    if not isinstance(header.get("library_name", ""), str):
        yield "library_name must be a string"
    index = header.get("model-index", [])
    if not isinstance(index, list) or any(not isinstance(one.get("name"), str) for one in index):
        yield "model-index must be a list of models with a name"
        return
    for result in (result for one in index for result in one["results"]):
        if not isinstance(result["task"].get("type"), str):
            yield "task.type is required"
        if not all(isinstance(result["dataset"].get(key), str) for key in ("name", "type")):
            yield "dataset.name and dataset.type are required"
        for metric in result["metrics"]:
            if not isinstance(metric.get("type"), str) or "value" not in metric:
                yield "metric.type and metric.value are required"


@contextmanager
def hub_at_home(monkeypatch: pytest.MonkeyPatch, cache: str) -> Iterator[Hub]:
    """The library of the hub talks to this server, in this process, with an empty cache."""
    from huggingface_hub import constants

    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", cache)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
