"""What drives the traffic: Kubernetes objects, Envoy, HAProxy, nginx, and whatever is installed as an entry point.

Every router is imported when it is first used; `from_config` builds one from plain data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from canary_judge import plugins

if TYPE_CHECKING:
    from canary_judge.routers.envoy import EnvoyFile, EnvoyRuntime
    from canary_judge.routers.haproxy import HAProxyRouter
    from canary_judge.routers.kubernetes import KubernetesRouter
    from canary_judge.routers.memory import MemoryRouter
    from canary_judge.routers.nginx import NginxRouter
    from canary_judge.routers.several import SeveralRouters
    from canary_judge.routing import TrafficRouter

__all__ = [
    "EnvoyFile",
    "EnvoyRuntime",
    "HAProxyRouter",
    "KubernetesRouter",
    "MemoryRouter",
    "NginxRouter",
    "SeveralRouters",
    "available",
    "from_config",
]

GROUP = "canary_judge.routers"
_HOME = {
    "EnvoyFile": "envoy",
    "EnvoyRuntime": "envoy",
    "HAProxyRouter": "haproxy",
    "KubernetesRouter": "kubernetes",
    "MemoryRouter": "memory",
    "NginxRouter": "nginx",
    "SeveralRouters": "several",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'canary_judge.routers' has no attribute {name!r}")
    return getattr(import_module(f"canary_judge.routers.{_HOME[name]}"), name)


def available() -> list[str]:
    """Names that `type:` may have: ours and those of installed plug-ins."""
    return plugins.available(GROUP)


def from_config(options: Mapping[str, Any] | Sequence[Mapping[str, Any]], *, place: str = "router") -> TrafficRouter:
    """Build a router from plain data, as under `router:` in a config.

    Args:
        options: `type` names an entry point of the group `canary_judge.routers`; the rest goes to its
            `from_options`. `${env:NAME}` inside any text is replaced from the environment. A list of them is driven
            as one: raised one by one, lowered all.
        place: For messages.

    Raises:
        ConfigError: The type is unknown, an option is wrong, or an environment variable is not set.

    Examples:
        >>> from_config({"type": "memory"}).get_weight().percent
        0.0
    """
    if isinstance(options, Mapping):
        router: TrafficRouter = plugins.build(GROUP, options, place=place, what="router")
        return router
    built = {
        _called(number, one): plugins.build(GROUP, one, place=f"{place}[{number}]", what="router")
        for number, one in enumerate(options)
    }
    from canary_judge.routers.several import SeveralRouters

    return SeveralRouters(built) if len(built) > 1 else next(iter(built.values()))


def _called(number: int, options: Mapping[str, Any]) -> str:
    """What tells a router from the others of a list."""
    words = [str(options[key]) for key in ("type", "namespace", "name", "protocol", "backend") if key in options]
    return f"[{number}] {' '.join(words)}"
