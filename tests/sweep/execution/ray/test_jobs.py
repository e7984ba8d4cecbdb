"""Which dashboard is meant, and what may be sent to it. The Jobs API itself: tests/sweep/cli/test_submit.py."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sweep.errors import ClusterError
from sweep.execution.ray.jobs import JobServer, dashboard_of, headers_of, is_exposed


@pytest.mark.parametrize(
    ("address", "variables", "meant"),
    [
        ("http://head:8265/", {}, "http://head:8265"),
        ("https://ray.example/cluster", {"RAY_ADDRESS": "10.0.0.1:6379"}, "https://ray.example/cluster"),
        (None, {"RAY_API_SERVER_ADDRESS": "http://a:8265", "RAY_ADDRESS": "http://b:8265"}, "http://a:8265"),
        (None, {"RAY_ADDRESS": "http://b:8265"}, "http://b:8265"),
        ("http://[::1]:8265", {}, "http://[::1]:8265"),
    ],
)
def test_the_dashboard_that_is_meant(address: str | None, variables: dict[str, str], meant: str) -> None:
    assert dashboard_of(address, variables) == meant


@pytest.mark.parametrize(
    ("address", "variables", "reason"),
    [
        (None, {}, "name the cluster: --address"),
        ("", {}, "name the cluster"),
        ("head:6379", {}, r"--address is head:6379: jobs are handed in at the dashboard"),
        ("auto", {}, "handed in at the dashboard"),
        (None, {"RAY_ADDRESS": "head:6379"}, "RAY_ADDRESS is head:6379"),
        ("ray://head:10001", {}, "handed in at the dashboard"),
        ("anyscale://x", {}, "handed in at the dashboard"),  # Ray would import a module of this name
        ("http://head:82650000", {}, "not a URL"),
        ("http://", {}, "not a URL"),
        ("https://me:hunter2@ray.example", {}, "RAY_JOB_HEADERS"),
        ("https://ray.example/?token=hunter2", {}, "RAY_JOB_HEADERS"),
    ],
)
def test_what_is_no_dashboard(address: str | None, variables: dict[str, str], reason: str) -> None:
    with pytest.raises(ClusterError, match=reason) as refused:
        dashboard_of(address, variables)
    assert "hunter2" not in str(refused.value)


def test_headers_come_from_rays_variable_and_are_never_shown() -> None:
    assert headers_of({"RAY_JOB_HEADERS": '{"Authorization": "Bearer x"}'}) == {"Authorization": "Bearer x"}
    assert headers_of({}) == {}
    for wrong in ("hunter2", '["hunter2"]', '{"hunter2": 1}'):
        with pytest.raises(ClusterError, match=r"RAY_JOB_HEADERS: expected a JSON object") as refused:
            headers_of({"RAY_JOB_HEADERS": wrong})
        assert "hunter2" not in str(refused.value)


def test_a_secret_in_clear_text_over_a_network_is_warned_of() -> None:
    token = {"RAY_AUTH_MODE": "token"}
    assert is_exposed("http://10.0.0.1:8265", token) and is_exposed("http://h", {"RAY_JOB_HEADERS": "{}"})
    assert not is_exposed("https://10.0.0.1", token) and not is_exposed("http://127.0.0.1:8265", token)
    assert not is_exposed("http://10.0.0.1:8265", {})


@dataclass
class Encrypted:
    """A dashboard behind https. `heard`: the Authorization of each request."""

    url: str
    authorities: Path
    heard: list[str | None]


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    heard: list[str | None] = []

    class Dashboard(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.headers["Authorization"])
            text = b'{"version": "4", "ray_version": "2.60.0", "ray_commit": "x"}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *words: object) -> None:
            pass

    chain = _certificate(tmp_path_factory.mktemp("tls"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Dashboard)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Encrypted(f"https://127.0.0.1:{server.server_port}", chain, heard)
    server.shutdown()
    server.server_close()


def _certificate(folder: Path) -> Path:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ray.example")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
    made = made.add_extension(address, critical=False).add_extension(x509.BasicConstraints(True, 0), critical=True)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "chain.pem"
    file.write_bytes(private + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return file


def test_a_certificate_is_checked_against_the_authorities_that_are_named(
    encrypted: Encrypted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_JOB_HEADERS", '{"Authorization": "Bearer hunter2"}')
    with pytest.raises(ClusterError, match=r"certificate verify failed.*--verify FILE names the authorities"):
        JobServer(encrypted.url)
    assert encrypted.heard == []  # nobody unknown is shown the token
    assert JobServer(encrypted.url, verify=str(encrypted.authorities)).ray_version() == "2.60.0"
    assert set(encrypted.heard) == {"Bearer hunter2"}
    with pytest.raises(ClusterError, match=r"--verify nowhere\.pem: no such file"):
        JobServer(encrypted.url, verify="nowhere.pem")
