"""Who we are to a metric store: the section `auth` of a source, by entry points of the group `canary_judge.auth`.

Each builds an auth object of `requests`, which adds what the store wants to see to every request. No secret is ever
shown; those that expire (files that are rotated, tokens) are read anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from requests.auth import AuthBase, HTTPBasicAuth

from canary_judge import plugins
from canary_judge.config.reading import read_options
from canary_judge.errors import ConfigError, SourceUnavailable
from canary_judge.sources.addresses import header_value, without_user
from canary_judge.untrusted import printable

__all__ = ["GROUP", "Azure", "Basic", "Bearer", "Google", "OAuth2", "Sigv4", "auth_from_config"]

GROUP = "canary_judge.auth"
# A token is replaced so many seconds before it expires.
_EARLY = 30.0
_TOKEN_SECONDS, _USUAL_LIFE, _LONGEST_LIFE = 10.0, 300.0, 86400.0 * 365
_LONGEST_TEXT = 200


def auth_from_config(options: Mapping[str, Any], *, place: str = "auth") -> AuthBase:
    """Build the section `auth` of a source.

    Args:
        options: `type` (basic, bearer, oauth2, sigv4, google, azure, or that of a plug-in), and its own options.
        place: Where the section stands, for messages.

    Raises:
        ConfigError: The type is unknown, an option is wrong, or a library is missing.
    """
    found = plugins.build(GROUP, options, place=place, what="way to say who we are")
    if not isinstance(found, AuthBase):
        raise ConfigError(f"{place}.type: {options.get('type')!r} builds no auth object of requests")
    return found


class _Secret(AuthBase):
    """Is never shown, nor pickled.

    Attributes:
        secrets: What was sent last, and must not be shown.
    """

    secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(***)"

    def __reduce__(self) -> NoReturn:
        """Refuse: the secret would be in the pickle."""
        raise TypeError(f"{self!r} is not pickled: build it where it is used")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _as_header(name: str, value: str) -> str:
    """What was given to us while we run, and is no fault of the config."""
    try:
        return header_value(name, value)
    except ConfigError as error:
        raise SourceUnavailable(str(error)) from None


def _life(value: object) -> float:
    """Seconds that a token lives."""
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return _USUAL_LIFE
    return seconds if 0 <= seconds < _LONGEST_LIFE else _USUAL_LIFE


def _read(path: Path, what: str) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceUnavailable(f"{what} {path} cannot be read: {type(error).__name__}") from None
    if not text:
        raise SourceUnavailable(f"{what} {path} is empty")
    return text


# --- secrets that are at hand ---------------------------------------------------------------------------------------


class _BearerOptions(_Strict):
    token: SecretStr | None = None
    token_file: str | None = Field(default=None, min_length=1)


class Bearer(_Secret):
    """Sends a bearer token; that of a file is read at every request, for such files are rotated.

    Args:
        token: The token, or what gives it.
    """

    def __init__(self, token: str | Callable[[], str]) -> None:
        self._token = token

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Bearer:
        """`token`, or `token_file`."""
        read = read_options(_BearerOptions, options)
        if (read.token is None) == (read.token_file is None):
            raise ConfigError("token: give one of `token` and `token_file`")
        if read.token is not None:
            return cls(header_value("token", read.token.get_secret_value()))
        path = Path(read.token_file or "")
        if not path.exists():
            raise ConfigError(f"token_file: {str(path)!r} does not exist")
        return cls(lambda: _as_header("token_file", _read(path, "token_file")))

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header."""
        token = self._token if isinstance(self._token, str) else self._token()
        self.secrets = (token,)
        request.headers["Authorization"] = f"Bearer {token}"
        return request


class _BasicOptions(_Strict):
    username: str = Field(min_length=1)
    password: SecretStr | None = None
    password_file: str | None = Field(default=None, min_length=1)


