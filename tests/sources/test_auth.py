"""Who we are to a store: secrets that are at hand, tokens that are asked for, and the signatures of clouds."""

import json
import pickle
import ssl
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote

import pytest
import requests

from canary_judge import Window
from canary_judge.errors import ConfigError, SourceUnavailable
from canary_judge.results import Side
from canary_judge.series import Query, Reading
from canary_judge.sources import from_config
from canary_judge.sources.auth import auth_from_config

START = datetime(2026, 11, 18, tzinfo=UTC)


class Server:
    """A store and a giver of tokens in one: it keeps what it is asked."""

    def __init__(self, folder=None):
        self.seen, self.token = [], {"access_token": "t1", "token_type": "Bearer", "expires_in": 3600}
        self.status = 200
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.do_GET()

            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                server.seen.append((self.path, {name.title(): value for name, value in self.headers.items()}, body))
                answer, status = {"status": "success", "data": {"resultType": "matrix", "result": []}}, 200
                if "token" in self.path:
                    answer, status = server.token, server.status
                sent = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        scheme = "http"
        if folder is not None:
            scheme, context = "https", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder / "server.pem")
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(folder / "ca.pem")
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.url = f"{scheme}://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    @property
    def headers(self):
        return [headers.get("Authorization") for path, headers, _ in self.seen if "token" not in path]


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


def ask(server, **options):
    source = from_config({"type": "prometheus", "url": server.url, **options})
    query = Query(
        metric="m",
        part="value",
        side=Side.CANARY,
        reading=Reading.LEVEL,
        expression="vector(1)",
        step=timedelta(minutes=1),
    )
    source.fetch([query], Window(START, START + timedelta(minutes=2)))
    return source


def test_a_token_of_a_file_is_read_again(server, tmp_path):
    path = tmp_path / "token"
    path.write_text("one\n")
    source = ask(server, auth={"type": "bearer", "token_file": str(path)})
    path.write_text("two\n")
    query = Query(
        metric="m",
        part="value",
        side=Side.CANARY,
        reading=Reading.LEVEL,
        expression="vector(1)",
        step=timedelta(minutes=1),
    )
    source.fetch([query], Window(START, START + timedelta(minutes=2)))
    assert server.headers == ["Bearer one", "Bearer two"]
    path.write_text("")
    with pytest.raises(SourceUnavailable, match="is empty"):
        source.fetch([query], Window(START, START + timedelta(minutes=2)))
    path.unlink()
    with pytest.raises(SourceUnavailable, match="cannot be read"):
        source.fetch([query], Window(START, START + timedelta(minutes=2)))


def test_user_and_password(server, monkeypatch, tmp_path):
    monkeypatch.setenv("PASSWORD", "pässword")
    (tmp_path / "p").write_text("other\n")
    ask(server, auth={"type": "basic", "username": "me", "password": "${env:PASSWORD}"})
    ask(server, auth={"type": "basic", "username": "me", "password_file": str(tmp_path / "p")})
    assert server.headers == ["Basic bWU6cMOkc3N3b3Jk", "Basic bWU6b3RoZXI="]


def test_client_credentials_give_a_token_that_is_kept_until_it_ends(server, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2hunter2")
    options = {
        "type": "oauth2",
        "token_url": f"{server.url}/token",
        "client_id": "judge",
        "client_secret": "${env:SECRET}",
        "scope": "read",
        "audience": "prom",
    }
    auth = auth_from_config(options)
    for _ in range(3):
        requests.get(server.url, auth=auth, timeout=5)
    tokens = [(headers, body) for path, headers, body in server.seen if "token" in path]
    assert len(tokens) == 1
    assert parse_qs(tokens[0][1]) == {"grant_type": ["client_credentials"], "scope": ["read"], "audience": ["prom"]}
    assert tokens[0][0]["Authorization"].startswith("Basic ")
    assert server.headers == ["Bearer t1"] * 3
    server.token = {"access_token": "t2", "expires_in": 20}  # it ends before the next request may
    short = auth_from_config(options)
    for _ in range(2):
        requests.get(server.url, auth=short, timeout=5)
    assert server.headers[-2:] == ["Bearer t2"] * 2
    assert len([1 for path, *_ in server.seen if "token" in path]) == 3
    assert "hunter2" not in repr(auth)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(auth)


@pytest.mark.parametrize(
    ("status", "token"),
    [(401, {"error": "invalid_client"}), (200, {"token": "x"}), (200, []), (200, {"access_token": ""})],
)
def test_no_token_is_no_answer(server, status, token):
    server.status, server.token = status, token
    with pytest.raises(SourceUnavailable, match="gives no token") as caught:
        ask(
            server,
            auth={
                "type": "oauth2",
                "token_url": f"{server.url}/token?x=secret1",
                "client_id": "judge",
                "client_secret": "hunter2",
            },
        )
    assert "hunter2" not in str(caught.value)
    assert "secret1" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"type": "bearer"}, "give one of `token` and `token_file`"),
        ({"type": "bearer", "token": "a", "token_file": "b"}, "give one of"),
        ({"type": "bearer", "token_file": "/nowhere"}, "does not exist"),
        ({"type": "bearer", "token": "a\x00b"}, "no HTTP header can carry"),
        ({"type": "basic", "username": "me"}, "password: give one of"),
        ({"type": "basic", "password": "x"}, "username"),
        (
            {"type": "oauth2", "token_url": "http://idp.example/token", "client_id": "a", "client_secret": "b"},
            "is not https",
        ),
        (
            {"type": "oauth2", "token_url": "http://localhost.evil.example/t", "client_id": "a", "client_secret": "b"},
            "is not https",
        ),
        (
            {"type": "oauth2", "token_url": "http://localhost@evil.example/t", "client_id": "a", "client_secret": "b"},
            "is not https",
        ),
        ({"type": "oauth2", "token_url": "https://x/t", "client_id": "a"}, "client_secret: give one of"),
        ({"type": "oauth", "token": "a"}, "did you mean 'oauth2'"),
        ({"token": "a"}, "auth.type: is no text"),
    ],
)
def test_sections_that_cannot_be_meant(options, told):
    with pytest.raises(ConfigError) as caught:
        from_config({"type": "prometheus", "url": "https://prom.example", "auth": options})
    assert told in str(caught.value)


