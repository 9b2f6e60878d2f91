"""Where versions of a table are kept: DVC's remote and its cache on this disk, both laid out as DVC lays them out.

DVC's own commands tell how many files failed, not why; here each file is moved by itself, checked against its md5, and put in its
place by one rename. DVC is imported when a remote is opened, and only here.
"""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from studperf.data.tracked import md5_of
from studperf.errors import DataError

Moved = Callable[[int], None]
"""Told of the bytes of a file that were moved so far."""
_Answer = TypeVar("_Answer")
_PLACEHOLDER = "your-bucket"
_CREDENTIALS_S = 4.0
"""Google's library looks for a metadata server before it says that there are no credentials."""
_SILENCE_S = 30.0
_SENDING = 4
"""Times as long, for a chunk on its way out."""
_CHUNK = 8 << 20
_TICK_S = 0.05
_LOGIN = "gcloud auth application-default login"


@dataclass(frozen=True)
class Store:
    """Files by their md5, in a folder of any of fsspec's file systems."""

    url: str
    fs: Any
    root: str

    def path_of(self, md5: str) -> str:
        """Where DVC keeps the file."""
        return str(self.fs.join(self.root, "files", "md5", md5[:2], md5[2:]))

    def size_of(self, md5: str) -> int | None:
        """Bytes of the stored file; None if it is not there.

        Raises:
            DataError: says what is in the way of an answer.
        """
        info = self._info(md5)
        return None if info is None else int(info["size"])

    def is_whole(self, md5: str, size: int) -> bool:
        """Whether the stored file is what its name says, as far as the store tells without sending it."""
        info = self._info(md5)
        if info is None or int(info["size"]) != size:
            return False
        if self.fs.protocol == "local":
            return md5_of(Path(self.path_of(md5))) == md5
        told = info.get("md5Hash")
        return told is None or base64.b64decode(told).hex() == md5

    def fetch(self, md5: str, to: Path, moved: Moved) -> None:
        """Brings a file, checks it and puts it in its place; nothing is left at the place if that fails.

        Raises:
            DataError: it is not there, is damaged, or the store can't be reached.
        """
        with written_whole(to) as part:
            watch = _Watch(moved)
            self._ask(
                lambda: self.fs.get_file(self.path_of(md5), str(part), callback=watch.callback()),
                watch,
                md5,
            )
            if (found := md5_of(part)) != md5:
                raise DataError(
                    f"{self._told(md5)}: is damaged: its md5 is {found} ({part.stat().st_size} bytes), and by its name it should be {md5}. "
                    "Nothing was written here. Mend it from a machine that has the file: python -m studperf.data push"
                )

    def push(self, md5: str, file: Path, moved: Moved) -> None:
        """Stores a file under its md5; an object becomes visible once it is whole.

        Raises:
            DataError: the store can't be reached, refuses, or keeps something else.
        """
        watch, path = _Watch(moved), self.path_of(md5)

        def put() -> None:
            self.fs.makedirs(self.fs.parent(path))
            # gcsfs tells of a chunk once it has arrived, and its own are of 50 MiB: minutes on a slow line.
            options = {"chunksize": _CHUNK} if self.fs.protocol == "gs" else {}
            self.fs.put_file(str(file), path, callback=watch.callback(), **options)

        self._ask(put, watch, md5, seconds=_SILENCE_S * _SENDING)
        if not self.is_whole(md5, file.stat().st_size):
            raise DataError(
                f"{self._told(md5)}: the remote keeps something else than was sent; push again"
            )

    def _told(self, md5: str) -> str:
        return f"{self.url.rstrip('/')}/files/md5/{md5[:2]}/{md5[2:]}"

    def _info(self, md5: str) -> dict[str, Any] | None:
        def look() -> dict[str, Any] | None:
            self.fs.fs.invalidate_cache()
            try:
                return dict(self.fs.info(self.path_of(md5)))
            except FileNotFoundError:
                return None

        return self._ask(look, _Watch(), md5)

    def _ask(
        self, call: Callable[[], _Answer], watch: _Watch, md5: str, *, seconds: float | None = None
    ) -> _Answer:
        try:
            return within(seconds or _SILENCE_S, call, watch)
        except FileNotFoundError as error:
            raise DataError(
                f"{self._told(md5)}: there is no such object. Either this version was never pushed (python -m studperf.data push, on "
                "a machine that has it), or the remote's address is wrong (dvc remote list)"
            ) from error
        except Exception as error:  # noqa: BLE001 - each file system brings errors of its own
            refuse(error, self.url)


def open_remote(root: Path, name: str | None = None) -> Store:
    """The remote that `.dvc/config` names, the default one if none is named.

    Args:
        root: the folder that holds `.dvc/`.
        name: of a remote.

    Raises:
        DataError: there is no such remote, no credentials for it, or DVC can't use it.
    """
    _prepare()
    from dvc.fs import get_cloud_fs

    config = _read_config(root)
    name = _choose(config, name, root)
    url = str(config["remote"][name.lower()]["url"])
    if _PLACEHOLDER in url:
        raise DataError(
            f"the remote {name!r} is still the one of the template, {url}. Set yours: dvc remote modify {name} url {_URL}"
        )
    try:
        cls, options, path = get_cloud_fs(config, name=name)
        if (
            cls.protocol == "gs"
            and not options.get("allow_anonymous_login")
            and not options.get("credentialpath")
        ):
            options["credentialpath"] = (
                "google_default"  # gcsfs would go on to a token cache, a metadata server, and no login at all
            )
        store = Store(url, cls(**options), path)
        within(_CREDENTIALS_S, lambda: store.fs.fs)  # which logs in
    except ImportError as error:
        raise DataError(
            f"the remote {name!r} needs a package that is not installed: {error}"
        ) from error
    except Exception as error:  # noqa: BLE001 - each file system brings errors of its own
        refuse(error, name, is_login=True)
    return store