class Basic(_Secret):
    """Sends user and password, as UTF-8 (RFC 7617)."""

    def __init__(self, username: str, password: str | Callable[[], str]) -> None:
        self._username, self._password = username, password

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Basic:
        """`username`, and `password` or `password_file`."""
        read = read_options(_BasicOptions, options)
        if (read.password is None) == (read.password_file is None):
            raise ConfigError("password: give one of `password` and `password_file`")
        if read.password is not None:
            return cls(read.username, read.password.get_secret_value())
        path = Path(read.password_file or "")
        if not path.exists():
            raise ConfigError(f"password_file: {str(path)!r} does not exist")
        return cls(read.username, lambda: _read(path, "password_file"))

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header."""
        password = self._password if isinstance(self._password, str) else self._password()
        self.secrets = (password,)
        signed: requests.PreparedRequest = HTTPBasicAuth(self._username.encode(), password.encode())(request)
        return signed


# --- tokens that are asked for ---------------------------------------------------------------------------------------


class _OAuth2Options(_Strict):
    token_url: str = Field(min_length=1)
    client_id: str = Field(min_length=1)
    client_secret: SecretStr | None = None
    client_secret_file: str | None = Field(default=None, min_length=1)
    scope: str | None = None
    audience: str | None = None
    ca: str | None = None


class OAuth2(_Secret):
    """OAuth 2.0 client credentials (RFC 6749, section 4.4): a token is asked for, and again before it expires.

    Args:
        token_url: Who gives tokens.
        client_id: Who we are there.
        client_secret: The secret, or what reads it.
        scope: What for.
        audience: For whom, where that must be said.
        ca: Path of a CA bundle for the address of the tokens.
    """

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: str | Callable[[], str],
        *,
        scope: str | None = None,
        audience: str | None = None,
        ca: str | None = None,
    ) -> None:
        self._url, self._id, self._secret = token_url, client_id, client_secret
        self._asked = {name: value for name, value in (("scope", scope), ("audience", audience)) if value is not None}
        self._ca = ca
        self._lock = threading.Lock()
        self._token, self._until = "", 0.0

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> OAuth2:
        """Keys as the arguments, with `client_secret` or `client_secret_file`."""
        read = read_options(_OAuth2Options, options)
        if (read.client_secret is None) == (read.client_secret_file is None):
            raise ConfigError("client_secret: give one of `client_secret` and `client_secret_file`")
        parts = urlsplit(read.token_url)
        if parts.scheme != "https" and (parts.scheme, parts.hostname) not in (
            ("http", "127.0.0.1"),
            ("http", "localhost"),
        ):
            raise ConfigError(f"token_url: {without_user(read.token_url)!r} is not https, so the secret would be seen")
        secret: str | Callable[[], str]
        if read.client_secret is not None:
            secret = read.client_secret.get_secret_value()
        else:
            path = Path(read.client_secret_file or "")
            secret = lambda: _read(path, "client_secret_file")  # noqa: E731
        return cls(read.token_url, read.client_id, secret, scope=read.scope, audience=read.audience, ca=read.ca)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._renew()
            request.headers["Authorization"] = f"Bearer {self._token}"
        request.register_hook("response", self._heed)  # type: ignore[no-untyped-call]
        return request

    def _heed(self, response: requests.Response, *_: object, **__: object) -> None:
        """A token that is refused is asked for anew at the next request."""
        if response.status_code == 401:
            with self._lock:
                self._until = 0.0

    def _renew(self) -> None:
        secret = self._secret if isinstance(self._secret, str) else self._secret()
        where = without_user(self._url)
        try:
            response = requests.post(
                self._url,
                data={"grant_type": "client_credentials", **self._asked},
                auth=HTTPBasicAuth(self._id.encode(), secret.encode()),
                timeout=_TOKEN_SECONDS,
                verify=self._ca or True,
                allow_redirects=False,
            )
            answer = response.json()
        except (requests.exceptions.RequestException, ValueError) as error:
            raise SourceUnavailable(f"{where} gives no token: {type(error).__name__}") from None
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if response.status_code != 200 or not isinstance(token, str) or not token:
            said = printable(str(answer.get("error", "") if isinstance(answer, dict) else ""))[:_LONGEST_TEXT]
            raise SourceUnavailable(
                f"{where} gives no token (HTTP {response.status_code}): {said.replace(secret, '***')}"
            )
        self._token = _as_header("access_token", token)
        self.secrets = (token, secret)
        self._until = time.monotonic() + max(_life(answer.get("expires_in")) - _EARLY, 0.0)


# --- clouds, each with a library of its own --------------------------------------------------------------------------


class _Sigv4Options(_Strict):
    region: str = Field(min_length=1)
    service: str = Field(min_length=1)
    profile: str | None = None


class Sigv4(_Secret):
    """Signs requests as AWS wants it (Amazon Managed Prometheus: service aps; CloudWatch: monitoring).

    Keys come from where botocore finds them: environment, profile, role of the pod or of the machine.
    """

    def __init__(self, credentials: Any, *, region: str, service: str) -> None:
        from botocore.auth import SigV4Auth

        self._signer = SigV4Auth(credentials, service, region)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Sigv4:
        """`region`, `service`, and perhaps `profile`."""
        read = read_options(_Sigv4Options, options)
        try:
            from botocore.exceptions import BotoCoreError
            from botocore.session import Session
        except ImportError as error:
            raise ConfigError("type: sigv4 needs botocore; pip install 'canary-judge[aws]'") from error
        try:
            credentials = Session(profile=read.profile).get_credentials()
        except BotoCoreError as error:
            raise ConfigError(f"profile: AWS gives no credentials ({type(error).__name__})") from None
        if credentials is None:
            raise ConfigError("type: sigv4 finds no credentials of AWS in the environment, a profile or a role")
        return cls(credentials, region=read.region, service=read.service)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the signature of method, address, headers and body."""
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError

        base, mark, query = str(request.url).partition("?")
        request.url = base + mark + query.replace("+", "%20")  # AWS reads no plus sign as a space
        # headers that a connection or a proxy may change are not signed
        kept = {
            name: value
            for name, value in request.headers.items()
            if name.lower() in ("content-type", "host", "x-amz-target")
        }
        signed = AWSRequest(method=request.method, url=request.url, data=request.body or b"", headers=kept)
        try:
            self._signer.add_auth(signed)
        except BotoCoreError as error:
            raise SourceUnavailable(f"AWS gives no credentials: {type(error).__name__}") from None
        request.headers.update(dict(signed.headers))
        return request