@pytest.mark.parametrize("life", [float("inf"), "soon", None, -5, 10**400])
def test_a_life_that_is_none_is_a_short_one(server, life):
    server.token = {"access_token": "t1", "expires_in": "x" if life == 10**400 else life}
    auth = auth_from_config(
        {"type": "oauth2", "token_url": f"{server.url}/token", "client_id": "judge", "client_secret": "hunter2"}
    )
    requests.get(server.url, auth=auth, timeout=5)
    assert 0 <= auth._until - time.monotonic() <= 300


def test_a_token_that_is_refused_is_asked_for_again(server):
    auth = auth_from_config(
        {"type": "oauth2", "token_url": f"{server.url}/token", "client_id": "judge", "client_secret": "hunter2"}
    )
    requests.get(server.url, auth=auth, timeout=5)
    refused = requests.Response()
    refused.status_code = 401
    auth._heed(refused)
    requests.get(server.url, auth=auth, timeout=5)
    assert len([1 for path, *_ in server.seen if "token" in path]) == 2


def test_a_file_with_odd_characters_is_no_answer(server, tmp_path):
    (tmp_path / "t").write_text("fine")
    source = ask(server, auth={"type": "bearer", "token_file": str(tmp_path / "t")})
    (tmp_path / "t").write_text("a\x00b")
    query = Query(
        metric="m",
        part="value",
        side=Side.CANARY,
        reading=Reading.LEVEL,
        expression="vector(1)",
        step=timedelta(minutes=1),
    )
    with pytest.raises(SourceUnavailable, match="no HTTP header can carry"):
        source.fetch([query], Window(START, START + timedelta(minutes=2)))


def test_there_is_one_way_to_say_who_we_are():
    with pytest.raises(ConfigError, match="stands beside `auth`"):
        from_config(
            {
                "type": "prometheus",
                "url": "https://p.example",
                "bearer_token": "x",
                "auth": {"type": "bearer", "token": "y"},
            }
        )


def test_a_config_that_is_kept_holds_no_secret():
    from canary_judge import JudgeConfig

    metric = {"name": "m", "kind": "gauge", "query": "x", "harm": "increase", "margin": "10%"}
    auth = {"type": "oauth2", "token_url": "https://idp/t", "client_id": "judge", "client_secret": "hunter2"}
    config = JudgeConfig.from_mapping(
        {
            "name": "n",
            "interval": "1m",
            "metrics": [metric],
            "sources": {"default": {"type": "prometheus", "url": "https://p", "auth": auth}},
        }
    )
    assert "hunter2" not in json.dumps(config.model_dump(mode="json"))
    assert "hunter2" not in repr(config)


# --- certificates ------------------------------------------------------------------------------------------------------


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2",
            "-addext", "keyUsage=critical,keyCertSign", "-addext", "basicConstraints=critical,CA:TRUE")  # fmt: skip
    for name, extension in (("server", "subjectAltName=IP:127.0.0.1"), ("client", "subjectAltName=DNS:judge")):
        openssl(
            folder,
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-subj",
            f"/CN={name}",
        )
        (folder / "ext").write_text(extension)
        openssl(
            folder,
            "x509",
            "-req",
            "-in",
            f"{name}.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-out",
            f"{name}.crt",
            "-days",
            "2",
            "-extfile",
            "ext",
            "-CAcreateserial",
        )
        (folder / f"{name}.pem").write_text((folder / f"{name}.crt").read_text() + (folder / f"{name}.key").read_text())
    return folder


@pytest.mark.parametrize("files", [{"cert": "client.pem"}, {"cert": "client.crt", "key": "client.key"}])
def test_a_client_certificate_is_shown_to_a_server_that_wants_one(certificates, files):
    server = Server(certificates)
    try:
        paths = {name: str(certificates / file) for name, file in files.items()}
        ask(server, ca=str(certificates / "ca.pem"), **paths)
        assert len(server.seen) == 1
        with pytest.raises(SourceUnavailable):
            ask(server, ca=str(certificates / "ca.pem"))
        with pytest.raises(SourceUnavailable, match="certificate"):
            ask(server, **paths)
    finally:
        server.close()


