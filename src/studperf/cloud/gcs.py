"""A folder of a bucket, over Google Cloud Storage's JSON API. What goes there and what comes from there is held by its md5."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from studperf.cloud.wire import BusyError
from studperf.errors import CloudError

if TYPE_CHECKING:
    import requests

    from studperf.cloud.faults import Asked
    from studperf.cloud.wire import Google

_CHUNK = 1 << 20
_FIELDS = "name,size,md5Hash,updated"


@dataclass(frozen=True)
class Blob:
    """An object: its name below the folder, its size in bytes, its md5 where the bucket knows it, and when it was written."""

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
        """A folder in it."""
        return Folder(self.google, f"{self.uri}/{name}")

    def blobs(self) -> Iterator[Blob]:
        """All that lies in it, at any depth.

        Raises:
            CloudError: there is no such bucket, or it may not be read.
        """
        params: dict[str, Any] = {
            "prefix": self.prefix,
            "fields": f"nextPageToken,items({_FIELDS})",
        }
        while True:
            page = self.google.json(
                "GET", f"storage/v1/b/{self.bucket}/o", self._asked(self.uri), **params
            )
            yield from (self._blob(item) for item in page.get("items", []))
            if not page.get("nextPageToken"):
                return
            params["pageToken"] = page["nextPageToken"]

    def is_there(self, name: str) -> bool:
        """Whether there is such an object. That there is no such bucket is another matter: a look at the list tells them apart."""
        params: dict[str, Any] = {
            "prefix": self.prefix + name,
            "maxResults": 1,
            "fields": f"items({_FIELDS})",
        }
        page = self.google.json(
            "GET", f"storage/v1/b/{self.bucket}/o", self._asked(self.uri), **params
        )
        return [item["name"] for item in page.get("items", [])] == [self.prefix + name]

    def read(self, name: str) -> bytes:
        """An object's content."""
        response = self.google.patiently(lambda: self._get(name, is_streamed=False))
        return bytes(response.content)

    def write(self, name: str, content: bytes) -> None:
        """Replaces an object."""
        self.google.patiently(
            lambda: self._post(
                name, content, hashlib.md5(content, usedforsecurity=False).hexdigest()
            )
        )

    def upload(self, path: Path, name: str, md5: str) -> None:
        """Replaces an object by a file of this md5, however large."""

        def send() -> None:
            with path.open("rb") as file:
                self._post(name, file, md5)

        self.google.patiently(send)

    def download(self, name: str, path: Path, md5: str | None = None) -> None:
        """An object as a file, whole or not at all.

        Args:
            name: of the object.
            path: of the file.
            md5: that it is to have; by default, the one that the bucket names as it sends it: it may have changed since it was listed.

        Raises:
            CloudError: it has another md5, or can't be written.
        """
        import requests

        def receive() -> None:
            try:
                self._download(name, path, md5)
            except requests.RequestException as error:  # in the midst of the content
                raise BusyError(f"{self.uri}/{name}: did not arrive whole: {error}") from error
            except OSError as error:
                raise CloudError(f"{path}: can't be written: {error.strerror or error}") from error

        self.google.patiently(receive)

    def _download(self, name: str, path: Path, md5: str | None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.part")
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with temporary.open("wb") as file, self._get(name, is_streamed=True) as response:
                for chunk in response.iter_content(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
                sent = _md5_in(response)
            if sent not in (None, digest.hexdigest()):
                raise BusyError(
                    f"{self.uri}/{name}: arrived damaged, with md5 {digest.hexdigest()} where {sent} was sent"
                )
            if md5 not in (None, digest.hexdigest()):
                raise CloudError(
                    f"{self.uri}/{name}: is damaged, its md5 is {digest.hexdigest()} where {md5} belongs. Delete it and send it again"
                )
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _get(self, name: str, *, is_streamed: bool) -> requests.Response:
        return self.google.once(
            "GET",
            self._path(name),
            self._asked(f"{self.uri}/{name}"),
            params={"alt": "media"},
            stream=is_streamed,
        )

    def _post(self, name: str, content: Any, md5: str) -> None:  # noqa: ANN401 - bytes, or a file of them
        response = self.google.once(
            "POST",
            f"upload/storage/v1/b/{self.bucket}/o",
            self._asked(f"{self.uri}/{name}"),
            params={"uploadType": "media", "name": f"{self.prefix}{name}", "fields": _FIELDS},
            data=content,
            headers={"Content-Type": "application/octet-stream"},
        )
        arrived = self._blob(response.json()).md5
        if arrived is not None and arrived != md5:
            raise CloudError(
                f"{self.uri}/{name}: arrived damaged, with md5 {arrived} where {md5} belongs. Send it again"
            )

    def _path(self, name: str) -> str:
        return f"storage/v1/b/{self.bucket}/o/{quote(self.prefix + name, safe='')}"

    def _asked(self, what: str) -> Asked:
        google = self.google
        mend = f"Make the bucket: gcloud storage buckets create gs://{self.bucket} --project={google.project} --location={google.region}"
        return google.asked("storage", what, mend)

    def _blob(self, item: dict[str, Any]) -> Blob:
        md5 = base64.b64decode(item["md5Hash"]).hex() if "md5Hash" in item else None
        return Blob(
            item["name"].removeprefix(self.prefix),
            int(item["size"]),
            md5,
            datetime.fromisoformat(item["updated"]),
        )


def _md5_in(response: requests.Response) -> str | None:
    """Of what is being sent, as the bucket says it; an object that was put together from parts has none."""
    hashes = dict(
        part.strip().split("=", 1)
        for part in response.headers.get("x-goog-hash", "").split(",")
        if "=" in part
    )
    return base64.b64decode(hashes["md5"]).hex() if "md5" in hashes else None