class _GoogleOptions(_Strict):
    file: str | None = Field(default=None, min_length=1)
    scope: str = "https://www.googleapis.com/auth/monitoring.read"


class Google(_Secret):
    """Sends a token of Google Cloud: of a service account's file, or of where we run."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials
        self._lock = threading.Lock()

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Google:
        """`file` of a service account (by default what the environment says), and `scope`."""
        read = read_options(_GoogleOptions, options)
        try:
            import google.auth
            from google.auth.exceptions import GoogleAuthError
            from google.oauth2.service_account import Credentials
        except ImportError as error:
            raise ConfigError("type: google needs google-auth; pip install 'canary-judge[google]'") from error
        try:
            if read.file is not None:
                credentials = Credentials.from_service_account_file(read.file, scopes=[read.scope])
            else:
                credentials, _ = google.auth.default(scopes=[read.scope])
        except (GoogleAuthError, OSError, ValueError) as error:
            raise ConfigError(f"file: gives no credentials of Google ({type(error).__name__})") from None
        return cls(credentials)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header."""
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request

        with self._lock:
            try:
                if not self._credentials.valid:
                    self._credentials.refresh(Request())
            except GoogleAuthError as error:
                raise SourceUnavailable(f"Google gives no token: {type(error).__name__}") from None
            self._credentials.apply(request.headers)
        return request


class _AzureOptions(_Strict):
    scope: str = "https://prometheus.monitor.azure.com/.default"
    client_id: str | None = None


class Azure(_Secret):
    """Sends a token of Azure: of the environment, a workload identity or a managed identity."""

    def __init__(self, credential: Any, *, scope: str) -> None:
        self._credential, self._scope = credential, scope

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Azure:
        """`scope`, and `client_id` of a managed identity that the user assigned."""
        read = read_options(_AzureOptions, options)
        try:
            from azure.identity import DefaultAzureCredential
        except ImportError as error:
            raise ConfigError("type: azure needs azure-identity; pip install 'canary-judge[azure]'") from error
        more = {} if read.client_id is None else {"managed_identity_client_id": read.client_id}
        return cls(DefaultAzureCredential(**more), scope=read.scope)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header; the library keeps a token until it expires."""
        from azure.core.exceptions import AzureError

        try:
            token = self._credential.get_token(self._scope).token
        except AzureError as error:
            raise SourceUnavailable(f"Azure gives no token: {type(error).__name__}") from None
        request.headers["Authorization"] = f"Bearer {token}"
        return request
