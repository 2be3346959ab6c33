"""Test vectors: the format, what a check finds, and a reader in another language."""

from __future__ import annotations

import copy
import json
import math
import pathlib
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
import refopt
from refopt.cli import main
from refopt.core.errors import ArgumentError, VectorsError
from refopt.core.method import Method
from refopt.core.registry import entry
from refopt.optimizers.first_order.adam import Adam
from refopt.vectors import exact_runs as vectors
from refopt.vectors import format as vectors_format
from refopt.vectors.schema import fault

EXAMPLE = pathlib.Path(__file__).parents[2] / "docs" / "examples" / "check_adam.js"


@pytest.fixture(scope="module")
def adam() -> dict[str, Any]:
    return vectors.make_vectors("adam", dialect="torch")


def _write(content: dict[str, Any], path: pathlib.Path) -> pathlib.Path:
    """Write a changed content with a checksum of its own."""
    vectors_format.save({**content, "sha256": vectors_format.checksum(content)}, path)
    return path


def _changed(content: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """Change one field, named as the reader's messages name it."""
    out = copy.deepcopy(content)
    *way, last = [int(p) if p.isdigit() else p for p in place.split(".")]
    below: Any = out
    for step in way:
        below = below[step]
    if value is ...:
        del below[last]
    else:
        below[last] = value
    return out


@pytest.mark.parametrize("seed", range(4))
def test_hexadecimal_is_exact(seed: int) -> None:
    """Any bits at all come back, through Python's reader, and zeros at the end are not written."""
    bits = np.random.default_rng(seed).integers(0, 2**64, 500, dtype=np.uint64)
    for v in [*bits.view(np.float64), 0.0, -0.0, 5e-324, 1.0, 0.1, math.inf, -math.inf]:
        text = vectors_format.hexadecimal(float(v))
        back = float.fromhex(text)
        assert (back == v and math.copysign(1.0, back) == math.copysign(1.0, v)) or math.isnan(v)
        assert "." not in text or text.split("p")[0][-1] not in "0."
    assert vectors_format.hexadecimal(math.nan) == "nan"
    assert vectors_format.hexadecimal(1.0) == "0x1p+0"


def test_a_plain_adam_reads_the_file(adam: dict[str, Any]) -> None:
    """Adam with Python floats, from the file's text alone, gives its points; in every step and leaf."""
    content = json.loads(vectors_format.to_text(adam))
    num = float.fromhex
    for profile in content["profiles"]:
        h = {
            k: num(v) if isinstance(v, str) and v.startswith("0x") else v for k, v in profile["hyper"].items()
        }
        run = profile["runs"]["float64"]
        for leaf, start in content["x0"].items():
            for i, text in enumerate(start):
                x, m, v = num(text), 0.0, 0.0
                for t, (gradient, point) in enumerate(zip(content["gradients"], run["trajectory"]), 1):
                    g = num(gradient[leaf][i]) + h["weight_decay"] * x
                    m, v = h["beta1"] * m + (1 - h["beta1"]) * g, h["beta2"] * v + (1 - h["beta2"]) * g * g
                    lr = h["lr"] * (num(profile["schedule"][t - 1]) if profile["schedule"] else 1.0)
                    m_hat, v_hat = m / (1 - h["beta1"] ** t), v / (1 - h["beta2"] ** t)
                    x -= lr * m_hat / (math.sqrt(v_hat) + h["eps"])
                    assert x == pytest.approx(num(point[leaf][i]), rel=4e-15, abs=1e-17), (
                        profile["name"],
                        leaf,
                        t,
                    )


def test_profiles_differ_where_they_should(adam: dict[str, Any]) -> None:
    """The second profile has other numbers and a schedule; float32 is a run of its own."""
    first, second = adam["profiles"]
    assert first["schedule"] is None and len(second["schedule"]) == vectors.STEPS
    changed = {k for k in first["hyper"] if first["hyper"][k] != second["hyper"][k]}
    assert changed == {"beta2", "eps", "weight_decay"}
    assert first["hyper"]["decay"] == "coupled"  # torch's
    narrow, wide = (first["runs"][d]["trajectory"][-1]["kernel"] for d in ("float32", "float64"))
    assert narrow != wide
    for text in narrow:
        assert float(np.float32(float.fromhex(text))) == float.fromhex(text)
    assert set(adam["shapes"]) == {"scalar", "vector", "matrix", "kernel"}


def test_a_part_of_the_released_set(tmp_path: pathlib.Path) -> None:
    """Every fifth gradient-only method: under 50 KB, by the schema. `make exhaustive` writes the whole set."""
    for m in released()[::5]:
        text = vectors_format.to_text(vectors.make_vectors(m.name))
        assert len(text.encode()) < 50_000
        path = tmp_path / f"{m.name}.json"
        path.write_text(text)
        vectors_format.load(path)


def released() -> list[Any]:
    """Return the methods that vectors are written of."""
    # Such as SVRG, which asks for more than one gradient, and methods of two factors, have none.
    return [
        m for m in refopt.methods("optimizer")
        if m.needs == ("grad",) and m.obj.update is not Method.update and not m.extra.get("factors")
    ]  # fmt: skip


@pytest.mark.exhaustive
def test_the_released_set(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every gradient-only method and dialect: under 50 KB on the average, by the schema, and a sample agrees."""
    assert main(["vectors", "write", "--all", "-o", str(tmp_path / "set")]) == 0
    files = sorted((tmp_path / "set").iterdir())
    names = {tuple(f.name.removesuffix(".json").split(".")) for f in files}
    want = {(m.name, d) for m in released() for d in m.dialects}
    assert names == want
    assert sum(f.stat().st_size for f in files) < 50_000 * len(files)
    for f in files:
        vectors_format.load(f)  # schema and checksum
    capsys.readouterr()
    sample = [str(f) for f in files[::12]]
    assert main(["vectors", "check", *sample]) == 0
    assert capsys.readouterr().out.count(": agrees") == len(sample)


def test_writing_is_reproducible(adam: dict[str, Any]) -> None:
    """The same bytes again; the source and the version are there."""
    assert vectors_format.to_text(adam) == vectors_format.to_text(
        vectors.make_vectors("adam", dialect="torch")
    )
    assert adam["refopt"] == refopt.__version__
    assert adam["source"]["arxiv"] == "1412.6980" and "Kingma" in adam["source"]["text"]


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("adam", True),
        ("rmsprop", True),
        ("diffgrad", False),
        ("madgrad", False),
        ("lamb", False),
        ("muon", False),
    ],
)
def test_exact(name: str, exact: bool) -> None:
    """exp (diffgrad), a fractional power (madgrad), sums and products of matrices are the libraries'."""
    assert vectors.is_exact(refopt.optimizer(name)) is exact


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("format", "other", "format: wanted 'refopt-vectors', got 'other'"),
        ("version", 2, "version: wanted 1, got 2"),
        ("method", ..., "'method' is missing"),
        ("surplus", 1, "'surplus' is not a field"),
        ("exact", "yes", "exact: wanted boolean, got 'yes'"),
        ("shapes.vector", [0], r"shapes.vector\[0\]: wanted at least 1, got 0"),
        ("gradients", [], "gradients: wanted at least 1 items, got 0"),
        ("x0.vector.1", 0.5, r"x0.vector\[1\]: wanted string, got 0.5"),
        ("x0.vector.1", "0.5", r"x0.vector\[1\]: '0.5' does not match"),
        ("profiles.0.runs.float32", ..., r"profiles\[0\].runs: 'float32' is missing"),
        ("profiles.1.schedule", 3, r"profiles\[1\].schedule: 3 is none of: null, a list of numbers"),
        ("profiles.0.hyper.lr", 0.1, r"profiles\[0\].hyper.lr: 0.1 is none of"),
        # What fits the schema and is wrong all the same.
        ("x0.vector", ["0x1p+0"], "x0.vector: wanted 3 numbers"),
        ("x0.extra", ["0x1p+0"], "x0: wanted the leaves"),
        (
            "gradients.3.vector.0",
            "0x1.0000000000001p+0",
            r"gradients\[3\].vector: holds a number that float32",
        ),
        ("profiles.0.runs.float64.trajectory", [], "trajectory: wanted at least 1 items"),
        ("profiles.0.hyper.beta1", "0x1p+0", r"profiles\[0\].hyper.beta1: the file has '0x1p\+0'"),
        (
            "profiles.1.hyper.beta1",
            "0x1p+0",
            r"profiles\[1\]: adam: beta1: wanted a value in \[0, 1\), got 1.0",
        ),
        ("profiles.1.hyper.beta9", "0x1p+0", r"profiles\[1\].*beta9"),
        ("dialect", "caffe", "adam has no dialect 'caffe'"),
        ("method", "adamm", "Did you mean 'adam'"),
    ],
)
def test_what_does_not_fit_is_named(
    adam: dict[str, Any], tmp_path: pathlib.Path, place: str, value: Any, message: str
) -> None:
    """A typed error with the path of the field, though the checksum is right."""
    path = _write(_changed(adam, place, value), tmp_path / "v.json")
    with pytest.raises(VectorsError, match=message):
        vectors.check_vectors(path)


