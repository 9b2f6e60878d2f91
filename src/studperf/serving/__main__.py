"""The command that serves a bundle's predictions.

python -m studperf.serving runs/FOLDER
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

from studperf.cli.command import quote_words, read_keys, read_whole, read_words
from studperf.cli.process import run_command
from studperf.errors import ConfigError

_USAGE = """Serves a bundle's predictions over HTTP. PATH is a bundle, or a run folder that holds one.

  python -m studperf.serving PATH [host=127.0.0.1] [port=8080]

  POST /predict   {"rows": [{"column": value, ...}, ...]}: predictions with their interval; at most 1,000 rows and 1 MiB
  GET  /schema    the columns to give, and which run answers
  GET  /health    200 once the bundle is loaded

The port may come from $PORT as well. A bundle is made by: python -m studperf.export run=runs/FOLDER. Flags: --debug shows tracebacks."""
_MAX_PORT = 65535


def main() -> None:
    """Run the command.

    Raises:
        ConfigError: the words were not understood.
        BundleError: there is no bundle, or it was changed.
    """
    if (words := read_words(_USAGE)) is None:
        return
    paths = [word for word in words if "=" not in word]
    if len(paths) != 1:
        raise ConfigError(
            f"say: python -m studperf.serving PATH [host=127.0.0.1] [port=8080]{quote_words(words)}"
        )
    own = read_keys([word for word in words if "=" in word], ("host", "port"))
    # Cloud Run names the port in $PORT.
    port = own.get("port", os.environ.get("PORT", "8080"))
    serve(
        Path(paths[0]),
        host=own.get("host", "127.0.0.1"),
        port=read_whole("port", port, low=1, high=_MAX_PORT),
    )


def serve(path: Path, *, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C, and answer the requests that were begun."""
    from studperf.bundle import Bundle, find_bundle

    # uvicorn raises it again once all is answered; to be asked to end is no fault.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    bundle = Bundle.open(find_bundle(path))
    try:
        import uvicorn

        from studperf.serving.api import create_app
        from studperf.serving.connections import SETTINGS
        from studperf.serving.predictor import Predictor
    except ImportError as error:
        raise ConfigError(
            f"{error}; the server's packages are a group of their own: uv sync --group serving"
        ) from error
    _check_address(host, port)
    app = create_app(Predictor.of(bundle))
    uvicorn.run(app, host=host, port=port, **SETTINGS)


def _check_address(host: str, port: int) -> None:
    """Refuse an address that can't be listened at; uvicorn ends with an exit code of its own."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # A server that has just ended keeps nobody out.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "no name of a machine"
        raise ConfigError(f"host={host} port={port}: can't be served at: {why}") from error


if __name__ == "__main__":
    run_command(main)
