"""What the environment says of proxies, certificates and passwords is asked once, when a source is built."""

import gc
import threading

import pytest

from canary_judge.sources import PrometheusSource
from canary_judge.sources.session import without_collection

URL = "http://metrics.invalid:9090"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch, tmp_path):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def test_a_proxy_of_the_environment_is_used(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    session = PrometheusSource(URL)._session
    assert session.proxies["http"] == "http://proxy.invalid:3128"
    assert not session.trust_env
    monkeypatch.setenv("no_proxy", "metrics.invalid")
    assert "http" not in PrometheusSource(URL)._session.proxies


def test_a_bundle_of_the_environment_is_used_unless_another_is_given(monkeypatch, tmp_path):
    own = tmp_path / "own.pem"
    own.write_text("")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/of/the/environment.pem")
    assert PrometheusSource(URL)._session.verify == "/of/the/environment.pem"
    assert PrometheusSource(URL, ca=str(own))._session.verify == str(own)
    assert PrometheusSource(URL, insecure=True)._session.verify is False


def test_a_password_of_netrc_is_used_unless_another_is_given(tmp_path):
    (tmp_path / "netrc").write_text("machine metrics.invalid login me password secret\n")
    assert PrometheusSource(URL)._session.auth == ("me", "secret")
    assert PrometheusSource(URL, bearer_token="t")._session.auth != ("me", "secret")


def test_garbage_is_collected_again_after_the_last_fetch():
    inside, leave = threading.Event(), threading.Event()

    def other():
        with without_collection():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with without_collection():
        thread.start()
        assert inside.wait(10)
        assert not gc.isenabled()
    assert not gc.isenabled()
    leave.set()
    thread.join()
    assert gc.isenabled()
    gc.disable()
    try:
        with without_collection():
            pass
        assert not gc.isenabled()  # who keeps it off keeps it off
    finally:
        gc.enable()
