"""A folder of a bucket, over Google Cloud Storage's JSON API.

Whatever is sent or received is checked by its md5.
"""

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

from studperf.cloud.google.session import BusyError
from studperf.errors import CloudError

if TYPE_CHECKING:
    import requests

    from studperf.cloud.google.errors import Asked
    from studperf.cloud.google.session import Google

_CHUNK = 1 << 20
# Without this list the bucket sends a page of properties for each object.
_FIELDS = "name,size,md5Hash,updated"


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
        params: dict[str, Any] = {
            "prefix": self.prefix,
            "fields": f"nextPageToken,items({_FIELDS})",
        }
        while True:
            page = self._list(params)
            for item in page.get("items", []):
                yield self._blob(item)
            if not page.get("nextPageToken"):
                return
            params["pageToken"] = page["nextPageToken"]

    def is_there(self, name: str) -> bool:
        """Return True if there is such an object.

        The list is asked, since a request for the object itself could not tell a missing object
        from a missing bucket.
        """
        params: dict[str, Any] = {
            "prefix": self.prefix + name,
            "maxResults": 1,
            "fields": f"items({_FIELDS})",
        }
        items = self._list(params).get("items", [])
        return [item["name"] for item in items] == [self.prefix + name]

    def _list(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return one page of the bucket's list of objects."""
        path = f"storage/v1/b/{self.bucket}/o"
        return self.google.json("GET", path, self._asked(self.uri), **params)

    def read(self, name: str) -> bytes:
        """Return an object's content."""
        response = self.google.patiently(lambda: self._get(name, is_streamed=False))
        return bytes(response.content)

    def write(self, name: str, content: bytes) -> None:
        """Write an object, in place of the one of this name."""
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        self.google.patiently(lambda: self._post(name, content, md5))

    def upload(self, path: Path, name: str, md5: str) -> None:
        """Write a file of this md5, however large, as an object."""

        def send() -> None:
            with path.open("rb") as file:
                self._post(name, file, md5)

        self.google.patiently(send)

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
        import requests

        def receive() -> None:
            try:
                self._download(name, path, md5)
            # The connection broke in the midst of the content.
            except requests.RequestException as error:
                raise BusyError(f"{self.uri}/{name}: did not arrive whole: {error}") from error
            except OSError as error:
                raise CloudError(f"{path}: can't be written: {error.strerror or error}") from error

        self.google.patiently(receive)

    def _download(self, name: str, path: Path, md5: str | None) -> None:
        """Try once to write an object to a file, by way of a hidden file beside it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.part")
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with temporary.open("wb") as file, self._get(name, is_streamed=True) as response:
                for chunk in response.iter_content(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
                sent = _md5_in(response)
            arrived = digest.hexdigest()
            if sent not in (None, arrived):
                raise BusyError(
                    f"{self.uri}/{name}: arrived damaged, with md5 {arrived} where {sent} was sent"
                )
            if md5 not in (None, arrived):
                raise CloudError(
                    f"{self.uri}/{name}: is damaged, its md5 is {arrived} where {md5} belongs. "
                    "Delete it and send it again"
                )
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _get(self, name: str, *, is_streamed: bool) -> requests.Response:
        """Ask once for an object's content."""
        return self.google.once(
            "GET",
            self._path(name),
            self._asked(f"{self.uri}/{name}"),
            params={"alt": "media"},
            stream=is_streamed,
        )

    def _post(self, name: str, content: Any, md5: str) -> None:  # noqa: ANN401 - bytes or a file
        """Try once to write an object, and compare the md5 that arrived."""
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
                f"{self.uri}/{name}: arrived damaged, with md5 {arrived} where {md5} belongs. "
                "Send it again"
            )

    def _path(self, name: str) -> str:
        return f"storage/v1/b/{self.bucket}/o/{quote(self.prefix + name, safe='')}"

    def _asked(self, what: str) -> Asked:
        google = self.google
        mend = (
            f"Make the bucket: gcloud storage buckets create gs://{self.bucket} "
            f"--project={google.project} --location={google.region}"
        )
        return google.asked("storage", what, mend)

    def _blob(self, item: dict[str, Any]) -> Blob:
        md5 = None
        if "md5Hash" in item:
            md5 = _to_hex(item["md5Hash"])
        return Blob(
            name=item["name"].removeprefix(self.prefix),
            size=int(item["size"]),
            md5=md5,
            updated=datetime.fromisoformat(item["updated"]),
        )


def _md5_in(response: requests.Response) -> str | None:
    """Return the md5 that the bucket sends along; None for an object put together from parts."""
    # crc32c=n03x6A==,md5=Ojk9c3dhfxgoKVVHYwFbHQ==
    parts = response.headers.get("x-goog-hash", "").split(",")
    hashes = dict(part.strip().split("=", 1) for part in parts if "=" in part)
    if "md5" not in hashes:
        return None
    return _to_hex(hashes["md5"])


def _to_hex(encoded: str) -> str:
    """Return a hash in hexadecimal that the bucket sends in base64."""
    return base64.b64decode(encoded).hex()