def test_too_few_steps(adam: dict[str, Any], tmp_path: pathlib.Path) -> None:
    """A trajectory must be as long as the gradients."""
    short = adam["profiles"][0]["runs"]["float64"]["trajectory"][:-1]
    path = _write(_changed(adam, "profiles.0.runs.float64.trajectory", short), tmp_path / "v.json")
    with pytest.raises(VectorsError, match=r"float64.trajectory: wanted 12 steps, got 11"):
        vectors.check_vectors(path)


def test_a_changed_file_is_not_read(
    adam: dict[str, Any], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One digit: the checksum tells, and the command ends with 2; a good file beside it is still checked."""
    good, bad, text = tmp_path / "good.json", tmp_path / "bad.json", tmp_path / "text.json"
    vectors_format.save(adam, good)
    last = adam["profiles"][0]["runs"]["float64"]["trajectory"][5]["kernel"][3]
    bad.write_text(good.read_text(encoding="utf-8").replace(last, last.replace("0x1.", "0x1.1"), 1))
    text.write_text("{")
    with pytest.raises(VectorsError, match=r"bad.json: sha256: .*changed since it was written"):
        vectors.check_vectors(bad)
    assert main(["vectors", "check", str(bad), str(good)]) == 2
    out = capsys.readouterr()
    assert "changed" in out.err and f"{good}: agrees" in out.out
    assert main(["vectors", "check", str(text)]) == 2
    assert "is not JSON" in capsys.readouterr().err
    assert main(["vectors", "check", str(tmp_path / "none.json")]) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["adam", "lamb"])
def test_the_first_difference_is_named(
    name: str, dtype: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Step, leaf and index; one bit where the file is exact, more than rounding where it is not."""
    content = vectors.make_vectors(name)
    place = f"profiles.1.runs.{dtype}.trajectory.6.matrix"
    data = content["profiles"][1]["runs"][dtype]["trajectory"][6]["matrix"]
    value = np.dtype(dtype).type(float.fromhex(data[3]))
    one_bit = float(np.nextafter(value, np.inf, dtype=dtype))
    changes = {one_bit: name == "adam", float(value * np.dtype(dtype).type(1.001)): True}
    for number, differs in changes.items():
        new = [*data[:3], vectors_format.hexadecimal(number), *data[4:]]
        path = _write(_changed(content, place, new), tmp_path / "v.json")
        assert main(["vectors", "check", str(path)]) == (1 if differs else 0)
        out = capsys.readouterr().out
        assert (f"profile 'other', {dtype}: first difference at step 7, matrix[1, 1]" in out) is differs
        if differs:
            (found,) = vectors.check_vectors(path)
            assert (found.step, found.leaf, found.index) == (7, "matrix", (1, 1))
            assert float.fromhex(found.want) == number and found.got == data[3]


def test_the_sign_of_zero_counts(adam: dict[str, Any], tmp_path: pathlib.Path) -> None:
    """Bit for bit: -0 is not 0."""
    sgd = vectors.make_vectors("sgd")
    data = sgd["profiles"][0]["runs"]["float64"]["trajectory"][0]
    leaf, i = next((k, v.index("0x0p+0")) for k, v in data.items() if "0x0p+0" in v)
    changed = _changed(sgd, f"profiles.0.runs.float64.trajectory.0.{leaf}.{i}", "-0x0p+0")
    (found,) = vectors.check_vectors(_write(changed, tmp_path / "v.json"))
    assert (found.step, found.leaf, found.want, found.got) == (1, leaf, "-0x0p+0", "0x0p+0")


def test_the_state_counts(adam: dict[str, Any], tmp_path: pathlib.Path) -> None:
    """The last state's arrays and numbers are compared where the points agree."""
    held = adam["profiles"][0]["runs"]["float32"]["state"]
    number = vectors_format.hexadecimal(2.0 * float.fromhex(held["v"]["kernel"]["data"][5]))
    path = _write(
        _changed(adam, "profiles.0.runs.float32.state.v.kernel.data.5", number), tmp_path / "v.json"
    )
    (found,) = vectors.check_vectors(path)
    assert (found.step, found.leaf, found.index) == (12, "state.v.kernel", (1, 0, 0, 1))
    path = _write(_changed(adam, "profiles.0.runs.float32.state.t", 11), tmp_path / "v.json")
    (found,) = vectors.check_vectors(path)
    assert (found.leaf, found.want, found.got) == ("state.t", "11", "12")
    path = _write(_changed(adam, "profiles.0.runs.float32.state.v", ...), tmp_path / "v.json")
    (found,) = vectors.check_vectors(path)
    assert found.leaf == "state" and "'v'" in found.got and "'v'" not in found.want


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_state_of_an_inexact_method_counts(dtype: str, tmp_path: pathlib.Path) -> None:
    """An ulp is rounding; a fiftieth is none, in an array's largest entry or a number."""
    content = vectors.make_vectors("prodigy")
    state = content["profiles"][0]["runs"][dtype]["state"]
    top = int(np.argmax([abs(float.fromhex(v)) for v in state["v"]["matrix"]["data"]]))
    places = {"state.v.matrix": f"profiles.0.runs.{dtype}.state.v.matrix.data.{top}"}
    numbers = [k for k, v in state.items() if isinstance(v, str) and float.fromhex(v) != 0]
    places |= {f"state.{k}": f"profiles.0.runs.{dtype}.state.{k}" for k in numbers}
    assert len(places) > 1
    for leaf, place in places.items():
        value: Any = content
        for part in place.split("."):
            value = value[int(part) if isinstance(value, list) else part]
        for factor, differs in ((1 + np.finfo(dtype).eps, False), (1.02, True)):
            number = vectors_format.hexadecimal(float(np.dtype(dtype).type(float.fromhex(value) * factor)))
            found = vectors.check_vectors(_write(_changed(content, place, number), tmp_path / "v.json"))
            assert [f.leaf for f in found] == ([leaf] if differs else []), (place, factor)


def test_signs_of_eigenvectors_are_free(tmp_path: pathlib.Path) -> None:
    """In SOAP's state a column of a basis may be turned round, with what is kept in it; sizes may not change."""
    content = vectors.make_vectors("soap")
    run = content["profiles"][0]["runs"]["float64"]
    turned, changed = copy.deepcopy(content), copy.deepcopy(content)
    arrays = [(a, b, c) for a, b, c in _both(run["state"], turned, changed) if len(a["shape"]) == 2]
    assert arrays
    for have, other, wrong in arrays:
        other["data"] = [vectors_format.hexadecimal(-float.fromhex(v)) for v in have["data"]]
        wrong["data"] = [vectors_format.hexadecimal(1.01 * float.fromhex(v)) for v in have["data"]]
    assert vectors.check_vectors(_write(turned, tmp_path / "v.json")) == []
    (found,) = vectors.check_vectors(_write(changed, tmp_path / "v.json"))
    assert found.leaf.startswith("state.")


def _both(state: Any, *others: Any) -> Any:
    """Yield the arrays of a state, and their like in the first run of other files."""
    states = [o["profiles"][0]["runs"]["float64"]["state"] for o in others]

    def walk(*values: Any) -> Any:
        first = values[0]
        if isinstance(first, dict) and "data" in first:
            yield values
        elif isinstance(first, (dict, list)):
            for key in first if isinstance(first, dict) else range(len(first)):
                yield from walk(*(v[key] for v in values))

    yield from walk(state, *states)


def test_a_broken_reference_is_found(
    adam: dict[str, Any], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file holds refopt itself: with the step counted from 0 it differs at once, everywhere."""
    vectors_format.save(adam, tmp_path / "v.json")
    assert vectors.check_vectors(tmp_path / "v.json") == []
    right = Adam.scalars
    monkeypatch.setattr(Adam, "scalars", lambda self, t, carried: right(self, t + 1, carried))
    found = vectors.check_vectors(tmp_path / "v.json")
    assert [(m.profile, m.dtype, m.step) for m in found] == [
        (p, d, 1) for p in ("default", "other") for d in ("float64", "float32")
    ]


def test_rounding_is_measured() -> None:
    """It covers what a change of one ulp does, and is no wider than a few hundred of them for Adam."""
    content = vectors.make_vectors("shampoo", dialect="jettify")
    for profile in content["profiles"]:
        for dtype, run in profile["runs"].items():
            assert float.fromhex(run["rounding"]) >= 16 * np.finfo(dtype).eps
    run = vectors.make_vectors("adam")["profiles"][0]["runs"]["float64"]
    assert float.fromhex(run["rounding"]) == 16 * np.finfo(float).eps


def test_errors(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad usage is one line and status 2."""
    with pytest.raises(ArgumentError, match="gradients alone; adahessian asks for more"):
        vectors.make_vectors("adahessian")
    with pytest.raises(VectorsError, match="cannot be written"):
        vectors.write_vectors("sgd", tmp_path / "none" / "v.json")
    (tmp_path / "file").write_text("")
    for words in (
        ["write"],
        ["write", "--all"],
        ["write", "adam", "--all", "-o", "x"],
        ["write", "--all", "-o", str(tmp_path / "file")],
        ["write", "adam", "--dialect", "caffe"],
        ["write", "adam", "--lr", "0.1"],
    ):
        assert main(["vectors", *words]) == 2, words
        err = capsys.readouterr().err
        assert err.startswith("refopt: ") and err.count("\n") == 1, err
    assert main(["vectors", "write", "sgd"]) == 0
    assert json.loads(capsys.readouterr().out)["method"] == "sgd"


def test_schema_keywords() -> None:
    """Each keyword of the small schema reader refuses what it should and nothing else."""
    cases: list[tuple[dict[str, Any], Any, Any]] = [
        ({"type": "integer"}, 3, True),
        ({"type": "boolean"}, True, 1),
        ({"const": 1}, 1, 2),
        ({"enum": ["a", "b"]}, "b", "c"),
        ({"pattern": "^a+$"}, "aa", "ab"),
        ({"minimum": 2}, 2, 1),
        ({"minItems": 1}, [0], []),
        ({"items": {"type": "string"}}, ["a"], ["a", 1]),
        ({"required": ["a"]}, {"a": 1}, {"b": 1}),
        ({"properties": {"a": {"type": "null"}}, "additionalProperties": False}, {"a": None}, {"b": None}),
        ({"additionalProperties": {"type": "null"}}, {"a": None}, {"a": 1}),
        ({"propertyNames": {"pattern": "^a"}}, {"ab": 1}, {"b": 1}),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, "a", 1),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"type": "string"}}}, "a", 1),
    ]
    for schema, fits, does_not in cases:
        assert fault(fits, schema) is None, schema
        assert fault(does_not, schema), schema
    with pytest.raises(ArgumentError, match="'maximum' is not known"):
        fault(1, {"maximum": 1})


