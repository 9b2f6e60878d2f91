"""A folder of a bucket, by Google's own client for Cloud Storage.

Whatever is sent or received is checked by its md5; what fails is said as `errors` says it.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from studperf.cloud.google.errors import from_exception, from_response
from studperf.cloud.google.session import TIMEOUT_S, BusyError, stand_in
from studperf.config.files import written_whole
from studperf.data.dvc.tracked import md5_of
from studperf.errors import CloudError

if TYPE_CHECKING:
    from google.cloud.storage import Blob as GoogleBlob
    from google.cloud.storage import Client

    from studperf.cloud.google.errors import Asked
    from studperf.cloud.google.session import Google

# Without this list the bucket sends a page of properties for each object.
_FIELDS = "nextPageToken,items(name,size,md5Hash,updated)"
# A larger file goes in pieces of this size; Google's own are of 100 MiB, and a piece that fails is
# sent again whole.
_PIECE = 8 << 20
T = TypeVar("T")


@dataclass(frozen=True)
class Blob:
    """An object of a bucket.

    Args:
        name: its name below the folder.
        size: bytes.
        md5: None for an object that was put together from parts.
        updated: the time when it was written, by the bucket's clock.
    """

    name: str
    size: int
    md5: str | None
    updated: datetime


class Folder:
    """A folder of a bucket.

    Args:
        google: the session.
        uri: gs://BUCKET/path.
    """

    def __init__(self, google: Google, uri: str) -> None:
        self.google = google
        self.uri = uri.rstrip("/")
        self.bucket, _, prefix = self.uri.removeprefix("gs://").partition("/")
        self.prefix = f"{prefix}/" if prefix else ""

    def below(self, name: str) -> Folder:
        """Return a folder in this one."""
        return Folder(self.google, f"{self.uri}/{name}")

    def blobs(self) -> Iterator[Blob]:
        """Yield all objects in the folder, at any depth.

        Raises:
            CloudError: there is no such bucket, or it may not be read.
        """
        for found in self._list(self.prefix):
            yield Blob(
                name=found.name.removeprefix(self.prefix),
                size=int(found.size),
                md5=_to_hex(found.md5_hash),
                updated=found.updated,
            )

    def is_there(self, name: str) -> bool:
        """Return True if there is such an object.

        The list is asked, since a request for the object itself could not tell a missing object
        from a missing bucket.
        """
        first = self._list(self.prefix + name, max_results=1)
        return [found.name for found in first] == [self.prefix + name]

    def _list(self, prefix: str, **options: Any) -> list[GoogleBlob]:  # noqa: ANN401 - of the client
        """Return the bucket's objects whose names begin like this."""

        def ask() -> list[GoogleBlob]:
            found = self._client.list_blobs(
                self.bucket, prefix=prefix, fields=_FIELDS, **options, **self._patience
            )
            return list(found)

        return self._call(self.uri, ask)

    def read(self, name: str) -> bytes:
        """Return an object's content."""
        content = io.BytesIO()
        self._receive(self._blob(name), name, content)
        return content.getvalue()

    def write(self, name: str, content: bytes) -> None:
        """Write an object, in place of the one of this name."""
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        self._send(name, io.BytesIO(content), len(content), md5)

    def upload(self, path: Path, name: str, md5: str) -> None:
        """Write a file of this md5, however large, as an object."""
        with path.open("rb") as file:
            self._send(name, file, path.stat().st_size, md5)

    def _send(self, name: str, content: IO[bytes], size: int, md5: str) -> None:
        """Write an object, which the bucket refuses if it has another md5."""

        def send() -> None:
            blob = self._blob(name)
            blob.chunk_size = _PIECE
            # The client's own checksum is that of what it reads, and would bless a file that is
            # changed while it is sent.
            blob.md5_hash = base64.b64encode(bytes.fromhex(md5)).decode()
            blob.upload_from_file(content, rewind=True, size=size, **self._patience)

        self._call(f"{self.uri}/{name}", send)

    def download(self, name: str, path: Path, md5: str | None = None) -> None:
        """Write an object to a file, whole or not at all.

        Args:
            name: of the object.
            path: of the file.
            md5: that it must have; by default the one that the bucket sends along, since the object
                may have changed since it was listed.

        Raises:
            CloudError: it has another md5, or can't be written.
        """
        what = f"{self.uri}/{name}"

        def receive() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(path) as part:
                blob = self._blob(name)
                with part.open("wb") as file:
                    self._receive(blob, name, file)
                arrived = md5_of(part)
                sent = _to_hex(blob.md5_hash)
                # The client checks no download that broke off and was gone on with (3.17).
                if sent not in (None, arrived):
                    raise BusyError(
                        f"{what}: arrived damaged, with md5 {arrived} where {sent} was sent"
                    )
                if md5 not in (None, arrived):
                    raise CloudError(
                        f"{what}: is damaged, its md5 is {arrived} where {md5} belongs. "
                        "Delete it and send it again"
                    )

        try:
            self.google.patiently(receive)
        except OSError as error:
            raise CloudError(f"{path}: can't be written: {error.strerror or error}") from error

    def _receive(self, blob: GoogleBlob, name: str, file: IO[bytes]) -> None:
        """Write an object's content to an open file, as it comes."""
        self._call(f"{self.uri}/{name}", lambda: blob.download_to_file(file, **self._patience))

    @cached_property
    def _client(self) -> Client:
        """Google's client, which logs in as the session does."""
        from google.cloud.storage import Client

        options = {}
        address = stand_in()
        if address is not None:
            options["api_endpoint"] = address
        # A job knows its project's number alone, and reading a bucket takes no project.
        return Client(
            project=self.google.project or None,
            credentials=self.google.session.credentials,
            client_options=options,
        )

    @property
    def _patience(self) -> dict[str, Any]:
        """Arguments of each of the client's calls: when it tries again, and how long it waits."""
        from google.cloud.storage.retry import DEFAULT_RETRY

        again = DEFAULT_RETRY.with_delay(initial=self.google.wait_s)
        return {"retry": again.with_timeout(self.google.patience_s), "timeout": TIMEOUT_S}

    def _blob(self, name: str) -> GoogleBlob:
        return self._client.bucket(self.bucket).blob(self.prefix + name)

    def _call(self, what: str, work: Callable[[], T]) -> T:
        """Return a call's answer; raise its error in words.

        Raises:
            BusyError: what arrived is not what was sent; another try may go better.
            CloudError: the bucket refused, or can't be reached.
        """
        from google.api_core.exceptions import GoogleAPICallError, RetryError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.storage.exceptions import DataCorruption
        from requests import RequestException

        asked = self._asked(what)
        try:
            return work()
        except DataCorruption as error:
            raise BusyError(f"{what}: arrived damaged: {error}") from error
        except (RetryError, GoogleAPICallError, GoogleAuthError, RequestException) as error:
            last = error.cause if isinstance(error, RetryError) else error
            response = getattr(last, "response", None)
            if response is not None:
                raise from_response(response, asked) from error
            host = self.google.base("storage").partition("://")[2]
            raise from_exception(last, asked, host) from error

    def _asked(self, what: str) -> Asked:
        google = self.google
        mend = (
            f"Make the bucket: gcloud storage buckets create gs://{self.bucket} "
            f"--project={google.project} --location={google.region}"
        )
        return google.asked("storage", what, mend)


def _to_hex(encoded: str | None) -> str | None:
    """Return a hash in hexadecimal that the bucket sends in base64."""
    if encoded is None:
        return None
    return base64.b64decode(encoded).hex()
