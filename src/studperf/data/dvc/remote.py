"""The stores of a table's versions: DVC's remote and its cache on this disk, both in DVC's layout.

The remote's address, its login and its protocol are DVC's. Each file is moved by itself through
DVC's file system, not by `dvc pull`, which (3.67, measured) says of a refusal how many files failed
and of a damaged object that it is missing; without a login it takes 35 s and prints a traceback;
and a bucket that does not answer it awaits for ever (150 s, then killed). Here a file that stalls
is given up, and is checked against its md5 before it gets its place by one rename. DVC is imported
when a remote is opened, and only here.
"""

from __future__ import annotations

import base64
import os
import shutil
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from studperf.config.files import written_whole
from studperf.data.dvc.tracked import md5_of
from studperf.errors import DataError

OnBytes = Callable[[int], None]
"""A function that is called with the bytes of a file that have been moved so far."""
_Answer = TypeVar("_Answer")
_PLACEHOLDER = "your-bucket"
# Google's library looks for a metadata server before it says that there are no credentials.
_LOGIN_LIMIT_S = 4.0
# A remote from which nothing came for so long is given up. A chunk on its way out may take four
# times as long, as nothing is heard of it until it has arrived.
_SILENCE_S = 30.0
_SENDING = 4
# gcsfs's own chunks are of 50 MiB: minutes on a slow line.
_CHUNK = 8 << 20
_TICK_S = 0.05
_LOGIN = "gcloud auth application-default login"
_URL = "gs://BUCKET/FOLDER (or a folder's path)"
# Packages whose errors tell of the network.
_NETWORK = ("aiohttp", "requests", "urllib3", "socket")


@dataclass(frozen=True)
class Store:
    """Files by their md5, in a folder of any of fsspec's file systems."""

    url: str
    fs: Any
    root: str

    def path_of(self, md5: str) -> str:
        """Return the path at which DVC keeps the file."""
        return str(self.fs.join(self.root, "files", "md5", md5[:2], md5[2:]))

    def size_of(self, md5: str) -> int | None:
        """Return the bytes of the stored file; None if it is not there.

        Raises:
            DataError: says what is in the way of an answer.
        """
        info = self._info(md5)
        if info is None:
            return None
        return int(info["size"])

    def is_whole(self, md5: str, size: int) -> bool:
        """Return True if the stored file is what its name says.

        A remote store is believed, as far as it tells without sending the file.
        """
        info = self._info(md5)
        if info is None or int(info["size"]) != size:
            return False
        if self.fs.protocol == "local":
            return md5_of(Path(self.path_of(md5))) == md5
        encoded = info.get("md5Hash")
        if encoded is None:
            return True
        return base64.b64decode(encoded).hex() == md5

    def fetch(self, md5: str, to: Path, on_bytes: OnBytes) -> None:
        """Bring a file, check it and put it in its place; nothing is left there if that fails.

        Raises:
            DataError: it is not there, is damaged, or the store can't be reached.
        """
        to.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(to) as part:
            watch = _Watch(on_bytes)
            path = self.path_of(md5)
            callback = watch.callback()
            self._ask(lambda: self.fs.get_file(path, str(part), callback=callback), watch, md5)
            found = md5_of(part)
            if found != md5:
                raise DataError(
                    f"{self._url_of(md5)}: is damaged: its md5 is {found} "
                    f"({part.stat().st_size} bytes), and by its name it should be {md5}. "
                    "Nothing was written here. Mend it from a machine that has the file: "
                    "python -m studperf.data push"
                )

    def push(self, md5: str, file: Path, on_bytes: OnBytes) -> None:
        """Store a file under its md5; an object becomes visible once it is whole.

        Raises:
            DataError: the store can't be reached, refuses, or keeps something else.
        """
        watch = _Watch(on_bytes)
        path = self.path_of(md5)
        options = {}
        if self.fs.protocol == "gs":
            options["chunksize"] = _CHUNK

        def put() -> None:
            self.fs.makedirs(self.fs.parent(path))
            self.fs.put_file(str(file), path, callback=watch.callback(), **options)

        self._ask(put, watch, md5, seconds=_SILENCE_S * _SENDING)
        if not self.is_whole(md5, file.stat().st_size):
            raise DataError(
                f"{self._url_of(md5)}: the remote keeps something else than was sent; push again"
            )

    def _url_of(self, md5: str) -> str:
        """Return a file's address, for messages."""
        return f"{self.url.rstrip('/')}/files/md5/{md5[:2]}/{md5[2:]}"

    def _info(self, md5: str) -> dict[str, Any] | None:
        """Return what the store knows of a file; None if it is not there."""

        def look() -> dict[str, Any] | None:
            # fsspec keeps what it saw, also of files that were not there.
            self.fs.fs.invalidate_cache()
            try:
                return dict(self.fs.info(self.path_of(md5)))
            except FileNotFoundError:
                return None

        return self._ask(look, _Watch(), md5)

    def _ask(
        self, call: Callable[[], _Answer], watch: _Watch, md5: str, *, seconds: float | None = None
    ) -> _Answer:
        """Return a call's answer; raise its error in words."""
        try:
            return give_up_after(seconds or _SILENCE_S, call, watch)
        except FileNotFoundError as error:
            raise DataError(
                f"{self._url_of(md5)}: there is no such object. Either this version was never "
                "pushed (python -m studperf.data push, on a machine that has it), "
                "or the remote's address is wrong (dvc remote list)"
            ) from error
        except Exception as error:  # noqa: BLE001 - each file system brings errors of its own
            raise_in_words(error, self.url)