def test_the_schema_for_others(adam: dict[str, Any]) -> None:
    """The jsonschema package reads the schema as refopt does."""
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(vectors_format.schema())
    validator.check_schema(vectors_format.schema())
    assert list(validator.iter_errors(adam)) == []
    for place, value in (("x0.vector.1", "0.5"), ("surplus", 1), ("profiles.1.schedule", 3)):
        assert list(validator.iter_errors(_changed(adam, place, value)))


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_javascript(tmp_path: pathlib.Path) -> None:
    """The example reads every dialect of adam and adamw, and tells a wrong Adam and a changed file."""
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 100
    files = []
    for name in ("adam", "adamw"):
        for dialect in entry(name).dialects:
            files.append(tmp_path / f"{name}.{dialect}.json")
            vectors.write_vectors(name, files[-1], dialect=dialect)

    def node(program: pathlib.Path, file: pathlib.Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["node", program, file], capture_output=True, text=True, check=False)

    for f in files:
        done = node(EXAMPLE, f)
        assert done.returncode == 0 and done.stdout.count("agrees") == 2, done.stdout + done.stderr
    wrong = tmp_path / "wrong.js"
    wrong.write_text(
        EXAMPLE.read_text(encoding="utf-8").replace("1 - h.beta2 ** t", "1 - h.beta2 ** (t + 1)")
    )
    assert node(wrong, files[0]).returncode == 1
    text = files[0].read_text(encoding="utf-8")
    files[0].write_text(text.replace('"where": "', '"where": "the '))
    done = node(EXAMPLE, files[0])
    assert done.returncode == 2 and "checksum" in done.stderr
