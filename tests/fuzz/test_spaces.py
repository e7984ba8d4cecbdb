"""The space parser on altered shipped spaces: a space or a SpaceError, quickly, whatever the numbers."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sweep.errors import SpaceError
from sweep.space import SearchSpace
from sweep.space.document import read_document
from tests.fuzz.builders import FULL, SHIPPED
from tests.fuzz.harness import altered, budget, held, mutated
from tests.fuzz.readers import used_space


@budget(2)
@given(data=st.data(), sampler=st.sampled_from(("tpe", "grid", "qmc", "cmaes", "random", "gp")))
def test_values(data: st.DataObject, sampler: str) -> None:
    content = data.draw(altered(FULL | {"sampler": {"type": sampler}}))
    held(lambda: used_space(yaml.safe_dump(content, allow_unicode=True)))


@budget()
@given(data=st.data(), name=st.sampled_from(sorted(SHIPPED)))
def test_values_of_shipped_spaces(data: st.DataObject, name: str) -> None:
    content = data.draw(altered(read_document(SHIPPED[name], name).value))
    held(lambda: used_space(yaml.safe_dump(content, allow_unicode=True)))


@budget()
@given(data=st.data(), name=st.sampled_from(sorted(SHIPPED)))
def test_bytes_of_shipped_spaces(data: st.DataObject, name: str) -> None:
    text = data.draw(mutated(SHIPPED[name].encode())).decode("utf-8", errors="replace")
    held(lambda: used_space(text))


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        (
            "parameters: {{grpo.lr: {{type: {}}}}}",
            "f.yaml:2: parameters.grpo.lr: unknown type 'xxx",
            "categorical, fixed",
        ),
        ("pruning_starts: {}", "f.yaml:2: pruning_starts: 'xxx", "after_rce, at_once"),
        ("? {}\n: 1", "f.yaml:2: xxx", "valid keys are"),
        ("seed: *{}", "f.yaml:2: not valid YAML: found undefined alias", "xxx'"),
        ("seed: !{} 1", "f.yaml:2: seed: tag '!xxx", "write a plain value"),
    ],
)
def test_a_long_value_leaves_the_message_short(text: str, begin: str, end: str) -> None:
    with pytest.raises(SpaceError) as caught:
        used_space("name: a\n" + text.format("x" * 1020))
    assert len(str(caught.value)) < 1100
    assert str(caught.value).startswith(begin) and end in str(caught.value)


def test_they_are_good_to_begin_with() -> None:
    for text in (yaml.safe_dump(FULL), *SHIPPED.values()):
        assert isinstance(held(lambda text=text: used_space(text)), SearchSpace)
