"""Bundles that were changed by somebody who can seal them again: each is read, refused in words, or of bounded cost.

The seal says that a bundle is whole, and not that it means well. Every case is a good bundle with one change, sealed again.
"""

import hashlib
import json
import os
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kit.small_run import SMALL
from studperf.bundle import Bundle
from studperf.bundle import manifest as seals
from studperf.bundle.__main__ import main
from studperf.config.load import load_overrides
from studperf.errors import BundleError, StudperfError
from studperf.serving.predictor import Predictor
from studperf.train.run import run

Change = Callable[[Path], object]
Json = dict[str, Any]
MAX_S = 20.0
MAX_GROWTH = 1 << 31
STRANGE: tuple[Any, ...] = (
    None,
    0,
    -1,
    1.5,
    10**400,
    True,
    "",
    "x",
    [],
    ["x"],
    {},
    {"x": 1},
    [[[]]],
)
NO_OPERATORS = (
    *("Bernoulli", "BlackmanWindow", "Compress", "DFT", "DeformConv", "DynamicQuantizeLinear"),
    *("ImageDecoder", "MelWeightMatrix", "Multinomial", "NonMaxSuppression", "NonZero"),
    *("OptionalHasElement", "RandomNormal", "RandomNormalLike", "RandomUniform", "RegexFullMatch"),
    *("Resize", "ReverseSequence", "RoiAlign", "STFT", "SequenceConstruct", "SplitToSequence"),
    *("StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer", "Unique", "Upsample"),
)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = [*SMALL, "model=linear", "export=true", f"runs={tmp_path_factory.mktemp('runs')}"]
    run(load_overrides(words))
    (folder,) = Path(words[-1].removeprefix("runs=")).glob("*/bundle")
    return folder


def copy(good: Path, to: Path) -> Path:
    to.mkdir(parents=True)
    for path in good.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def reseal(folder: Path) -> None:
    """Writes the manifest anew, as whoever changed the bundle would."""
    path = folder / seals.MANIFEST
    plain = json.loads(path.read_text())
    for name in seals.FILES:
        file = folder / name
        if file.is_file() and not file.is_symlink():
            raw = file.read_bytes()
            plain["files"][name] = {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}
    path.write_text(json.dumps(plain))


def changed(name: str, change: Callable[[Json], object]) -> Change:
    def apply(folder: Path) -> None:
        plain = json.loads((folder / name).read_text())
        change(plain)
        (folder / name).write_text(json.dumps(plain))

    return apply


def written(name: str, raw: bytes | Callable[[bytes], bytes]) -> Change:
    def apply(folder: Path) -> None:
        path = folder / name
        path.write_bytes(raw if isinstance(raw, bytes) else raw(path.read_bytes()))

    return apply


