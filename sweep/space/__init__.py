"""The search space: read from YAML, checked once, frozen."""

from sweep.space.addresses import Scalar, addresses
from sweep.space.algorithms import PruningStarts
from sweep.space.compare import canonical, differences, identity
from sweep.space.files import find_space, load_space, parse_space, shipped_spaces
from sweep.space.model import Budget, Resources
from sweep.space.named_files import check_named_files
from sweep.space.overrides import merged, parse_override
from sweep.space.rewards import reachable_rewards
from sweep.space.schema import json_schema
from sweep.space.search_space import SearchSpace

__all__ = [
    "Budget",
    "PruningStarts",
    "Resources",
    "Scalar",
    "SearchSpace",
    "addresses",
    "canonical",
    "check_named_files",
    "differences",
    "find_space",
    "identity",
    "json_schema",
    "load_space",
    "merged",
    "parse_override",
    "parse_space",
    "reachable_rewards",
    "shipped_spaces",
]
