"""The health check of a container, where there is no curl.

Exit code 0 if the server on this machine answers.
"""

from __future__ import annotations

import http.client
import os
import sys

# Less than the 3 s that the image's HEALTHCHECK gives the whole command.
_TIMEOUT_S = 2
_OK = 200


def is_healthy(port: int) -> bool:
    """Return True if GET /health is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == _OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_healthy(int(os.environ.get("PORT", "8080"))) else 1)
