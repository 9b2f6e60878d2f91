"""What a process, and all that it starts, sends and writes, as the kernel sees it.

A hook in Python would not see the sockets of a library in C++ or Go.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

CALLS = (
    "%network,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,"
    "link,linkat,symlink,symlinkat,unlink,unlinkat"
)
SENDS = ("connect", "bind", "sendto", "sendmsg", "sendmmsg")
DNS_PORT = 53
_CALL = re.compile(r"^(?P<pid>\d+) +(?P<name>\w+)\((?P<rest>.*)$")
_RESUMED = re.compile(r"^(?P<pid>\d+) +<\.\.\. \w+ resumed>(?P<rest>.*)$")
_UNFINISHED = " <unfinished ...>"
_PORT = re.compile(r"sin6?_port=htons\((\d+)\)")
_ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
_PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<(?P<folder>[^>]*)>, )?"(?P<path>(?:[^"\\]|\\.)*)"')
_FILES_OF_NOBODY = ("/dev/null", "/dev/tty", "/proc/self/", "/dev/shm/")  # noqa: S108 - what is looked for
"""Devices, and semaphores that are gone with their process."""


def can_trace() -> bool:
    """Whether strace is there and may trace: a container can forbid it."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", "/dev/null", "true"], check=False).returncode == 0


@dataclass(frozen=True)
class Call:
    """One call of the kernel, with its arguments and result as strace writes them."""

    name: str
    text: str

    @property
    def has_failed(self) -> bool:
        return " = -1 E" in self.text


def begin(
    words: Sequence[object], *, log: Path, folder: Path, environment: Mapping[str, str]
) -> subprocess.Popen[str]:
    """Start a command, and note in `log` what it and its children ask of the kernel.

    It has a process group of its own: strace keeps signals that are sent to it alone to itself.
    """
    tracer = ["strace", "-f", "-y", "--seccomp-bpf", "-e", f"trace={CALLS}", "-o", log]
    return subprocess.Popen(
        [*tracer, *map(str, words)],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def read_calls(log: Path) -> Iterator[Call]:
    """Yield the calls of all processes; those that strace has written in two parts are put together."""
    begun: dict[str, Call] = {}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if (found := _CALL.match(line)) is not None:
            call = Call(found["name"], found["rest"].removesuffix(_UNFINISHED))
            if line.endswith(_UNFINISHED):
                begun[found["pid"]] = call
            else:
                yield call
        elif (found := _RESUMED.match(line)) is not None and found["pid"] in begun:
            half = begun.pop(found["pid"])
            yield Call(half.name, half.text + found["rest"])
    yield from begun.values()  # of processes that were ended within a call


def find_outgoing(log: Path) -> list[str]:
    """Return what was sent, or opened to be sent to, beyond this machine, and every DNS look-up.

    Failed calls count: on a machine without network they are all that is seen.
    """
    found = []
    for call in read_calls(log):
        port = _PORT.search(call.text)
        address = _ADDRESS.search(call.text)
        if call.name not in SENDS or port is None or address is None:
            continue
        host = ip_address(address[1] or address[2])
        mapped = getattr(host, "ipv4_mapped", None)
        is_here = (mapped or host).is_loopback
        if not is_here or int(port[1]) == DNS_PORT:
            found.append(f"{call.name} {host} port {port[1]}")
    return sorted(set(found))


def find_written(log: Path, *, folder: Path, but_below: Sequence[Path]) -> list[str]:
    """Return the paths that were made, opened for writing, moved or removed outside of the given folders."""
    allowed = [str(path) for path in but_below]
    found = set()
    for call in read_calls(log):
        is_open = call.name in ("open", "openat")
        if call.has_failed or call.name in SENDS:
            continue
        if is_open and not re.search(r"O_WRONLY|O_RDWR|O_CREAT", call.text):
            continue
        if not is_open and not call.name.startswith(
            ("creat", "mkdir", "rename", "link", "sym", "unl")
        ):
            continue
        places = list(_PATH.finditer(call.text.rpartition(" = ")[0] or call.text))
        if call.name.startswith("symlink"):
            places = places[-1:]  # the first one is what the link says
        for place in places:
            path = os.path.normpath(Path(place["folder"] or folder) / place["path"])
            is_parent = call.name.startswith("mkdir") and any(
                home.startswith(f"{path}/") for home in allowed
            )
            is_known = any(path == home or path.startswith(f"{home}/") for home in allowed)
            if not (is_parent or is_known or path.startswith(_FILES_OF_NOBODY)):
                found.add(path)
    return sorted(found)