def places(plain: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    inner: Any = enumerate(plain) if isinstance(plain, list) else ()
    inner = plain.items() if isinstance(plain, dict) else inner
    for key, value in inner:
        yield from places(value, (*place, key))


def put(place: tuple[Any, ...], value: Any) -> Callable[[Json], object]:
    def change(plain: Any) -> None:
        *above, last = place
        for key in above:
            plain = plain[key]
        if value is KeyError:
            del plain[last]
        else:
            plain[last] = value

    return change


def json_cases(good: Path, name: str, n: int, rng: random.Random) -> Iterator[tuple[str, Change]]:
    plain = json.loads((good / name).read_text())
    known = [place for place in places(plain) if place]
    for i in range(n):
        place, value = rng.choice(known), rng.choice((*STRANGE, KeyError))
        yield f"{name} {i} {place} {str(value)[:20]}", changed(name, put(place, value))


def raw_cases(name: str) -> Iterator[tuple[str, Change]]:
    deep = b"[" * 1000 + b"]" * 1000
    texts = {
        "nothing": b"",
        "a list": b"[]",
        "a number": b"7",
        "deep": b'{"columns": ' + deep + b"}",
        "very deep": b"[" * 1_000_000,
        "deep objects": b'{"a":' * 100_000,
        "no UTF-8": b'{"a": "\xff"}',
        "a huge number": b'{"a": ' + b"9" * 5000 + b"}",
        "no number": b'{"a": NaN}',
    }
    for what, raw in texts.items():
        yield f"{name} {what}", written(name, raw)
    yield f"{name} cut", written(name, lambda raw: raw[: len(raw) // 2])
    yield f"{name} in UTF-16", written(name, lambda raw: raw.decode().encode("utf-16"))
    yield f"{name} with text after its end", written(name, lambda raw: raw + b"{}")
    twice = b'{"format": 1, "conformal": null,'
    yield f"{name} with a key twice", written(name, lambda raw: raw.replace(b"{", twice, 1))
    yield (
        f"{name} with an infinite number",
        written(name, lambda raw: raw.replace(b"0.", b"1e999", 1)),
    )


def edit(change: Callable[[onnx.ModelProto], object]) -> Change:
    def apply(folder: Path) -> None:
        model = onnx.load(folder / seals.GRAPH)
        change(model)
        (folder / seals.GRAPH).write_bytes(model.SerializeToString())

    return apply


def appended(*nodes: onnx.NodeProto, constants: dict[str, Any] | None = None) -> Change:
    """Makes the graph's output the sum of what it was and of `extra`, which the nodes give, a double without a shape."""

    def change(model: onnx.ModelProto) -> None:
        graph = model.graph
        output = graph.output[0].name
        for node in graph.node:
            node.output[:] = ["before" if name == output else name for name in node.output]
        for name, value in (constants or {}).items():
            graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        graph.node.extend(nodes)
        graph.node.append(helper.make_node("Add", ["before", "extra"], [output]))

    return edit(change)


def summed(*nodes: onnx.NodeProto, constants: dict[str, Any] | None = None) -> Change:
    """As `appended`, of nodes that give `big`, a double of any shape."""
    last = helper.make_node("ReduceMax", ["big"], ["extra"], keepdims=0)
    return appended(*nodes, last, constants=constants)


def loop() -> onnx.NodeProto:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Identity", ["x"], ["y"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.DOUBLE, []),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.DOUBLE, []),
        ],
    )
    return helper.make_node("Loop", ["", "true", "zero"], ["extra"], body=body)


def branch() -> onnx.NodeProto:
    one = helper.make_node("Constant", [], ["one"], value_float=1.0)
    part = helper.make_graph([one], "part", [], [helper.make_tensor_value_info("one", 1, [])])
    return helper.make_node("If", ["true"], ["extra"], then_branch=part, else_branch=part)


def graph_cases() -> Iterator[tuple[str, Change]]:  # noqa: PLR0915 - a case a line
    node = helper.make_node
    yield "an endless Loop", appended(loop(), constants={"true": True, "zero": 0.0})
    yield "an If", appended(branch(), constants={"true": True})
    yield (
        "a Scan",
        appended(
            node("Scan", ["zero"], ["extra"], num_scan_inputs=1, body=loop().attribute[0].g),
            constants={"zero": [0.0]},
        ),
    )
    for kind in NO_OPERATORS:
        yield f"the operator {kind}", summed(node(kind, ["before"], ["big"]))
    for kind, domain in (("Gelu", "com.microsoft"), ("PyOp", "ai.onnx.contrib"), ("Add", "evil")):
        yield (
            f"the operator {kind} of {domain}",
            summed(node(kind, ["before"], ["big"], domain=domain)),
        )
    huge = np.asarray([1 << 40], dtype=np.int64)
    wide = np.ones((1, 200_000))
    zero = helper.make_tensor("value", TensorProto.DOUBLE, [1], [0.0])
    yield (
        "a huge ConstantOfShape",
        summed(node("ConstantOfShape", ["n"], ["big"], value=zero), constants={"n": huge}),
    )
    yield (
        "a huge Expand",
        summed(node("Expand", ["zero", "n"], ["big"]), constants={"zero": [0.0], "n": huge}),
    )
    yield (
        "a huge Tile",
        summed(node("Tile", ["zero", "n"], ["big"]), constants={"zero": [0.0], "n": huge}),
    )
    yield (
        "a huge Range",
        summed(node("Range", ["a", "b", "c"], ["big"]), constants={"a": 0.0, "b": 1e12, "c": 1.0}),
    )
    yield (
        "a huge Range of whole numbers",
        summed(
            node("Range", ["a", "b", "c"], ["x"]),
            node("Cast", ["x"], ["big"], to=11),
            constants={"a": 0, "b": 1 << 40, "c": 1},
        ),
    )
    yield (
        "a huge Pad",
        summed(
            node("Pad", ["zero", "n"], ["big"]),
            constants={"zero": [0.0], "n": np.asarray([0, 1 << 40])},
        ),
    )
    yield (
        "a huge OneHot",
        summed(
            node("OneHot", ["i", "n", "v"], ["big"]),
            constants={"i": np.zeros(8, np.int64), "n": 1 << 40, "v": [0.0, 1.0]},
        ),
    )
    yield (
        "two short constants that make a long one",
        summed(node("Add", ["a", "b"], ["big"]), constants={"a": wide, "b": wide.T}),
    )
    yield (
        "a product of tall matrices",
        summed(node("MatMul", ["a", "b"], ["big"]), constants={"a": wide.T, "b": wide}),
    )
    doubled = [node("Concat", [f"x{i}", f"x{i}"], [f"x{i + 1}"], axis=0) for i in range(60)]
    yield (
        "a value doubled sixty times",
        summed(*doubled, node("Identity", ["x60"], ["big"]), constants={"x0": [0.0]}),
    )
    square = [node("MatMul", [f"m{i}", f"m{i}"], [f"m{i + 1}"]) for i in range(2000)]
    yield (
        "two thousand products",
        summed(
            *square, node("Identity", ["m2000"], ["big"]), constants={"m0": np.zeros((1000, 1000))}
        ),
    )
    by_rows = [
        node("Reshape", ["before", "shape"], ["t"]),
        node("Shape", ["before"], ["n"]),
        node("Concat", ["n", "n", "n"], ["cube"], axis=0),
        node("Expand", ["zero", "cube"], ["big"]),
    ]
    yield (
        "a cube of the rows",
        summed(*by_rows, constants={"shape": np.asarray([-1, 1]), "zero": [0.0]}),
    )
    turned = [
        node("Shape", ["before"], ["n"]),
        node("Sub", ["many", "n"], ["m"]),
        node("Expand", ["zero", "m"], ["big"]),
    ]
    yield "fewer rows, more cost", summed(*turned, constants={"many": huge, "zero": [0.0]})
    from_cells = [
        node("Cast", ["age"], ["k"], to=7),
        node("Reshape", ["k", "flat"], ["s"]),
        node("Expand", ["zero", "s"], ["big"]),
    ]
    yield (
        "a shape from a cell",
        summed(*from_cells, constants={"flat": np.asarray([-1]), "zero": [0.0]}),
    )
    yield (
        "texts that are repeated",
        summed(
            node("Expand", ["gender", "n"], ["t"]),
            node("Equal", ["t", "t"], ["e"]),
            node("Cast", ["e"], ["big"], to=11),
            constants={"n": np.asarray([1, 4096])},
        ),
    )
    yield "a circle", appended(node("Neg", ["b"], ["extra"]), node("Neg", ["extra"], ["b"]))
    yield "an input that nothing makes", appended(node("Neg", ["nowhere"], ["extra"]))
    yield (
        "a value that is made twice",
        appended(node("Neg", ["before"], ["extra"]), node("Neg", ["before"], ["extra"])),
    )
    yield (
        "a shape that does not fit",
        summed(node("Reshape", ["before", "n"], ["big"]), constants={"n": np.asarray([7, 7])}),
    )
    yield "an axis that there is not", summed(node("Concat", ["before", "before"], ["big"], axis=9))
    yield (
        "an attribute of another type",
        summed(node("Concat", ["before", "before"], ["big"], axis="x")),
    )
    yield "an operator without inputs", summed(node("Add", [], ["big"]))
    yield "an operator without a type", appended(node("Cast", ["before"], ["extra"]))
    yield (
        "an output of another shape",
        appended(
            node("Unsqueeze", ["before", "axis"], ["extra"]), constants={"axis": np.asarray([0])}
        ),
    )
    yield "an output without rows", appended(node("ReduceMax", ["before"], ["extra"], keepdims=0))
    yield (
        "output of another type",
        edit(lambda m: setattr(m.graph.output[0].type.tensor_type, "elem_type", 1)),
    )
    yield (
        "input of another type",
        edit(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 7)),
    )
    yield "input of another name", edit(lambda m: setattr(m.graph.input[0], "name", "other"))
    yield "no input", edit(lambda m: m.graph.ClearField("input"))
    yield "no output", edit(lambda m: m.graph.ClearField("output"))
    yield "no node", edit(lambda m: m.graph.ClearField("node"))
    yield "no graph", edit(lambda m: m.ClearField("graph"))
    yield "no opset", edit(lambda m: m.ClearField("opset_import"))
    yield "a constant of a negative size", edit(lambda m: m.graph.initializer[0].dims.append(-5))
    yield (
        "a constant that is larger than its data",
        edit(lambda m: m.graph.initializer[0].dims.append(1 << 40)),
    )
    yield "a constant without type", edit(lambda m: m.graph.initializer[0].ClearField("data_type"))
    yield (
        "a constant of another type",
        edit(lambda m: setattr(m.graph.initializer[0], "data_type", 7)),
    )
    yield "a constant twice", edit(lambda m: m.graph.initializer.append(m.graph.initializer[0]))
    yield (
        "a constant in another file",
        edit(
            lambda m: (
                setattr(m.graph.initializer[0], "data_location", 1),
                m.graph.initializer[0].external_data.add(key="location", value="../../etc/passwd"),
            )
        ),
    )
    yield (
        "a constant with empty data beside its values",
        edit(
            lambda m: (
                m.graph.initializer[0].ClearField("raw_data"),
                m.graph.initializer[0].int64_data.extend([1, 2]),
                setattr(m.graph.initializer[0], "raw_data", b""),
            )
        ),
    )
    yield "a sparse constant", edit(lambda m: m.graph.sparse_initializer.add().dims.append(1 << 40))
    yield "a function", edit(lambda m: m.functions.add(name="f", domain="f"))
    yield "a training graph", edit(lambda m: m.training_info.add())
    yield (
        "thirty thousand operators",
        edit(
            lambda m: m.graph.node.extend(
                node("Neg", [m.graph.input[0].name], [f"z{i}"]) for i in range(30_000)
            )
        ),
    )
    yield "no bytes", written(seals.GRAPH, b"")
    yield "zeros", written(seals.GRAPH, bytes(4096))
    yield "many small fields", written(seals.GRAPH, lambda raw: raw + b"\x42\x00" * 1_000_000)
    yield "a second graph", written(seals.GRAPH, lambda raw: raw + b"\x3a\x00")
    yield "an unknown field", written(seals.GRAPH, lambda raw: raw + b"\xfa\x7f\x00")
    yield (
        "a length beyond the end",
        written(seals.GRAPH, b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
    )
    yield "a number without end", written(seals.GRAPH, b"\xff" * 64)


def flipped(seed: int) -> Callable[[bytes], bytes]:
    def flip(raw: bytes) -> bytes:
        rng = random.Random(seed)  # noqa: S311 - the same cases each time
        out = bytearray(raw)
        for _ in range(rng.choice((1, 1, 3, 20))):
            out[rng.randrange(len(out))] = rng.randrange(256)
        return bytes(out[: rng.randrange(len(out))]) if rng.random() < 0.2 else bytes(out)

    return flip


def weights_cases() -> Iterator[tuple[str, Change]]:
    def with_header(header: Any, rest: bytes = bytes(8)) -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + rest

    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    headers: dict[str, Any] = {
        "of another size": {"a": {**one, "shape": [3]}},
        "that overlap": {"a": one, "b": one},
        "with a gap": {"a": {**one, "data_offsets": [4, 8], "shape": [1]}},
        "of a negative place": {"a": {**one, "data_offsets": [-8, 0]}},
        "of a huge shape": {"a": {**one, "shape": [1 << 62, 1 << 62]}},
        "of no type": {"a": {**one, "dtype": ["F32"]}},
        "that are none": {"a": 3},
        "deep": b"[" * 100_000,
        "beyond the end": {"a": {**one, "shape": [4], "data_offsets": [0, 16]}},
    }
    for what, header in headers.items():
        yield f"weights {what}", written(seals.WEIGHTS, with_header(header))
    yield "weights that are cut", written(seals.WEIGHTS, lambda raw: raw[:-5])
    yield "weights without bytes", written(seals.WEIGHTS, b"")
    yield "weights with a header without end", written(seals.WEIGHTS, b"\xff" * 64)


def folder_cases() -> Iterator[tuple[str, Change]]:
    """Changes of the folder and of the manifest, which are not sealed again."""

    def linked(folder: Path) -> None:
        (folder / seals.CARD).rename(folder.parent / "card")
        (folder / seals.CARD).symlink_to(folder.parent / "card")

    def piped(folder: Path) -> None:
        (folder / seals.SCHEMA).unlink()
        os.mkfifo(folder / seals.SCHEMA)

    def foldered(folder: Path) -> None:
        (folder / seals.GRAPH).unlink()
        (folder / seals.GRAPH).mkdir()

    manifest = seals.MANIFEST
    yield "a link", linked
    yield "a pipe", piped
    yield "a folder for a file", foldered
    yield "a file more", written("more.txt", b"x")
    yield "a file less", lambda folder: (folder / seals.CONFIG).unlink()
    for after in (
        b"x",
        b"{}",
        b"\n\n",
        b" \n",
        b"\x00",
        b"\xef\xbb\xbf",
        b"// more",
        b'\n{"format": 1}',
    ):
        yield (
            f"a manifest with {after!r} after its end",
            written(manifest, lambda raw, after=after: raw + after),
        )
    yield (
        "a manifest with a key twice",
        written(manifest, lambda raw: raw.replace(b"{", b'{"run": "other",', 1)),
    )
    yield (
        "a manifest with a path",
        changed(manifest, lambda m: m["files"].update({"../x": m["files"][seals.CARD]})),
    )
    yield "a manifest with a terminal's codes", changed(manifest, put(("run",), "\x1b[2J"))
    yield "a manifest that is deep", written(manifest, b"[" * 60_000)
    yield (
        "a manifest with a huge number",
        changed(manifest, put(("files", seals.CARD, "bytes"), 10**300)),
    )
    yield (
        "a manifest with a size that is true",
        changed(manifest, put(("files", seals.CARD, "bytes"), True)),
    )
    yield "a manifest in UTF-16", written(manifest, lambda raw: raw.decode().encode("utf-16"))


def cases(good: Path) -> Iterator[tuple[str, Change, bool]]:
    """Name, change, and whether it is sealed again."""
    rng = random.Random(25)  # noqa: S311 - the same cases each time
    sealed = [
        *json_cases(good, seals.SCHEMA, 60, rng),
        *json_cases(good, seals.METRICS, 40, rng),
        *(
            case
            for name in (seals.SCHEMA, seals.METRICS, seals.ENCODER)
            for case in raw_cases(name)
        ),
        *graph_cases(),
        *((f"graph flipped {seed}", written(seals.GRAPH, flipped(seed))) for seed in range(60)),
        *weights_cases(),
        ("columns twice", changed(seals.SCHEMA, lambda s: s["columns"].append(s["columns"][0]))),
        ("no columns", changed(seals.SCHEMA, put(("columns",), []))),
        ("a column less", changed(seals.SCHEMA, lambda s: s["columns"].pop())),
        ("a card that is no text", written(seals.CARD, b"\xff\xfe\x00")),
    ]
    yield from ((name, change, True) for name, change in sealed)
    yield from ((name, change, False) for name, change in folder_cases())
    for name, change in json_cases(good, seals.MANIFEST, 30, rng):
        yield name, change, False


def rows_for(good: Path, path: Path) -> Path:
    columns = json.loads((good / seals.SCHEMA).read_text())["columns"]
    cells = [column["levels"][0] if column["levels"] else "1" for column in columns]
    path.write_text(",".join(column["name"] for column in columns) + "\n" + ",".join(cells) + "\n")
    return path


def serve(folder: Path) -> None:
    Predictor.of(Bundle.open(folder))


@pytest.mark.slow
def test_no_changed_bundle_ends_in_a_traceback_hangs_or_takes_the_memory(
    good: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = rows_for(good, tmp_path / "rows.csv")
    plain = {"before": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10}
    wrong, slow, refused, n = [], [], 0, 0
    for i, (name, change, is_sealed) in enumerate(cases(good)):
        folder = copy(good, tmp_path / f"{i}" / "bundle")
        change(folder)
        if is_sealed:
            reseal(folder)
        for command in ("show", "predict", "verify", "serve"):
            words = [command, str(folder), *([str(rows)] if command == "predict" else [])]
            monkeypatch.setattr(sys, "argv", ["bundle", *words])
            begun, n = time.monotonic(), n + 1
            try:
                main() if command != "serve" else serve(folder)
            except StudperfError:
                refused += 1
            except BaseException as error:  # noqa: BLE001 - what must not happen
                wrong.append(f"{command}: {name}: {type(error).__name__}: {str(error)[:200]}")
            if time.monotonic() - begun > MAX_S:
                slow.append(f"{command}: {name}")
        capsys.readouterr()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - plain["before"]
    assert wrong == []
    assert slow == []
    assert grown < MAX_GROWTH
    assert n > 4 * 250
    assert refused > 0.8 * n


@pytest.mark.parametrize(
    "name",
    [
        "an endless Loop",
        "an If",
        "a huge ConstantOfShape",
        "two short constants that make a long one",
        "a value doubled sixty times",
        "a shape from a cell",
        "fewer rows, more cost",
        "a circle",
        "the operator Gelu of com.microsoft",
        "a constant in another file",
        "a second graph",
    ],
)
def test_a_graph_that_could_cost_anything_is_refused_before_it_is_opened(
    name: str, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy(good, tmp_path / "bundle")
    dict(graph_cases())[name](folder)
    reseal(folder)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # it is not even imported
    with pytest.raises(BundleError, match=r"model\.onnx: "):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("place", "value", "what"),
    [
        (("columns",), [], "no column"),
        (("columns", 0, "kind"), 3, "columns.0.kind"),
        (("columns", 0, "seen"), ["1", "2"], "columns.0.seen"),
        (("columns", 0, "name"), "gender", "stands twice"),
        (("output",), "age", "stands twice"),
        (("columns", 0, "news"), 1, "Extra inputs"),
    ],
)
def test_a_schema_of_another_form_is_refused_in_words(
    place: tuple[Any, ...], value: object, what: str, good: Path, tmp_path: Path
) -> None:
    folder = copy(good, tmp_path / "bundle")
    changed(seals.SCHEMA, put(place, value))(folder)
    reseal(folder)
    with pytest.raises(BundleError, match=what):
        Bundle.open(folder)


def test_a_band_without_end_is_read_and_one_without_a_number_is_not(
    good: Path, tmp_path: Path
) -> None:
    folder = copy(good, tmp_path / "bundle")
    changed(seals.METRICS, put(("conformal", "half_width"), "Infinity"))(folder)
    reseal(folder)
    assert Bundle.open(folder).metrics.conformal.half_width == float("inf")  # type: ignore[union-attr]  # it has one
    changed(seals.METRICS, put(("conformal", "half_width"), "NaN"))(folder)
    reseal(folder)
    with pytest.raises(BundleError, match=r"metrics\.json: conformal\.half_width"):
        Bundle.open(folder)
