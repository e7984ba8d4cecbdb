"""Addresses: what is a folder elsewhere, what is a path, and that no key is ever shown."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.errors import RunError
from sweep.storage.location import Location, is_uri, local_folder, path_of

PART = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda part: part not in (".", "..")
)
PLACE = st.sampled_from(["s3://bucket", "gs://some-bucket", "hdfs://node:9000", "memory://place", "sftp://me@host"])
SECRET = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=4, max_size=40).map(lambda text: f"Q{text}")


@given(place=PLACE, parts=st.lists(PART, max_size=4), query=st.sampled_from(["", "scheme=http", "a=b&region=x"]))
def test_there_and_back(place: str, parts: list[str], query: str) -> None:
    root = Location.of(place + (f"?{query}" if query else ""))
    location = root
    for part in parts:
        location = location.child(part)
        assert location.name == part
        assert location.parent == Location.of(location.parent.uri)
        assert location.parent.child(part) == location
    assert root.child("/".join(parts)) == location
    assert Location.of(location.uri) == location
    assert location.uri.isascii() and is_uri(location.uri)
    assert location.shown == location.uri, "there is nothing to hide"


@given(parts=st.lists(PART, min_size=1, max_size=4), slashes=st.integers(1, 3))
def test_one_folder_has_one_address(parts: list[str], slashes: int) -> None:
    quoted = Location.of("s3://bucket/" + "/".join(quote(part, safe="") for part in parts))
    assert Location.of("s3://bucket/" + ("/" * slashes).join(quote(part) for part in ["", *parts, ""])) == quoted
    assert Location.of("s3://bucket/./" + "/./".join(quote(part) for part in parts)) == quoted
    if not any(set("#?%\t\r\n") & set(part) for part in parts):
        assert Location.of("s3://bucket/" + "/".join(parts)) == quoted, "nobody has to write %20 for a space"


@given(user=SECRET, password=SECRET, option=st.sampled_from(["secret_key", "X-TOKEN", "password", "access_key"]))
def test_keys_are_never_shown(user: str, password: str, option: str) -> None:
    account = f"{quote(user, safe='')}:{quote(password, safe='')}"
    location = Location.of(f"s3://{account}@bucket/runs?scheme=http&{option}={quote(password, safe='')}&region=x")
    hidden = {user, password, quote(user, safe=""), quote(password, safe="")}
    error = location.without_secrets(f"cannot parse '{location.child('a b').uri}', not at all")
    for said in (location.shown, location.child("x").shown, location.parent.shown, error):
        assert not [one for one in hidden if one in said], said
    assert location.shown == f"s3://***@bucket/runs?scheme=http&{option}=***&region=x"
    assert error.startswith("cannot parse 's3://***@bucket/runs/a%20b?scheme=http&") and error.endswith(", not at all")


@given(user=SECRET, password=SECRET, after=st.sampled_from(["", "/a/../b", "/a#b", ":9000/x", "/"]))
def test_what_is_refused_shows_no_password_however_it_was_written(user: str, password: str, after: str) -> None:
    """A password with / or # in it ends the host for every parser."""
    uri = f"s3://{quote(user, safe='')}:{password}@bucket{after}"
    try:
        location = Location.of(uri)
        said = [location.shown, location.without_secrets(f"bad: {location.uri}")]
        with pytest.raises(RunError) as refused:
            Location.of(f"{location.folder}/..")
        said.append(str(refused.value))
        if not location.name:
            with pytest.raises(RunError) as refused:
                _ = location.parent
            said.append(str(refused.value))
    except RunError as error:
        said = [str(error)]
    for text in said:
        assert password not in text and "***@" in text, text


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("s3://", "names no folder; write scheme://place/folder, such as s3://bucket/runs"),
        ("s3:////", "names no folder"),
        ("s3://bucket/runs/../other", "without .."),
        ("s3://bucket/runs/%2e%2e/other", "without .."),
        ("s3://bucket/runs#1", "cannot have a part after #; write # as %23"),
        ("s3://[bucket/runs", "not a URI"),
        ("s3://KEY:SEC/RET@bucket/runs", "s3://***@bucket/runs: not a URI; in a key or password write / as %2F"),
        ("s3://server:9000/bucket", "?endpoint_override=host:port&scheme=http, or AWS_ENDPOINT_URL"),
        ("s3://KEY:12/34@bucket/runs", "s3://***@bucket/runs: s3:// is followed by a bucket"),
    ],
)
def test_what_is_no_folder_is_refused_in_one_line(uri: str, says: str) -> None:
    with pytest.raises(RunError) as refused:
        Location.of(uri)
    assert says in str(refused.value) and "\n" not in str(refused.value)
    assert "SEC" not in str(refused.value)


@pytest.mark.parametrize("root", ["s3://bucket", "s3://bucket/", "hdfs://node:9000", "memory://place"])
def test_the_root_of_a_bucket_is_no_runs_folder(root: str) -> None:
    location = Location.of(root)
    assert location.name == ""
    with pytest.raises(RunError, match=f"{root.rstrip('/')} is not a run's folder; .* such as .*/grpo-1"):
        _ = location.parent
    assert location.child("grpo-1").parent == location


def test_the_root_shows_no_keys_either() -> None:
    with pytest.raises(RunError, match=r"such as s3://\*\*\*@bucket/grpo-1\?scheme=http$") as refused:
        _ = Location.of("s3://KEY:SECRET@bucket?scheme=http").parent
    assert "SECRET" not in str(refused.value)


def test_places_without_a_host_keep_their_three_slashes() -> None:
    assert Location.of("hdfs:///data/runs").uri == "hdfs:///data/runs"
    assert Location.of("hdfs:///data/runs/x").parent.uri == "hdfs:///data/runs"


def test_a_user_or_container_without_a_password_is_shown() -> None:
    for uri in ("abfs://container@account.dfs.core.windows.net/runs", "sftp://me@host/runs", "s3://bucket/a@b:c@d"):
        assert Location.of(uri).shown == uri


@given(parts=st.lists(PART, min_size=1, max_size=4))
def test_a_file_uri_is_a_path(parts: list[str]) -> None:
    path = Path("/", *parts)
    for uri in (path.as_uri(), path.as_uri().replace("file:", "FILE:"), path.as_uri().replace("///", "//localhost/")):
        assert is_uri(uri) and path_of(uri) == path == local_folder(uri)


@pytest.mark.parametrize("text", ["runs", "./runs", "/data/runs", "C:/runs", "a:b", "s3:/bucket", "1s3://x", ""])
def test_paths_are_paths(text: str) -> None:
    assert not is_uri(text) and path_of(text) == Path(text) == local_folder(text)


@pytest.mark.parametrize("text", ["file://data/runs", "file://me:QPASS@host/runs", "file://"])
def test_a_file_uri_of_another_host_is_refused(text: str) -> None:
    with pytest.raises(RunError, match="three slashes, such as file:///data/runs") as refused:
        path_of(text)
    assert "QPASS" not in str(refused.value)


def test_results_go_to_paths() -> None:
    with pytest.raises(
        RunError, match=r"s3://\*\*\*@bucket/best: results are written to a folder of this machine"
    ) as no:
        local_folder("s3://KEY:SEC/RET@bucket/best")
    assert "SEC" not in str(no.value)
    assert local_folder(Path("s3:/bucket")) == Path("s3:/bucket")
