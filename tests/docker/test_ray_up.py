"""The file for `ray up`: Ray's own launcher takes it, and no node is without the token."""

from __future__ import annotations

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.docker.images import DOCKER, ROOT

FILE = DOCKER / "ray-up" / "machines.yaml"
CONFIG = yaml.safe_load(FILE.read_text(encoding="utf-8"))


def test_ray_takes_the_file():
    prepared = prepare_config(CONFIG)
    validate_config(prepared)
    assert prepared["max_workers"] == len(CONFIG["provider"]["worker_ips"])
    assert prepared["worker_setup_commands"] == prepared["head_setup_commands"] == CONFIG["setup_commands"]


def test_a_mistake_in_the_file_would_be_seen():
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(CONFIG | {"file_mount": {}}))


def test_every_node_has_the_token_where_ray_looks_for_it_and_asks_for_it():
    token = "~/.ray/auth_token"
    assert CONFIG["file_mounts"][token] == token
    assert f"chmod 600 {token}" in CONFIG["setup_commands"]
    starts = [
        line
        for part in ("head_start_ray_commands", "worker_start_ray_commands")
        for line in CONFIG[part]
        if "ray start" in line
    ]
    assert len(starts) == 2 and all(" RAY_AUTH_MODE=token " in line for line in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert " RAY_enable_autoscaler_v2=0 " in starts[0]  # with the other autoscaler no worker starts
    assert "RAY_AUTH_MODE=token" in CONFIG["setup_commands"][-1]  # commands of `ray exec` have it too


def test_what_git_leaves_out_is_not_copied_to_the_machines():
    """Nor the token of compose. Small files of tools may be."""
    excluded = set(CONFIG["rsync_exclude"])
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    large = {rule.rstrip("/") for rule in ignored if rule.startswith("/")}
    assert large <= excluded and "/.git" in excluded and "/docker/secrets" in excluded