@pytest.mark.parametrize("options", [{"cert": "/nowhere"}, {"key": __file__}])
def test_certificates_that_are_not_there(options):
    with pytest.raises(ConfigError, match="cert"):
        from_config({"type": "prometheus", "url": "https://p.example", **options})


# --- clouds: each by its own library -----------------------------------------------------------------------------------


def test_the_signature_is_that_of_the_documentation_of_aws(monkeypatch):
    """The vector get-vanilla-query-order-key of AWS's test suite for Signature Version 4."""
    auth_module = pytest.importorskip("botocore.auth")
    from botocore.credentials import Credentials

    from canary_judge.sources.auth import Sigv4

    moment = datetime(2015, 8, 30, 12, 36, 0, tzinfo=UTC)
    for name in ("get_current_datetime",):
        if hasattr(auth_module, name):
            monkeypatch.setattr(auth_module, name, lambda *_, **__: moment.replace(tzinfo=None))
    signer = Sigv4(
        Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), region="us-east-1", service="service"
    )
    request = requests.Request("GET", "https://example.amazonaws.com/?Param2=value2&Param1=value1").prepare()
    signed = signer(request)
    assert signed.headers["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, "
        "Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"
    )


def test_a_signed_request_reaches_the_server_as_it_was_signed(server, monkeypatch):
    pytest.importorskip("botocore")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    ask(server, auth={"type": "sigv4", "region": "eu-west-1", "service": "aps"})
    _, headers, body = server.seen[0]
    assert "Credential=AKIDEXAMPLE/" in headers["Authorization"]
    assert "/eu-west-1/aps/aws4_request" in headers["Authorization"]
    assert headers["X-Amz-Security-Token"] == "session"
    assert "query=vector" in body
    # the signature is of what arrived: signed again, it is the same
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    names = headers["Authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    kept = {
        name: value
        for name, value in headers.items()
        if name.lower() in names and name.lower() not in ("host", "x-amz-security-token")
    }
    again = AWSRequest(method="POST", url=server.url + server.seen[0][0], data=body, headers=kept)
    signer = SigV4Auth(Credentials("AKIDEXAMPLE", "hunter2hunter2", "session"), "aps", "eu-west-1")
    again.headers["X-Amz-Security-Token"] = "session"
    again.context["timestamp"] = headers["X-Amz-Date"]
    text = signer.string_to_sign(again, signer.canonical_request(again))
    assert headers["Authorization"].endswith(signer.signature(text, again))


def test_without_credentials_aws_is_refused(monkeypatch, tmp_path):
    pytest.importorskip("botocore")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ConfigError, match="no credentials of AWS"):
        auth_from_config({"type": "sigv4", "region": "eu-west-1", "service": "aps"})


def test_a_service_account_of_google_asks_its_token_server(server, tmp_path):
    pytest.importorskip("google.auth")
    rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
    from cryptography.hazmat.primitives import serialization

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    account = {
        "type": "service_account",
        "client_email": "judge@x.iam.gserviceaccount.com",
        "private_key": pem,
        "private_key_id": "1",
        "token_uri": f"{server.url}/token",
        "project_id": "x",
    }
    (tmp_path / "account.json").write_text(json.dumps(account))
    ask(server, auth={"type": "google", "file": str(tmp_path / "account.json")})
    assert server.headers == ["Bearer t1"]
    assert "grant_type=" in next(body for path, _, body in server.seen if "token" in path)
    server.status, server.token = 400, {"error": "invalid_grant"}
    with pytest.raises(SourceUnavailable, match="Google gives no token"):
        ask(server, auth={"type": "google", "file": str(tmp_path / "account.json")})
    with pytest.raises(ConfigError, match="no credentials of Google"):
        auth_from_config({"type": "google", "file": str(tmp_path / "nothing.json")})


def test_a_managed_identity_of_azure_asks_its_token_server(server, monkeypatch):
    pytest.importorskip("azure.identity")
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/token")
    monkeypatch.setenv("IDENTITY_HEADER", "header")
    server.token = {"access_token": "t1", "expires_on": "4102444800", "resource": "x", "token_type": "Bearer"}
    ask(server, auth={"type": "azure"})
    assert server.headers == ["Bearer t1"]
    assert "resource=https://prometheus.monitor.azure.com" in unquote(
        next(path for path, *_ in server.seen if "token" in path)
    )


@pytest.mark.parametrize(("kind", "library"), [("sigv4", "botocore"), ("google", "google"), ("azure", "azure")])
def test_a_library_that_is_missing_is_named(kind, library, monkeypatch):
    import sys

    for name in ("botocore.session", "google.auth", "azure.identity"):
        monkeypatch.setitem(sys.modules, name, None)
    options = {"region": "r", "service": "s"} if kind == "sigv4" else {}
    with pytest.raises(ConfigError, match="pip install"):
        auth_from_config({"type": kind, **options})
