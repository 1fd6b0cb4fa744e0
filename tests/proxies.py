"""Real proxies for tests: Envoy, HAProxy and nginx on 127.0.0.1, each between two upstreams; stopped by their pid."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest


def free_ports(count):
    """Ports below those that the system hands out to clients, which could take one before its server does."""
    found = []
    while len(found) < count:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            found += [port] if port not in found else []
    return found


def find(name):
    """The program, or a skip with the reason; where CI has installed it, an error."""
    found = shutil.which(name) or shutil.which(name, path=f"{Path(sys.executable).parent}:/usr/sbin:/usr/local/sbin")
    if found is None:
        message = f"{name} is not here: pip install 'canary-judge[e2e]' brings envoy, Debian has haproxy and nginx"
        if name in os.environ.get("CANARY_JUDGE_REQUIRE_PROXIES", "").split():
            raise RuntimeError(message)
        pytest.skip(message)
    return found


def is_there(sign):
    """Whether something listens on a port or on the path of a socket (text), or a file (Path) has been written."""
    if isinstance(sign, Path):
        return sign.exists() and sign.stat().st_size > 0
    family, address = (socket.AF_INET, ("127.0.0.1", sign)) if isinstance(sign, int) else (socket.AF_UNIX, sign)
    with contextlib.suppress(OSError), socket.socket(family) as connection:
        connection.settimeout(1)
        connection.connect(address)
        return True
    return False


def wait_for(sign, process, log):
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"ended with {process.returncode}: {Path(log).read_text()[-800:]}")
        if is_there(sign):
            return
        time.sleep(0.02)
    raise RuntimeError(f"{sign} is not there: {Path(log).read_text()[-800:]}")


@contextlib.contextmanager
def started(command, signs, folder, cwd=None):
    """Running, when every one of these ports, sockets and files is there: servers open them one after the other."""
    log = Path(folder) / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=cwd or folder, start_new_session=True)
    try:
        for sign in signs:
            wait_for(sign, process, log)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


STICKY = "canary-session"


def envoy_routes(canary, sticky, *, runtime):
    """A cookie rule before the split, as Flagger writes it, if sticky; then the split."""
    clusters = [{"name": "stable", "weight": 100 - canary}, {"name": "canary", "weight": canary}]
    if sticky:
        cookie = {"key": "Set-Cookie", "value": f"{STICKY}=yes; Max-Age=3600"}
        clusters[1]["response_headers_to_add"] = [{"header": cookie}]
    split = {"clusters": clusters}
    if runtime:
        split["runtime_key_prefix"] = "split.rt"
    routes = [{"name": "split", "match": {"prefix": "/"}, "route": {"weighted_clusters": split}}]
    if sticky:
        match = {"prefix": "/", "headers": [{"name": "cookie", "string_match": {"contains": f"{STICKY}=yes"}}]}
        routes.insert(0, {"name": "sticky", "match": match, "route": {"cluster": "canary"}})
    return {"name": "app", "virtual_hosts": [{"name": "app", "domains": ["*"], "routes": routes}]}


@contextlib.contextmanager
def envoy(folder, upstreams, *, canary=0, sticky=False, mode="runtime"):
    """Envoy with its weights in the admin runtime, in an RDS file, or in an RTDS file.

    Yields (port, admin address, path of the file).
    """
    program = find("envoy")
    port, admin = free_ports(2)
    watched = Path(folder) / "watched"
    watched.mkdir()
    kind = "type.googleapis.com/envoy"
    layers = [{"name": "defaults", "static_layer": {}}]
    path = watched / "weights.json"
    manager = {
        "@type": f"{kind}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "app",
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{kind}.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    source = {
        "resource_api_version": "V3",
        "path_config_source": {"path": str(path), "watched_directory": {"path": str(watched)}},
    }
    if mode == "rds":
        resource = {
            "@type": f"{kind}.config.route.v3.RouteConfiguration",
            **envoy_routes(canary, sticky, runtime=False),
        }
        path.write_text(json.dumps({"resources": [resource]}))
        manager["rds"] = {"route_config_name": "app", "config_source": source}
    else:
        manager["route_config"] = envoy_routes(canary, sticky, runtime=True)
    if mode == "rtds":
        layer = {"split": {"rt": {"stable": 100 - canary, "canary": canary}}}
        resource = {"@type": f"{kind}.service.runtime.v3.Runtime", "name": "weights", "layer": layer}
        path.write_text(json.dumps({"resources": [resource]}))
        layers.append({"name": "file", "rtds_layer": {"name": "weights", "rtds_config": source}})
    layers.append({"name": "admin", "admin_layer": {}})

    def address(number):
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    config = {
        "node": {"id": "test", "cluster": "test"},
        "admin": {"address": address(admin)},
        "layered_runtime": {"layers": layers},
        "static_resources": {
            "listeners": [
                {
                    "name": "app",
                    "address": address(port),
                    "filter_chains": [
                        {
                            "filters": [
                                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
                            ]
                        }
                    ],
                }
            ],
            "clusters": [
                {
                    "name": name,
                    "type": "STATIC",
                    "connect_timeout": "2s",
                    "load_assignment": {
                        "cluster_name": name,
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(upstream)}}]}],
                    },
                }
                for name, upstream in zip(("stable", "canary"), upstreams, strict=True)
            ],
        },
    }
    (Path(folder) / "envoy.json").write_text(json.dumps(config))
    command = [program, "-c", "envoy.json", "--disable-hot-restart", "--concurrency", "2", "--log-level", "warning"]
    with started(command, [port, admin], folder):
        yield port, f"http://127.0.0.1:{admin}", path


@contextlib.contextmanager
def haproxy(folder, upstreams, *, canary=0, sticky=False, more=()):
    """HAProxy, with more lines for its backend; yields (port, path of the runtime socket)."""
    program = find("haproxy")
    (port,) = free_ports(1)
    # a path in /tmp, because a socket's may have no more than 107 characters
    address = f"/tmp/canary-judge-{os.getpid()}-{port}.sock"
    cookie = "cookie SERVER insert indirect nocache" if sticky else ""
    servers = [
        f"server {name} 127.0.0.1:{upstream} weight {weight}{f' cookie {name}' if sticky else ''}"
        for name, upstream, weight in zip(("stable", "canary"), upstreams, (100 - canary, canary), strict=True)
    ]
    lines = [
        "global",
        f"  stats socket {address} mode 600 level admin",
        "  maxconn 2000",
        "defaults",
        "  mode http",
        "  timeout connect 5s",
        "  timeout client 30s",
        "  timeout server 30s",
        "frontend front",
        f"  bind 127.0.0.1:{port}",
        "  default_backend app",
        "backend app",
        "  balance roundrobin",
        f"  {cookie}",
        *(f"  {server}" for server in (*servers, *more)),
        "",
    ]
    (Path(folder) / "haproxy.cfg").write_text("\n".join(lines))
    try:
        with started([program, "-f", "haproxy.cfg", "-db"], [port, address], folder):
            yield port, address
    finally:
        Path(address).unlink(missing_ok=True)


@contextlib.contextmanager
def nginx(folder, upstreams, *, canary=0):
    """nginx; yields (port, path of the file with the split, the command that reloads it, path of the pid file)."""
    program = find("nginx")
    (port,) = free_ports(1)
    folder = Path(folder)
    part = f"{canary}% canary;" if canary else "# 0% canary;"
    (folder / "split.conf").write_text(
        f'# kept: the weights of the canary\nsplit_clients "${{request_id}}" $variant {{\n    {part}\n    * stable;\n}}\n'
    )
    temporary = "\n".join(
        f"  {name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    upstream = "\n".join(
        f"  upstream {name} {{ server 127.0.0.1:{number}; keepalive 16; }}"
        for name, number in zip(("stable", "canary"), upstreams, strict=True)
    )
    (folder / "nginx.conf").write_text(
        f"""daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 512; }}
http {{
  access_log off;
{temporary}
{upstream}
  include {folder}/split.conf;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://$variant; }}
  }}
}}
"""
    )
    command = [program, "-e", f"{folder}/error.log", "-p", str(folder), "-c", f"{folder}/nginx.conf"]
    with started(command, [port, folder / "nginx.pid"], folder):
        yield port, folder / "split.conf", command, folder / "nginx.pid"