def open_remote(root: Path, name: str | None = None) -> Store:
    """Open the remote that `.dvc/config` names, the default one if none is named.

    Args:
        root: the folder that holds `.dvc/`.
        name: of a remote.

    Raises:
        DataError: there is no such remote, no credentials for it, or DVC can't use it.
    """
    _set_google_options()
    from dvc.fs import get_cloud_fs

    config = _read_config(root)
    name = _choose_remote(config, name, root)
    url = str(config["remote"][name.lower()]["url"])
    if _PLACEHOLDER in url:
        raise DataError(
            f"the remote {name!r} is still the one of the template, {url}. "
            f"Set yours: dvc remote modify {name} url {_URL}"
        )

    try:
        cls, options, path = get_cloud_fs(config, name=name)
        has_login = options.get("allow_anonymous_login") or options.get("credentialpath")
        if cls.protocol == "gs" and not has_login:
            # gcsfs would go on to a token cache, a metadata server, and no login at all.
            options["credentialpath"] = "google_default"
        store = Store(url, cls(**options), path)
        # The file system logs in when it is first asked for.
        give_up_after(_LOGIN_LIMIT_S, lambda: store.fs.fs)
    except ImportError as error:
        raise DataError(
            f"the remote {name!r} needs a package that is not installed: {error}"
        ) from error
    except Exception as error:  # noqa: BLE001 - each file system brings errors of its own
        raise_in_words(error, name, is_login=True)
    return store


def open_cache(root: Path) -> Store:
    """Open DVC's cache on this disk."""
    from dvc.fs import LocalFileSystem

    settings = _read_config(root).get("cache", {})
    folder = str(settings.get("dir") or root / ".dvc" / "cache")
    return Store(folder, LocalFileSystem(), folder)


def _read_config(root: Path) -> Any:  # noqa: ANN401 - DVC ships no types
    """Read `.dvc/config`, and those of the user and the machine with it."""
    from dvc.config import Config, ConfigError

    try:
        return Config(str(root / ".dvc"), validate=True)
    except ConfigError as error:
        raise DataError(f"{root / '.dvc' / 'config'}: {error.__cause__ or error}") from error