def open_cache(root: Path) -> Store:
    """DVC's cache on this disk."""
    from dvc.fs import LocalFileSystem

    folder = str(_read_config(root).get("cache", {}).get("dir") or root / ".dvc" / "cache")
    return Store(folder, LocalFileSystem(), folder)


def _read_config(root: Path) -> Any:  # noqa: ANN401 - DVC ships no types
    from dvc.config import Config, ConfigError

    try:
        return Config(str(root / ".dvc"), validate=True)
    except ConfigError as error:
        raise DataError(f"{root / '.dvc' / 'config'}: {error.__cause__ or error}") from error


_URL = "gs://BUCKET/FOLDER (or a folder's path)"


def _choose(config: Any, name: str | None, root: Path) -> str:  # noqa: ANN401 - DVC ships no types
    known = list(config.get("remote", {}))
    if name is None and (name := config.get("core", {}).get("remote")) is None:
        raise DataError(
            f"{root / '.dvc' / 'config'} names no default remote. Name one: dvc remote add -d storage {_URL}"
        )
    if name.lower() not in known:
        raise DataError(
            f"there is no remote {name!r} in {root / '.dvc' / 'config'}; there is {', '.join(known) or 'none'}"
        )
    return str(name)


def _prepare() -> None:
    """Settings of Google's libraries, read when they are imported."""
    # gcsfs 2026.10 asks a second, gRPC service for the kind of bucket; where only plain HTTP answers, that takes a minute a file.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    os.environ.setdefault("GCE_METADATA_TIMEOUT", "1")
    # Each of Google's packages warns at its import of a Python whose end is near (3.11 with google-api-core 2.30).
    warnings.filterwarnings(
        "ignore", category=FutureWarning, module=r"google\.api_core\._python_version_support$"
    )


def refuse(error: Exception, where: str, *, is_login: bool = False) -> NoReturn:
    """Says in words what came between us and a remote.

    Raises:
        DataError: always.
    """
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    code = getattr(error, "code", None)
    if is_login and (
        isinstance(error, TimeoutError) or type(error).__module__.startswith("google.auth")
    ):
        said = f"no Google Cloud credentials were found. Log in once with: {_LOGIN} (on Google Cloud: give the machine a service account)"
        raise DataError(f"{where}: {said}") from error
    if (
        code in (401, "401")
        or type(error).__name__ == "RefreshError"
        or "Invalid Credentials" in text
    ):
        raise DataError(
            f"{where}: the credentials have run out or are not accepted. Log in again with: {_LOGIN}"
        ) from error
    if isinstance(error, PermissionError) or code in (403, "403") or "Forbidden" in text:
        role = "it needs storage.objects.get to fetch and storage.objects.create to push (roles/storage.objectUser)"
        raise DataError(f"{where}: this account may not do that; {role}: {text}") from error
    if isinstance(error, TimeoutError) or type(error).__module__.split(".")[0] in (
        "aiohttp",
        "requests",
        "urllib3",
        "socket",
    ):
        raise DataError(
            f"{where}: the network does not answer ({text}). Try again; `dvc remote list` tells the address"
        ) from error
    raise DataError(f"{where}: {type(error).__name__}: {text}") from error


@contextmanager
def written_whole(to: Path) -> Iterator[Path]:
    """A path beside the place to write to, renamed to it once all was well and removed otherwise."""
    to.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".part-", dir=to.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o666 & ~_umask())  # a temporary file is readable by its owner alone
        part.replace(to)
    finally:
        part.unlink(missing_ok=True)


def _umask() -> int:
    os.umask(now := os.umask(0o022))
    return now


def copy_whole(source: Path, to: Path) -> None:
    """Copies a file so that it is there whole or not at all."""
    with written_whole(to) as part:
        shutil.copyfile(source, part)


class _Watch:
    """Remembers when bytes last moved."""

    def __init__(self, moved: Moved | None = None) -> None:
        self._moved, self.last = moved, time.monotonic()

    def note(self, n_bytes: int) -> None:
        self.last = time.monotonic()
        if self._moved is not None:
            self._moved(n_bytes)

    def callback(self) -> Any:  # noqa: ANN401 - fsspec ships no types
        """An fsspec callback that notes each chunk."""
        from fsspec.callbacks import Callback

        return Callback(hooks={"note": lambda _size, value: self.note(value)})


def within(seconds: float, call: Callable[[], _Answer], watch: _Watch | None = None) -> _Answer:
    """What a call returns, or its error; the call is left to itself once nothing has moved for this long.

    Raises:
        TimeoutError: nothing moved.
    """
    watch = watch or _Watch()
    result: list[_Answer] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            result.append(call())
        except BaseException as error:  # noqa: BLE001 - is raised again by the one who waits
            errors.append(error)

    thread = threading.Thread(
        target=run, daemon=True
    )  # a daemon does not keep the command from ending
    thread.start()
    while thread.is_alive():
        thread.join(_TICK_S)
        if thread.is_alive() and time.monotonic() - watch.last > seconds:
            raise TimeoutError(f"nothing in {seconds:g} s")
    if errors:
        raise errors[0]
    return result[0]
