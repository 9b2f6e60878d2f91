import json
from collections.abc import Callable
from pathlib import Path

import pytest

from studperf.bundle import manifest as seals
from studperf.errors import BundleError

FACTS = {
    "studperf": "0.1.0",
    "run": "some_run",
    "model": "mlp",
    "created": "2026-01-01T00:00:00+00:00",
    "data_md5": "a" * 32,
    "is_simulated": False,
    "split_sha256": "b" * 64,
    "weights_sha256": "c" * 64,
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name in seals.FILES:
        (folder / name).write_bytes(f"content of {name}".encode())
    seals.seal(folder, **FACTS)
    return folder


def rewrite(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    plain = json.loads((folder / seals.MANIFEST).read_text())
    change(plain)
    (folder / seals.MANIFEST).write_text(json.dumps(plain))


def test_a_bundle_as_written_is_good(bundle: Path) -> None:
    manifest = seals.verify(bundle)
    assert manifest.run == "some_run"
    assert set(manifest.files) == set(seals.FILES)


@pytest.mark.parametrize("name", seals.FILES)
def test_one_flipped_byte_is_found_in_every_file(bundle: Path, name: str) -> None:
    raw = bytearray((bundle / name).read_bytes())
    raw[3] ^= 1
    (bundle / name).write_bytes(raw)
    with pytest.raises(
        BundleError, match=rf"{name}: was changed: its sha256 .* export the run again"
    ):
        seals.verify(bundle)


def test_a_file_of_another_size_is_found(bundle: Path) -> None:
    (bundle / seals.CARD).write_text("longer than before by far")
    with pytest.raises(
        BundleError, match=r"card\.md: was changed: it has 25 bytes, the manifest says 18"
    ):
        seals.verify(bundle)


@pytest.mark.parametrize("name", seals.FILES)
def test_a_missing_file_is_found(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{name}: is missing"):
        seals.verify(bundle)


@pytest.mark.parametrize("name", ["model.pkl", ".hidden", "folder"])
def test_an_unknown_file_is_found(bundle: Path, name: str) -> None:
    (bundle / name).mkdir() if name == "folder" else (bundle / name).write_text("x")
    with pytest.raises(BundleError, match=f"{name}: is no part of a bundle; remove it"):
        seals.verify(bundle)


def test_all_faults_are_told_at_once(bundle: Path) -> None:
    (bundle / seals.CARD).unlink()
    (bundle / seals.GRAPH).write_text("another graph")
    (bundle / "more").write_text("x")
    with pytest.raises(BundleError, match=r"\(3 faults\)"):
        seals.verify(bundle)


def test_a_link_is_refused_even_to_the_same_content(bundle: Path, tmp_path: Path) -> None:
    (bundle / seals.GRAPH).rename(tmp_path / "graph")
    (bundle / seals.GRAPH).symlink_to(tmp_path / "graph")
    with pytest.raises(BundleError, match=r"model\.onnx: is a link"):
        seals.verify(bundle)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", "C:\\x", "a\x00b", ""])
def test_a_path_in_the_manifest_is_refused(bundle: Path, name: str) -> None:
    rewrite(bundle, lambda plain: plain["files"].update({name: plain["files"][seals.CARD]}))
    with pytest.raises(BundleError, match="is a path, where a plain name belongs"):
        seals.verify(bundle)


def test_a_manifest_that_names_other_files_is_refused(bundle: Path) -> None:
    rewrite(
        bundle, lambda plain: plain["files"].update({"extra.bin": plain["files"].pop(seals.CARD)})
    )
    with pytest.raises(BundleError) as raised:
        seals.verify(bundle)
    assert "'extra.bin': is no file of a bundle" in str(raised.value)
    assert "card.md: the manifest does not name it" in str(raised.value)


@pytest.mark.parametrize("number", [2, "1", None, 0])
def test_a_foreign_format_is_refused_before_anything_else_is_read(
    bundle: Path, number: object
) -> None:
    rewrite(bundle, lambda plain: plain.update({"format": number, "studperf": "9.9", "news": 1}))
    with pytest.raises(
        BundleError,
        match=r"this version reads format 1; read it with the studperf that wrote it \(9\.9\)",
    ):
        seals.verify(bundle)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 20000, '{"format": 1}'])
def test_a_damaged_manifest_is_refused(bundle: Path, text: str) -> None:
    (bundle / seals.MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        seals.verify(bundle)


def test_a_giant_manifest_is_not_parsed(bundle: Path) -> None:
    rewrite(bundle, lambda plain: plain.update({"run": "x" * 100_000}))
    with pytest.raises(BundleError, match="a manifest has at most 65536"):
        seals.verify(bundle)


def test_a_giant_file_is_not_read(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (bundle / seals.SCHEMA).open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of holes
    with pytest.raises(
        BundleError, match=r"schema\.json: has 1099511627776 bytes, at most 16777216 are read"
    ):
        seals.verify(bundle)


def test_a_file_changed_after_it_was_verified_is_not_parsed(bundle: Path) -> None:
    manifest = seals.verify(bundle)
    (bundle / seals.SCHEMA).write_text("{}")
    with pytest.raises(BundleError, match="changed while it was read"):
        seals.read_sealed(bundle, manifest, seals.SCHEMA)


def test_a_run_folder_stands_for_its_bundle(bundle: Path) -> None:
    assert seals.find_bundle(bundle.parent) == bundle
    assert seals.find_bundle(bundle) == bundle


def test_a_run_without_a_bundle_is_told_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text("{}")
    with pytest.raises(BundleError, match=r"python -m studperf\.export run="):
        seals.find_bundle(tmp_path)
