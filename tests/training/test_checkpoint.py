import errno
import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import safetensors.numpy
from conftest import FIXTURES, ROOT
from safetensors import safe_open

from symrnn.nn.cells import LSTMCell
from symrnn.nn.layers import BatchNorm, Dense
from symrnn.nn.module import Module
from symrnn.training import checkpoint
from symrnn.training.batches import minibatches
from symrnn.training.checkpoint import CheckpointError, load, save
from symrnn.training.loop import train


def fixture_script(name):
    spec = importlib.util.spec_from_file_location(name, FIXTURES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kinds, training = fixture_script("checkpoint_kinds"), fixture_script("checkpoint_training")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def shared(name="W", value=(1.0, 2.0), dtype="float64"):
    return pytensor.shared(np.array(value, dtype=dtype), name=name)


def snapshot(variables):
    """Every bit of what variables and generators hold."""
    values = [v if isinstance(v, np.random.Generator) else v.get_value() for v in variables]
    return [
        repr(v.bit_generator.state)
        if isinstance(v, np.random.Generator)
        else (v.dtype, v.shape, v.tobytes())
        for v in values
    ]


@pytest.fixture(scope="module")
def two():
    """The same training twice, with different weights, orders and masks to start from."""
    return training.Training(seed=1), training.Training(seed=2)


def test_a_resumed_training_ends_with_the_bits_of_one_that_was_not_stopped(path, two):
    undisturbed, resumed = two
    undisturbed.epochs(2)
    save(path, undisturbed.changing, {"epoch": 2})
    expected = undisturbed.epochs(3).loss
    start = path.with_name("start")
    save(start, resumed.changing)
    saved = load(path)
    saved.restore(resumed.changing)
    assert resumed.epochs(5 - saved.data["epoch"]).loss == expected
    assert snapshot(resumed.changing) == snapshot(undisturbed.changing)
    for needed in (
        "cell.W_h", "adam.t", "adam.v[cell.W_x]", "cell.carried_h", "norm.gain", "generator 1",
        "generator 2",
    ):  # fmt: skip
        load(start).restore(resumed.changing)
        named = checkpoint._named(resumed.changing)
        saved.restore({n: v for n, v in named.items() if n != needed}, partly=True)
        assert resumed.epochs(3).loss != expected, needed


def test_ctrl_c_within_an_epoch_loses_nothing_with_the_recipe_of_the_docstring(path, two):
    def run(which, press_at=None):
        def batches():
            epoch, made = divmod(int(which.n.get_value()), training.N_BATCHES)
            order = np.random.default_rng([1, epoch])
            arrays, size = [training.X, training.T], 12 // training.N_BATCHES
            return itertools.islice(minibatches(arrays, size, rng=order, axes=[1, 0]), made, None)

        def press(number, loss):
            if number == press_at:
                os.kill(os.getpid(), signal.SIGINT)

        left = 3 * training.N_BATCHES - int(which.n.get_value())
        return train(which.step, batches, steps=left, progress=False, each_step=press)

    undisturbed, stopped = two
    undisturbed.n.set_value(0)
    save(path, undisturbed.updates.keys())
    load(path).restore(stopped.updates.keys())
    expected, at_end = run(undisturbed).loss, snapshot(undisturbed.updates)
    first = run(stopped, press_at=6)
    assert first.interrupted
    save(path, [*stopped.updates])
    resumed = undisturbed
    load(path).restore([*resumed.updates])
    assert first.loss + run(resumed).loss == expected
    assert snapshot(resumed.updates) == at_end


@pytest.mark.slow
@pytest.mark.numba
def test_a_training_resumes_bit_for_bit_in_numba_and_up_to_rounding_in_another_mode(path, two):
    undisturbed, resumed = training.Training(1, "NUMBA"), training.Training(2, "NUMBA")
    elsewhere, _ = two
    undisturbed.epochs(2)
    save(path, undisturbed.changing)
    expected = undisturbed.epochs(3).loss
    load(path).restore(resumed.changing)
    assert resumed.epochs(3).loss == expected
    assert snapshot(resumed.changing) == snapshot(undisturbed.changing)
    load(path).restore(elsewhere.changing)
    np.testing.assert_allclose(elsewhere.epochs(3).loss, expected, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_kill_9_at_20_random_moments_leaves_a_file_that_loads_and_resumes_bit_for_bit(tmp_path):
    script, epochs = FIXTURES / "checkpoint_training.py", 160

    def start(path):
        return subprocess.Popen(
            [sys.executable, "-W", "error", script, path, str(epochs)],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    undisturbed, killed = tmp_path / "undisturbed.safetensors", tmp_path / "killed.safetensors"
    assert start(undisturbed).communicate()[0].split()[-1] == str(epochs)
    random, reached = np.random.default_rng(0), []
    for _ in range(20):
        process = start(killed)
        for _ in range(1 + random.integers(1, 7)):  # "built", and after that one line an epoch
            line = process.stdout.readline()
        time.sleep(random.uniform(0, 0.03))  # an epoch and its save take about that long
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        reached.append(load(killed).data["epoch"])  # raises if the file is damaged
        assert reached[-1] >= int(line)
    assert reached == sorted(set(reached))
    assert start(killed).communicate()[0].split()[-1] == str(epochs)
    a, b = load(undisturbed), load(killed)
    assert (a.generators, a.data) == (b.generators, b.data)
    assert list(a.arrays) == list(b.arrays)
    for name in a.arrays:
        assert a.arrays[name].tobytes() == b.arrays[name].tobytes(), name


def assert_holds_all_kinds(path):
    saved = load(path)
    assert saved.data == kinds.DATA
    variables, expected = kinds.variables(zero=True), kinds.variables()
    saved.restore(variables)
    for name, value in kinds.values().items():
        got = variables[name].get_value(borrow=True)
        assert (got.dtype, got.shape, got.tobytes()) == (value.dtype, value.shape, value.tobytes())
        if 0 not in value.strides and min(value.strides, default=0) >= 0:
            assert got.strides == value.strides, name  # the order in memory, too
    expected["in a graph"] = expected["in a graph"].get_value()
    variables["in a graph"] = variables["in a graph"].get_value()
    for name in (*kinds.KINDS, "in a graph"):
        for dtype in ("int32", "int64"):
            draws = [v[name].integers(2**20, size=9, dtype=dtype) for v in (variables, expected)]
            np.testing.assert_array_equal(*draws)
        np.testing.assert_array_equal(variables[name].normal(size=9), expected[name].normal(size=9))


def test_values_and_generators_of_all_kinds_come_back_bit_for_bit(path):
    save(path, kinds.variables(), kinds.DATA)
    assert_holds_all_kinds(path)


def test_a_file_from_another_version_of_pytensor_numpy_and_python_loads():
    assert_holds_all_kinds(FIXTURES / "checkpoint_kinds.safetensors")


def test_a_graphs_generator_goes_on_where_it_was(path):
    rng = pt.random.shared_rng(seed=1)
    after, draws = rng.normal(size=(3,))
    draw = pytensor.function([], draws, updates={rng: after})
    draw()
    save(path, [rng])
    expected = draw()
    assert (draw() != expected).all()
    load(path).restore([rng])
    np.testing.assert_array_equal(draw(), expected)


def test_other_programs_can_read_the_arrays_and_the_metadata(path):
    W = pytensor.shared(np.asfortranarray(np.arange(6.0).reshape(2, 3)), name="W", borrow=True)
    save(path, [W], {"n": 1})
    np.testing.assert_array_equal(safetensors.numpy.load_file(path)["W"], W.get_value())
    with safe_open(path, framework="np") as file:
        assert json.loads(file.metadata()["contents"])["data"] == {"n": 1}


def test_the_same_variable_twice_is_saved_once_and_names_may_be_given(path):
    W, order = shared(), np.random.default_rng(1)
    save(path, [W, order, W, order])
    assert (list(load(path).arrays), list(load(path).generators)) == (["W"], ["generator 1"])
    first, second = shared(value=[1.0]), shared(value=[2.0])
    save(path, {"first": first, "second": second, "order": order})
    first.set_value([5.0])
    load(path).restore({"second": first, "order": order}, partly=True)
    assert first.get_value() == [2.0]


@pytest.mark.parametrize(
    ("variables", "error", "message"),
    [
        (
            lambda: [shared(), shared()],
            ValueError,
            r"two are named W: .*Module\(first=.*dictionary",
        ),
        (lambda: [shared(name=None)], ValueError, "has no name: .*name what you make"),
        (
            lambda: [np.zeros(3)],
            TypeError,
            "takes a list of modules, shared variables and generators",
        ),
        (lambda: [np.random.RandomState(1)], TypeError, r"default_rng\(1\), and not RandomState"),
        (lambda: [pt.vector("x")], TypeError, "and not x"),
        (lambda: shared(), TypeError, r"a Module or a list, such as \[W, b, rng\], and not W"),
        (lambda: iter([]), ValueError, "the list of variables is empty"),
        (lambda: np.random.default_rng(1), TypeError, "must be a Module or a list"),
        (lambda: {shared(): pt.vector()}, TypeError, r"are \[\*updates\]"),
        (lambda: [shared(dtype="complex128")], TypeError, "W has dtype complex128, but the file"),
        (lambda: [shared("__metadata__")], ValueError, "can have the name __metadata__"),
    ],
)
def test_what_cannot_be_saved_is_named_and_nothing_is_written(path, variables, error, message):
    with pytest.raises(error, match=message):
        save(path, variables())
    assert not path.exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": [1, {"b": np.ones(2)}]}, r"data\['a'\]\[1\]\['b'\] is a ndarray.*tolist"),
        ({"loss": np.float32(1)}, r"data\['loss'\] is a float32.*float\("),
        ({"words": {"a"}}, r"data\['words'\] is a set"),
        ({"ids": {1: "a"}}, r"data\['ids'\] has the key 1, but keys must be strings"),
        (b"x", "data is a bytes"),
    ],
)
def test_data_that_json_would_change_or_refuse_is_named(path, data, message):
    with pytest.raises(TypeError, match=message):
        save(path, [shared()], data)
    assert not path.exists()


def test_all_that_does_not_fit_is_listed_and_nothing_is_changed(path):
    rng = np.random.default_rng(1)
    save(path, {"a": shared(), "b": shared(), "c": shared(dtype="float32"), "d": rng, "k": rng})
    model = {
        "a": shared(value=[7.0, 7.0]),
        "b": shared(value=[1.0]),
        "c": shared(),
        "d": shared(),
        "k": np.random.Generator(np.random.Philox(1)),
        **{f"e{k}": shared() for k in range(7)},
    }
    before = snapshot(model.values())
    with pytest.raises(CheckpointError) as error:
        load(path).restore(model)
    for said in (
        f"{path} does not fit, and nothing was changed",
        "it lacks e0, e1, e2, e3, e4 and 2 more;",
        "they differ in b (float64 (2,) in the file, float64 (1,) here)",
        "c (float32 (2,) in the file, float64 (2,) here)",
        "d (PCG64 in the file, float64 (2,) here)",
        "k (PCG64 in the file, Philox here)",
    ):
        assert said in str(error.value)
    assert "a (" not in str(error.value)
    assert snapshot(model.values()) == before
    with pytest.raises(CheckpointError, match=r"it also has b, c, d, k\. .*partly=True"):
        load(path).restore({"a": model["a"]})
    load(path).restore({"a": model["a"]}, partly=True)
    assert model["a"].get_value().tolist() == [1, 2]


def net(n_hidden=3, seed=1, **parts):
    rng = np.random.default_rng(seed)
    return Module(
        layers=[LSTMCell(2, n_hidden, rng=rng), LSTMCell(n_hidden, n_hidden, rng=rng)],
        norm=BatchNorm(n_hidden), output=Dense(n_hidden, 1, rng=rng), **parts,
    )  # fmt: skip


def test_a_module_is_saved_by_where_its_weights_hang_statistics_with_them(path):
    saved, other = net(), net(seed=2)
    saved.norm.running_mean.set_value(np.full(3, 7.0))
    save(path, saved)
    assert list(load(path).arrays) == sorted(saved.named_variables())
    assert {"layers.1.W_h", "norm.running_mean", "output.b"} < set(load(path).arrays)
    load(path).restore(other)
    variables = saved.named_variables().values(), other.named_variables().values()
    assert snapshot(variables[0]) == snapshot(variables[1])


def test_a_module_that_does_not_fit_is_told_by_name_and_shape(path):
    save(path, net())
    wider, with_more = net(4), net(extra=Dense(2, 2, rng=np.random.default_rng(1)))
    before = snapshot(wider.params)
    with pytest.raises(
        CheckpointError,
        match=r"differ in layers.0.W_x .*, layers.0.W_h \(float64 \(3, 12\) in the file, ",
    ):
        load(path).restore(wider)
    assert snapshot(wider.params) == before
    with pytest.raises(CheckpointError, match=r"lacks extra.W, extra.b. .*with the settings"):
        load(path).restore(with_more)
    save(path, with_more)
    with pytest.raises(CheckpointError, match=r"also has extra.W, extra.b\. .*partly=True"):
        load(path).restore(net())
    smaller = net(seed=2)
    load(path).restore(smaller, partly=True)
    assert snapshot(smaller.params) == snapshot(with_more.params)[:10]
    with pytest.raises(ValueError, match="this Module has no weights to save"):
        save(path, Module())


def test_a_list_holds_modules_beside_what_else_a_training_changes(path):
    model, order, n = net(), np.random.default_rng(1), shared("n", 5)
    save(path, [model, n, order, *model.params])  # what is there twice is saved once
    found = load(path)
    assert set(found.arrays) == {*model.named_variables(), "n"}
    assert list(found.generators) == ["generator 1"]
    expected, other, fresh = order.normal(), net(seed=2), shared("n", 0)
    found.restore([other, fresh, again := np.random.default_rng(2)])
    assert snapshot(other.params) == snapshot(model.params)
    assert (float(fresh.get_value()), again.normal()) == (5, expected)
    weights_only = net(seed=3)
    found.restore(weights_only, partly=True)
    assert snapshot(weights_only.params) == snapshot(model.params)


def test_two_cells_of_one_class_are_saved_together_in_a_module_alone_not(path):
    rng = np.random.default_rng(1)
    first, second = LSTMCell(2, 3, rng=rng), LSTMCell(2, 3, rng=rng)
    with pytest.raises(ValueError, match=r"two are named W_x: .*symrnn\.Module\(first=cell, "):
        save(path, [first, second])
    both = Module(first=first, second=second)
    save(path, both)
    values = snapshot(both.params)
    second.W_x.set_value(first.W_x.get_value())
    load(path).restore(both)
    assert snapshot(both.params) == values


def test_every_cut_and_every_flipped_bit_is_told(path):
    save(path, [shared("W_é"), shared("k", 3, "int8"), np.random.default_rng(1)], {"words": ["é"]})
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(CheckpointError, match="is not a safetensors file, or damaged"):
            load(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(CheckpointError, match="is not a safetensors file, or damaged"):
        load(path)
    for k in range(8 * len(whole)):
        altered = bytearray(whole)
        altered[k // 8] ^= 1 << k % 8
        path.write_bytes(altered)
        with pytest.raises(CheckpointError, match=r"model.safetensors (is|has format)"):
            load(path)
    altered[-1] ^= 0x80
    altered[-9] ^= 1  # in an array
    path.write_bytes(altered)
    with pytest.raises(CheckpointError, match=r"is damaged.*checksum"):
        load(path)


def test_what_is_no_checkpoint_is_named(path, tmp_path):
    with pytest.raises(CheckpointError, match=r"model.safetensors does not exist"):
        load(path)
    with pytest.raises(CheckpointError, match="is a folder"):
        load(tmp_path)
    safetensors.numpy.save_file({"W": np.ones(2)}, path)
    with pytest.raises(CheckpointError, match="is a safetensors file, but not a checkpoint"):
        load(path)
    safetensors.numpy.save_file({"W": np.ones(2)}, path, {"symrnn_checkpoint": "2"})
    with pytest.raises(CheckpointError, match=r"has format 2, and this symrnn.*use a newer one"):
        load(path)


def assert_left_as_it_was(path, before):
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        ("fsync", OSError(errno.ENOSPC, "No space left on device"), "is unchanged.*No space"),
        (
            "replace",
            PermissionError(errno.EACCES, "denied"),
            "could not be saved.*denied",
        ),
        ("fsync", KeyboardInterrupt("pressed"), "pressed"),
    ],
)
def test_a_failing_save_leaves_the_old_file_and_nothing_beside(
    path, monkeypatch, place, error, message
):
    save(path, [shared()])
    before = path.read_bytes()

    def fail(*args):
        raise error

    monkeypatch.setattr(checkpoint.os, place, fail)
    with pytest.raises((OSError, KeyboardInterrupt), match=message):
        save(path, [shared(value=np.ones(99))])
    assert_left_as_it_was(path, before)


def test_a_full_disk_leaves_the_old_file_and_nothing_beside(path):
    resource = pytest.importorskip("resource")
    save(path, [shared()])
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match=r"could not be saved, and is unchanged.*File too large"):
            save(path, [shared(value=np.ones(100_000))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_left_as_it_was(path, before)


def test_a_save_removes_what_killed_ones_left_long_ago_makes_folders_and_follows_links(tmp_path):
    path = tmp_path / "new" / "folder" / "model[1].safetensors"
    save(path, [shared()])
    old, fresh, others = (
        path.with_name(name)
        for name in (
            ".model[1].safetensors.0a.part",
            ".model[1].safetensors.0b.part",
            ".model1.safetensors.0c.part",
        )
    )
    for part in (old, fresh, others):
        part.write_bytes(b"half")
    for part in (old, others):
        os.utime(part, (time.time() - 4000,) * 2)
    save(path, [shared()])
    assert (old.exists(), fresh.exists(), others.exists()) == (False, True, True)
    if os.name == "posix":
        (tmp_path / "latest").symlink_to(path)
        save(tmp_path / "latest", [shared()], {"n": 5})
        assert (tmp_path / "latest").is_symlink()
        assert load(path).data == {"n": 5}


def test_what_is_restored_is_a_copy(path):
    save(path, [shared()])
    saved, first, second = load(path), shared(value=[0.0, 0.0]), shared(value=[0.0, 0.0])
    saved.restore([first])
    first.get_value(borrow=True)[:] = 9
    saved.restore([second])
    assert second.get_value().tolist() == [1, 2]


def test_a_part_of_a_module_finds_its_weights_by_the_remedy_of_the_message(tmp_path):
    rng, path = np.random.default_rng(1), tmp_path / "net.safetensors"
    save(path, Module(cell=LSTMCell(2, 3, rng=rng), output=Dense(3, 1, rng=rng)))
    cell = LSTMCell(2, 3, rng=rng)
    with pytest.raises(CheckpointError, match=r"has them as cell\.W_x.*Module\(cell=.*partly=True"):
        load(path).restore(cell)
    load(path).restore(Module(cell=cell), partly=True)
    np.testing.assert_array_equal(cell.W_x.get_value(), load(path).arrays["cell.W_x"])


def test_path_and_model_in_the_wrong_order_are_named(tmp_path):
    with pytest.raises(TypeError, match=r"the path comes first, save\(path, model\)"):
        save(Dense(2, 1, W=[[1], [2]]), str(tmp_path / "net.safetensors"))
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_shows_names_and_not_values(tmp_path):
    path = tmp_path / "net.safetensors"
    save(path, Dense(2, 1, W=[[1], [2]]), {"epoch": 3})
    assert repr(load(path)) == f"Checkpoint {path}: 2 variables (W, b), data {{'epoch': 3}}"