def _choose_remote(config: Any, name: str | None, root: Path) -> str:  # noqa: ANN401 - DVC ships no types
    """Return the name of the remote that is meant."""
    path = root / ".dvc" / "config"
    if name is None:
        name = config.get("core", {}).get("remote")
    if name is None:
        raise DataError(
            f"{path} names no default remote. Name one: dvc remote add -d storage {_URL}"
        )
    known = list(config.get("remote", {}))
    if name.lower() not in known:
        raise DataError(
            f"there is no remote {name!r} in {path}; there is {', '.join(known) or 'none'}"
        )
    return str(name)


def _set_google_options() -> None:
    """Set the options of Google's libraries, which are read when they are imported."""
    # gcsfs 2026.10 asks a second, gRPC service for the kind of bucket; where only plain HTTP
    # answers, that takes a minute a file.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    os.environ.setdefault("GCE_METADATA_TIMEOUT", "1")
    # Each of Google's packages warns at its import of a Python whose end is near (3.11 with
    # google-api-core 2.30).
    warnings.filterwarnings(
        "ignore", category=FutureWarning, module=r"google\.api_core\._python_version_support$"
    )


def raise_in_words(error: Exception, where: str, *, is_login: bool = False) -> NoReturn:
    """Raise a file system's error in words, with the way out.

    Raises:
        DataError: always.
    """
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    # A number in some of gcsfs's errors, a text in others.
    code = str(getattr(error, "code", None))
    module = type(error).__module__
    is_timeout = isinstance(error, TimeoutError)

    if is_login and (is_timeout or module.startswith("google.auth")):
        raise DataError(
            f"{where}: no Google Cloud credentials were found. Log in once with: {_LOGIN} "
            "(on Google Cloud: give the machine a service account)"
        ) from error

    is_stale = type(error).__name__ == "RefreshError" or "Invalid Credentials" in text
    if is_stale or code == "401":
        raise DataError(
            f"{where}: the credentials have run out or are not accepted. "
            f"Log in again with: {_LOGIN}"
        ) from error

    is_forbidden = isinstance(error, PermissionError) or "Forbidden" in text
    if is_forbidden or code == "403":
        raise DataError(
            f"{where}: this account may not do that; it needs storage.objects.get to fetch "
            f"and storage.objects.create to push (roles/storage.objectUser): {text}"
        ) from error

    if is_timeout or module.split(".")[0] in _NETWORK:
        raise DataError(
            f"{where}: the network does not answer ({text}). "
            "Try again; `dvc remote list` tells the address"
        ) from error
    raise DataError(f"{where}: {type(error).__name__}: {text}") from error


def copy_whole(source: Path, to: Path) -> None:
    """Copy a file so that it is there whole or not at all."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(to) as part:
        shutil.copyfile(source, part)


class _Watch:
    """A note of when bytes last moved."""

    def __init__(self, on_bytes: OnBytes | None = None) -> None:
        self._on_bytes = on_bytes
        self.last = time.monotonic()

    def note(self, n_bytes: int) -> None:
        """Note that so many bytes were moved so far."""
        self.last = time.monotonic()
        if self._on_bytes is not None:
            self._on_bytes(n_bytes)

    def callback(self) -> Any:  # noqa: ANN401 - fsspec ships no types
        """Return an fsspec callback that notes each chunk."""
        from fsspec.callbacks import Callback

        return Callback(hooks={"note": lambda _size, value: self.note(value)})


def give_up_after(
    seconds: float, call: Callable[[], _Answer], watch: _Watch | None = None
) -> _Answer:
    """Return what a call returns, or raise its error; give it up once nothing moves for so long.

    A library's call can't be stopped from outside, so it is left to itself.

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

    # A daemon does not keep the command from ending.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_TICK_S)
        if thread.is_alive() and time.monotonic() - watch.last > seconds:
            raise TimeoutError(f"nothing in {seconds:g} s")
    if errors:
        raise errors[0]
    return result[0]
