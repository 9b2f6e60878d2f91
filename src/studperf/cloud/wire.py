"""Requests to Google Cloud over REST: who asks, where to, how often again, and what an answer means."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from studperf.cloud.faults import Asked, from_exception, from_response, no_credentials
from studperf.errors import CloudError, ConfigError

if TYPE_CHECKING:
    import requests
    from google.auth.transport.requests import AuthorizedSession

ENDPOINT = "STUDPERF_GOOGLE_ENDPOINT"
"""Sends every request to a stand-in on this machine, without anybody's credentials."""
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_AGAIN = frozenset((408, 429, 500, 502, 503, 504))
_TIMEOUT_S = (10.0, 30.0)
"""To connect, and between two pieces of an answer."""
_BAD = 400
T = TypeVar("T")
Json = dict[str, Any]


class BusyError(CloudError):
    """May go better in a moment."""


@dataclass
class Google:
    """A session with Google Cloud.

    Args:
        project: that pays.
        region: of jobs.
        tries: how often a request is made that fails for a reason which may pass; a job waits longer than somebody before a terminal.
        wait_s: before the second try, and twice as long before each further one.
    """

    project: str = ""
    region: str = ""
    tries: int = field(default_factory=lambda: 6 if "CLUSTER_SPEC" in os.environ else 4)
    wait_s: float = 0.5
    _session: AuthorizedSession | None = field(default=None, repr=False)

    @property
    def session(self) -> AuthorizedSession:
        """Logged in when it is first needed.

        Raises:
            CloudError: nobody is logged in.
        """
        if self._session is None:
            self._session = _log_in()
        return self._session

    def base(self, service: str) -> str:
        """Where a service answers; `host/...` for one that is named by its host."""
        if given := stand_in():
            return given
        if "." in service:
            return f"https://{service}"
        return (
            f"https://{self.region}-{service}.googleapis.com"
            if service == "aiplatform"
            else f"https://{service}.googleapis.com"
        )

    def asked(self, service: str, what: str, mend: str = "") -> Asked:
        """What a request is about."""
        return Asked(service, what, self.project, self.region, mend)

    def once(
        self,
        method: str,
        path: str,
        asked: Asked,
        *,
        host: str = "",
        **arguments: Any,  # noqa: ANN401 - requests'
    ) -> requests.Response:
        """One request.

        Raises:
            BusyError: another try may go better.
            CloudError: it was refused, and would be again.
        """
        import requests
        from google.auth.exceptions import GoogleAuthError, TransportError

        base = self.base(host or asked.service)
        try:
            response: requests.Response = self.session.request(  # type: ignore[no-untyped-call]
                method, f"{base}/{path}", timeout=_TIMEOUT_S, **arguments
            )
        except (requests.RequestException, TransportError) as error:
            raise BusyError(str(from_exception(error, asked, base.partition("://")[2]))) from error
        except GoogleAuthError as error:
            raise no_credentials(error) from error
        if response.status_code >= _BAD:
            refusal = from_response(response, asked)
            raise BusyError(str(refusal)) if response.status_code in _AGAIN else refusal
        return response

    def patiently(self, work: Callable[[], T]) -> T:
        """Does something again, with growing pauses, while it fails for a reason that may pass.

        Raises:
            CloudError: it went on failing.
        """
        for i in range(self.tries):
            try:
                return work()
            except BusyError as error:
                if i == self.tries - 1:
                    raise CloudError(str(error)) from error
                time.sleep(self.wait_s * 2**i * random.uniform(0.5, 1.5))  # noqa: S311 - parts clients that failed together
        raise AssertionError("tries is at least 1")

    def json(
        self,
        method: str,
        path: str,
        asked: Asked,
        *,
        body: Mapping[str, Any] | None = None,
        **params: Any,  # noqa: ANN401 - text
    ) -> Json:
        """One request that may be made again without harm; its answer."""
        found: Json = self.patiently(
            lambda: self.once(method, path, asked, json=body, params=params or None)
        ).json()
        return found


def stand_in() -> str | None:
    """The address of a stand-in for all of Google's services.

    Raises:
        ConfigError: it is not on this machine.
    """
    given = os.environ.get(ENDPOINT)
    if given and not re.fullmatch(r"http://(127\.0\.0\.1|localhost|\[::1\]):\d+/?", given):
        raise ConfigError(
            f"{ENDPOINT}={given}: must be a stand-in on this machine, http://127.0.0.1:PORT"
        )
    return given.rstrip("/") if given else None


def _log_in() -> AuthorizedSession:
    if stand_in():
        from google.auth.transport.requests import AuthorizedSession
        from google.oauth2.credentials import Credentials

        return AuthorizedSession(Credentials(token="stand-in"))  # type: ignore[no-untyped-call] # noqa: S106 - no secret, it opens nothing
    # A machine outside of Google's clouds has no metadata server, and looking for it would take ten seconds.
    if "CLUSTER_SPEC" not in os.environ:
        os.environ.setdefault("GCE_METADATA_TIMEOUT", "1")
        os.environ.setdefault("GCE_METADATA_DETECT_RETRIES", "1")
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import AuthorizedSession
    from google.oauth2 import service_account

    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    except GoogleAuthError as error:
        raise no_credentials(error) from error
    if isinstance(credentials, service_account.Credentials):
        raise CloudError(
            "GOOGLE_APPLICATION_CREDENTIALS names the key file of a service account; a file like that is lost too easily, and not used here\n"
            "Log in as yourself: unset GOOGLE_APPLICATION_CREDENTIALS; gcloud auth application-default login"
        )
    return AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
