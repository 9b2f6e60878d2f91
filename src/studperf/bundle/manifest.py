"""The seal of a bundle: which files it holds, how large they are, and their sha256."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from studperf.errors import BundleError, listing

FORMAT = 1
FOLDER = "bundle"
"""Where a run folder keeps its bundle."""
MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
GRAPH = "model.onnx"
ENCODER = "encoder.json"
SCHEMA = "schema.json"
METRICS = "metrics.json"
CARD = "card.md"
CONFIG = "config.yaml"
_MIB = 1 << 20
FILES = {
    # A graph can't be larger than protobuf's 2 GiB, so larger weights could not be served either.
    WEIGHTS: 2048 * _MIB,
    GRAPH: 2048 * _MIB,
    ENCODER: 64 * _MIB,
    SCHEMA: 16 * _MIB,
    METRICS: 16 * _MIB,
    CARD: 4 * _MIB,
    CONFIG: 4 * _MIB,
}
"""Each file of a bundle beside its manifest, and the most bytes that it may have.

No file may be larger, and there may be no other.
"""
_MAX_MANIFEST = 64 * 1024
AGAIN = "fetch the bundle again, or export the run again"
"""The way out for a bundle that is damaged, whichever of its files is."""

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Line = Annotated[str, Field(max_length=1024, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""Text that a terminal only shows."""


class FileSeal(BaseModel):
    """One file as it was when the bundle was written."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    sha256: _Sha256
    bytes: int = Field(ge=0)


class Manifest(BaseModel):
    """The facts and files of a bundle, as `manifest.json` holds them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: int
    studperf: _Line
    run: _Line
    model: _Line
    created: _Line
    data_md5: _Line | None
    is_simulated: bool
    split_sha256: _Line
    weights_sha256: _Line | None
    files: dict[str, FileSeal]


def seal(folder: Path, **facts: Any) -> Manifest:  # noqa: ANN401 - the fields of Manifest
    """Hash the files of a folder, and write its manifest."""
    files = {}
    for name in FILES:
        path = folder / name
        files[name] = FileSeal(sha256=_sha256(path), bytes=path.stat().st_size)
    manifest = Manifest(format=FORMAT, files=files, **facts)
    text = manifest.model_dump_json(indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return manifest


def find_bundle(path: Path) -> Path:
    """Return the bundle that a path means: itself, or that of a run folder.

    Raises:
        BundleError: there is none.
    """
    for folder in (path, path / FOLDER):
        if (folder / MANIFEST).is_file():
            return folder
    if not path.exists():
        raise BundleError(f"{path}: there is no such folder")
    hint = ""
    if (path / "record.json").is_file():
        hint = f"; make one: python -m studperf.export run={path}"
    raise BundleError(f"{path}: holds no bundle, there is no {MANIFEST}{hint}")


def verify(folder: Path) -> Manifest:
    """Check every file of a bundle against its manifest, and return the manifest.

    Sizes are looked at before a file is read, and no file is parsed but the manifest.

    Raises:
        BundleError: lists every changed, missing, unknown, linked or oversize file.
    """
    manifest = read_manifest(folder)
    faults = []
    for name in FILES:
        fault = _find_fault(folder / name, manifest.files[name])
        if fault:
            faults.append(fault)
    present = {path.name for path in folder.iterdir()}
    surplus = sorted(present - {*FILES, MANIFEST})
    faults += [f"{name}: is no part of a bundle; remove it, or {AGAIN}" for name in surplus]
    if faults:
        raise BundleError(listing(f"{folder}: the bundle can't be used", faults))
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest alone, which must name the files of this format and no others.

    Raises:
        BundleError: it is missing, damaged, of another format, or names other files.
    """
    path = folder / MANIFEST
    if not path.is_file() or path.is_symlink():
        raise BundleError(f"{folder}: holds no bundle, there is no plain file {MANIFEST} in it")
    if path.stat().st_size > _MAX_MANIFEST:
        raise BundleError(
            f"{path}: has {path.stat().st_size} bytes, "
            f"a manifest has at most {_MAX_MANIFEST}; {AGAIN}"
        )
    raw = path.read_bytes()
    try:
        plain = json.loads(raw.decode("utf-8"), object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: is not JSON, so it was cut off or changed; {AGAIN}") from error
    # JSON allows spaces after its end, and no hash covers the manifest itself.
    if raw.removesuffix(b"\n")[-1:].isspace():
        raise BundleError(f"{path}: goes on after its end, so it was changed; {AGAIN}")
    if isinstance(plain, dict) and plain.get("format") != FORMAT:
        writer = str(plain.get("studperf", "an unknown version"))[:40]
        way_out = f"read it with the studperf that wrote it ({writer}), or export the run again"
        raise BundleError(
            f"{path}: is of format {plain.get('format')!r}, "
            f"this version reads format {FORMAT}; {way_out}"
        )
    try:
        manifest = Manifest.model_validate(plain)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "the root"
        raise BundleError(f"{path}: is not a manifest: {where}: {fault['msg']}; {AGAIN}") from error
    _refuse_other_names(path, manifest)
    return manifest


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON, if no key stands twice.

    Of such a key, two readers could take different values.

    Raises:
        ValueError: names the key.
    """
    plain = dict(pairs)
    if len(plain) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:60]!r} stands twice")
    return plain


def _refuse_other_names(path: Path, manifest: Manifest) -> None:
    faults = []
    for name in manifest.files:
        if name in FILES:
            continue
        what = "is no file of a bundle"
        if _leads_away(name):
            what = "is a path, where a plain name belongs: the manifest was tampered with"
        faults.append(f"{name!r}: {what}; {AGAIN}")
    faults += [
        f"{name}: the manifest does not name it; {AGAIN}"
        for name in FILES
        if name not in manifest.files
    ]
    if faults:
        raise BundleError(listing(f"{path}: names other files than a bundle holds", faults))


def _leads_away(name: str) -> bool:
    """Return True if a file's name would be read as a path, on this system or another."""
    if name in {"", ".", ".."}:
        return True
    return any(mark in name for mark in ("/", "\\", ":", "\x00"))


def _find_fault(path: Path, expected: FileSeal) -> str | None:
    """Return what is wrong with a file, the cheapest test first; None if it is as written."""
    if path.is_symlink():
        return f"{path.name}: is a link, a bundle holds plain files; {AGAIN}"
    if not path.is_file():
        return f"{path.name}: is missing; {AGAIN}"
    size = path.stat().st_size
    if size > FILES[path.name]:
        return f"{path.name}: has {size} bytes, at most {FILES[path.name]} are read; {AGAIN}"
    if size != expected.bytes:
        return (
            f"{path.name}: was changed: it has {size} bytes, "
            f"the manifest says {expected.bytes}; {AGAIN}"
        )
    if (sha256 := _sha256(path)) != expected.sha256:
        return (
            f"{path.name}: was changed: its sha256 is {sha256[:12]}..., "
            f"the manifest says {expected.sha256[:12]}...; {AGAIN}"
        )
    return None


def read_sealed(folder: Path, manifest: Manifest, name: str) -> bytes:
    """Return a file's bytes, after checking them against the manifest.

    They are read once and hashed as read, so that what is parsed is what was checked.

    Raises:
        BundleError: the file was changed since.
    """
    raw = (folder / name).read_bytes()
    if hashlib.sha256(raw).hexdigest() != manifest.files[name].sha256:
        raise BundleError(f"{folder / name}: was changed while it was read; {AGAIN}")
    return raw


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
