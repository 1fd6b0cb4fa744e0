"""Kubernetes routers from plain options: `type: istio`, `type: gateway-api` and so on, over any store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from canary_judge.config.metrics import Duration, StrictModel
from canary_judge.config.reading import read_options
from canary_judge.errors import ConfigError
from canary_judge.routers.ahead import Affinity
from canary_judge.routers.ingress import PREFIX
from canary_judge.routers.kinds import KINDS, listed_kind
from canary_judge.routers.kubernetes import INGRESS, KubernetesRouter, KubeStore, Ref
from canary_judge.routers.manifest import ManifestStore
from canary_judge.routers.weighted import Kind, Target

__all__ = [
    "Factory",
    "alb",
    "apisix",
    "consul",
    "contour",
    "gateway",
    "gloo",
    "ingress_nginx",
    "istio",
    "knative",
    "kuma",
    "nginx_inc",
    "openshift",
    "smi",
    "traefik",
    "weighted",
]

_Text = Annotated[str, Field(min_length=1)]


def _as_routes(value: object) -> object:
    return (value,) if isinstance(value, str | int) and not isinstance(value, bool) else value


class _Affinity(StrictModel):
    """A cookie by which clients stay with their version."""

    cookie: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    max_age: Duration = timedelta(hours=24)


class _Options(StrictModel):
    """Options of every Kubernetes router."""

    name: str = Field(default="", description="Of the object; for a manifest with one such object it may be left out.")
    namespace: str = Field(default="", description="`default` in a cluster.")
    kind: str | None = Field(default=None, description="Kubernetes kind, as GRPCRoute for gateway-api.")
    api_version: str | None = None
    stable: str = ""
    canary: str = ""
    stable_subset: str | None = None
    canary_subset: str | None = None
    routes: Annotated[tuple[str | int, ...], BeforeValidator(_as_routes)] = Field(default=(), strict=False)
    protocol: Literal["http", "tcp", "tls"] = "http"
    action: str | None = None
    affinity: _Affinity | None = Field(default=None, description="Clients stay with their version; a cookie's name.")
    stable_ingress: str | None = Field(default=None, description="Name of the stable Ingress, for ingress-nginx.")
    prefix: str = Field(default=PREFIX, description="Of the annotations, for ingress-nginx.")
    store: Literal["kubectl", "http", "in-cluster", "lightkube", "client", "manifest"] | None = None
    manifest: str | None = Field(default=None, description="A YAML file, in place of a cluster.")
    context: str | None = Field(default=None, description="For store: kubectl.")
    url: str | None = Field(default=None, description="For store: http, as of `kubectl proxy`.")
    token: str | None = Field(default=None, repr=False)
    ca: str | None = None


class _ListedOptions(_Options):
    """Options of `type: weighted`."""

    kind: str = ""
    api_version: str = ""
    list_of_routes: str | None = None
    destinations: _Text
    name_key: _Text = "name"
    weight_key: _Text = "weight"
    default_weight: float = Field(default=1.0, ge=0)


@dataclass(frozen=True, slots=True)
class Factory:
    """Builds the router of one kind from its options."""

    name: str

    def from_options(self, options: Mapping[str, Any]) -> KubernetesRouter:
        """From a config's `router:` section; ConfigError names the key and the remedy."""
        read, where, version, kind = self._read(options)
        self._refuse_unnamed(read)
        in_file = read.manifest is not None
        ref = Ref(
            api_version=read.api_version or version,
            kind=read.kind or kind,
            namespace=read.namespace or ("" if in_file else "default"),
            name=read.name,
        )
        stable_ingress = None
        if read.stable_ingress is not None:
            stable_ingress = Ref(
                api_version=ref.api_version, kind=ref.kind, namespace=ref.namespace, name=read.stable_ingress
            )
        target = Target(
            stable=read.stable,
            canary=read.canary,
            stable_subset=read.stable_subset,
            canary_subset=read.canary_subset,
            routes=read.routes,
            protocol=read.protocol,
            action=read.action,
        )
        affinity = None
        if read.affinity is not None:
            affinity = Affinity(cookie=read.affinity.cookie, max_age=read.affinity.max_age)
        try:
            return KubernetesRouter(
                _store(read),
                ref,
                where,
                target,
                stable_ingress=stable_ingress,
                prefix=read.prefix,
                affinity=affinity,
            )
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def _read(self, options: Mapping[str, Any]) -> tuple[_Options, str | Kind, str, str]:
        """The options, where the weights of this kind stand, its API version and its name."""
        if self.name == "weighted":
            listed = read_options(_ListedOptions, options)
            if listed.manifest is None and not (listed.kind and listed.api_version):
                raise ConfigError(
                    "kind, api_version: name both, as they stand in the object, or give a `manifest` file"
                )
            where = listed_kind(
                api_version=listed.api_version,
                kind=listed.kind,
                routes=listed.list_of_routes,
                destinations=listed.destinations,
                name=listed.name_key,
                weight=listed.weight_key,
                default=listed.default_weight,
            )
            return listed, where, listed.api_version, listed.kind
        read = read_options(_Options, options)
        if self.name == INGRESS:
            return read, INGRESS, "networking.k8s.io/v1", "Ingress"
        return read, KINDS[self.name], KINDS[self.name].api_version, KINDS[self.name].kind

    def _refuse_unnamed(self, read: _Options) -> None:
        """Refuse options that name no destinations, one for both, or no object."""
        if self.name != INGRESS:
            if not (read.stable and read.canary):
                raise ConfigError("stable, canary: name both destinations, as `stable: app-stable, canary: app-canary`")
            if (read.stable, read.stable_subset) == (read.canary, read.canary_subset):
                told = read.stable if read.stable_subset is None else f"{read.stable}, subset {read.stable_subset}"
                raise ConfigError(f"stable, canary: both are {told!r}; name two destinations")
        if self.name == "aws-alb-ingress" and not read.action:
            raise ConfigError("action: is missing; give the name of the action whose annotation holds the weights")
        if read.manifest is None and not read.name:
            raise ConfigError("name: is missing; give the object's name, or a `manifest` file")


def _store(read: _Options) -> KubeStore:
    from canary_judge.routers import stores  # a manifest needs no client

    name = read.store or ("manifest" if read.manifest is not None else "http" if read.url is not None else "kubectl")
    if (name == "manifest") != (read.manifest is not None):
        raise ConfigError("manifest: goes with `store: manifest`, and the store with a file; give both or neither")
    if name == "manifest":
        return ManifestStore(str(read.manifest))
    if name == "http":
        if read.url is None:
            raise ConfigError("url: is missing; give the API server's address for store: http")
        return stores.HttpStore(read.url, token=read.token, verify=read.ca if read.ca is not None else True)
    if name == "kubectl":
        return stores.KubectlStore(context=read.context)
    if name == "in-cluster":
        return stores.HttpStore.in_cluster()
    return stores.LightkubeStore() if name == "lightkube" else stores.ClientStore()


istio = Factory("istio")
gateway = Factory("gateway-api")
traefik = Factory("traefik")
smi = Factory("smi")
contour = Factory("contour")
apisix = Factory("apisix")
alb = Factory("aws-alb-ingress")
openshift = Factory("openshift")
knative = Factory("knative")
gloo = Factory("gloo")
kuma = Factory("kuma")
nginx_inc = Factory("nginx-inc")
consul = Factory("consul")
ingress_nginx = Factory(INGRESS)
weighted = Factory("weighted")
