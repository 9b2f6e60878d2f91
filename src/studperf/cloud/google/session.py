"""Requests to Google Cloud over REST: login, addresses, retries, and the errors of answers.

Google's own client for Vertex AI takes some 13 s to import (google-cloud-aiplatform 2.7), this less
than one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from studperf.cloud.google.errors import Asked, from_exception, from_response, no_credentials
from studperf.errors import CloudError, ConfigError

if TYPE_CHECKING:
    import requests
    from google.auth.transport.requests import AuthorizedSession

ENDPOINT = "STUDPERF_GOOGLE_ENDPOINT"
"""Environment variable that sends every request to a stand-in here, without credentials."""
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
# Timeouts, too many requests, and the server's own errors may pass.
_AGAIN = frozenset((408, 429, 500, 502, 503, 504))
TIMEOUT_S = (10.0, 30.0)
"""Seconds to connect, and between two pieces of an answer."""
_FIRST_ERROR = 400
T = TypeVar("T")
Json = dict[str, Any]


class BusyError(CloudError):
    """Raised for a request that may go better in a moment."""


@dataclass
class Google:
    """A session with Google Cloud.

    Args:
        project: the project that pays.
        region: the region of jobs.
        tries: how often a request is made that fails for a reason which may pass; a job waits
            longer than somebody before a terminal.
        wait_s: longest wait in seconds before the second try, and twice as long before each
            further one.
        patience_s: seconds in which Google's own clients try again; 120 is their default.
    """

    project: str = ""
    region: str = ""
    tries: int = field(default_factory=lambda: 6 if _is_in_job() else 4)
    wait_s: float = 0.5
    patience_s: float = field(default_factory=lambda: 120.0 if _is_in_job() else 15.0)
    _session: AuthorizedSession | None = field(default=None, repr=False)

    @property
    def session(self) -> AuthorizedSession:
        """Session that logs in when it is first needed.

        Raises:
            CloudError: nobody is logged in.
        """
        if self._session is None:
            self._session = _log_in()
        return self._session

    def base(self, service: str) -> str:
        """Return the address of a service, which may also be named by its host."""
        given = stand_in()
        if given:
            return given
        if "." in service:
            return f"https://{service}"
        # Vertex AI answers for a region only at that region's host.
        if service == "aiplatform":
            return f"https://{self.region}-{service}.googleapis.com"
        return f"https://{service}.googleapis.com"

    def asked(self, service: str, what: str, mend: str = "") -> Asked:
        """Return a request's subject, for the words of its errors."""
        return Asked(service, what, self.project, self.region, mend)

    def once(
        self,
        method: str,
        path: str,
        asked: Asked,
        *,
        host: str = "",
        **arguments: Any,  # noqa: ANN401 - requests' own arguments
    ) -> requests.Response:
        """Make a request once.

        Raises:
            BusyError: another try may go better.
            CloudError: it was refused, and would be again.
        """
        import requests
        from google.auth.exceptions import GoogleAuthError, TransportError

        base = self.base(host or asked.service)
        try:
            response: requests.Response = self.session.request(  # type: ignore[no-untyped-call] # google-auth has no types
                method, f"{base}/{path}", timeout=TIMEOUT_S, **arguments
            )
        except (requests.RequestException, TransportError) as error:
            raise BusyError(str(from_exception(error, asked, base.partition("://")[2]))) from error
        except GoogleAuthError as error:
            raise no_credentials(error) from error

        code = response.status_code
        if code < _FIRST_ERROR:
            return response
        refusal = from_response(response, asked)
        if code in _AGAIN:
            raise BusyError(str(refusal))
        raise refusal

    def patiently(self, work: Callable[[], T]) -> T:
        """Call `work`, again with growing pauses while it fails for a reason that may pass.

        Raises:
            CloudError: it went on failing.
        """
        from google.api_core.retry import Retry

        tries = iter(range(1, self.tries))

        def may_pass(error: Exception) -> bool:
            return isinstance(error, BusyError) and next(tries, None) is not None

        # Tries are counted: one answer that does not come takes longer than all the waits, and the
        # job that was asked for has to be looked for all the same.
        retry = Retry(may_pass, initial=self.wait_s, timeout=None)
        try:
            return retry(work)()
        except BusyError as error:
            raise CloudError(str(error)) from error

    def json(
        self,
        method: str,
        path: str,
        asked: Asked,
        *,
        body: Mapping[str, Any] | None = None,
        **params: Any,  # noqa: ANN401 - texts and numbers of the query
    ) -> Json:
        """Return the JSON answer of a request that may be repeated without harm."""
        response = self.patiently(
            lambda: self.once(method, path, asked, json=body, params=params or None)
        )
        found: Json = response.json()
        return found

    def pages(
        self, method: str, path: str, asked: Asked, request: Mapping[str, Any]
    ) -> Iterator[Json]:
        """Yield the pages of a list, each with a request of its own.

        Args:
            method: GET sends the request as a query, POST as a body.
            path: of the list.
            asked: the list, for the words of errors.
            request: what is asked for.
        """
        request = dict(request)
        while True:
            if method == "GET":
                page = self.json(method, path, asked, **request)
            else:
                page = self.json(method, path, asked, body=request)
            yield page
            if not page.get("nextPageToken"):
                return
            request["pageToken"] = page["nextPageToken"]


def stand_in() -> str | None:
    """Return the address of a stand-in for all of Google's services; None if there is none.

    Raises:
        ConfigError: it is not on this machine.
    """
    given = os.environ.get(ENDPOINT)
    if given and not re.fullmatch(r"http://(127\.0\.0\.1|localhost|\[::1\]):\d+/?", given):
        raise ConfigError(
            f"{ENDPOINT}={given}: must be a stand-in on this machine, http://127.0.0.1:PORT"
        )
    if not given:
        return None
    return given.rstrip("/")


def _is_in_job() -> bool:
    """Return True on a machine of a job on Vertex AI."""
    return "CLUSTER_SPEC" in os.environ


def _log_in() -> AuthorizedSession:
    """Return a session with the credentials of whoever is logged in."""
    if stand_in():
        from google.auth.transport.requests import AuthorizedSession
        from google.oauth2.credentials import Credentials

        nobody = Credentials(token="stand-in")  # type: ignore[no-untyped-call] # noqa: S106 - no secret, it opens nothing
        return AuthorizedSession(nobody)  # type: ignore[no-untyped-call] # google-auth has no types

    # A machine outside of Google's clouds has no metadata server, and looking for it would take ten
    # seconds.
    if not _is_in_job():
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
            "GOOGLE_APPLICATION_CREDENTIALS names the key file of a service account; "
            "a file like that is lost too easily, and not used here\n"
            "Log in as yourself: unset GOOGLE_APPLICATION_CREDENTIALS; "
            "gcloud auth application-default login"
        )
    return AuthorizedSession(credentials)  # type: ignore[no-untyped-call] # google-auth has no types
