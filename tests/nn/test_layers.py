import importlib.util
import json

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from conftest import FIXTURES
from pytensor.compile.mode import Mode
from pytensor.gradient import verify_grad
from pytensor.graph.traversal import ancestors
from pytensor.tensor.random.op import RandomVariable

from symrnn.compiling.function import function, graph_updates
from symrnn.nn.cells import HiddenState, LinearCell
from symrnn.nn.layers import BatchNorm, Dense, Dropout, Embedding, LayerNorm
from symrnn.nn.module import Module
from symrnn.nn.recurrent import stack

TORCH = json.loads((FIXTURES / "torch_layers.json").read_text(encoding="utf-8"))
T, B, D = TORCH["shape"]
MASK = np.array(TORCH["mask"])
NO_REWRITES = Mode("py", None)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def draw_weights(layer, rng):
    for p in layer.params:
        p.set_value(rng.normal(size=p.get_value().shape).astype(p.dtype))
    return [p.get_value() for p in layer.params]


def close(got, expected, atol=1e-12):
    np.testing.assert_allclose(got, expected, rtol=0, atol=atol)


def ops(*variables):
    return [v.owner.op for v in ancestors(variables) if v.owner is not None]


# torch, whose numbers lie in a file


def check_case(case, y, variables, inputs):
    """Result and gradients of ``sum(y * d_y)`` equal those of torch."""
    wrt = [variables[name[2:]] for name in case if name.startswith("d_") and name != "d_y"]
    wanted = [y, *pytensor.grad((y * np.array(case["d_y"])).sum(), wrt)]
    names = ["y", *(name for name in case if name.startswith("d_") and name != "d_y")]
    got = pytensor.function([v for v, _ in inputs], wanted)(*(np.array(v) for _, v in inputs))
    for name, value in zip(names, got, strict=True):
        close(value, case[name])


def test_dense_equals_torch():
    case, x = TORCH["dense"], pt.tensor3("x")
    layer = Dense(D, len(case["b"]), W=case["W"])
    layer.b.set_value(np.array(case["b"]))
    check_case(case, layer(x), {"x": x, "W": layer.W, "b": layer.b}, [(x, case["x"])])


def test_embedding_equals_torch():
    case, tokens = TORCH["embedding"], pt.lmatrix("tokens")
    layer = Embedding(len(case["W"]), D, W=case["W"])
    check_case(case, layer(tokens), {"W": layer.W}, [(tokens, case["tokens"])])


def test_layer_norm_equals_torch():
    case, x = TORCH["layer_norm"], pt.tensor3("x")
    layer = LayerNorm(D, epsilon=TORCH["epsilon"])
    set_gain_and_b(layer, case)
    check_case(case, layer(x), {"x": x, "gain": layer.gain, "b": layer.b}, [(x, case["x"])])


def set_gain_and_b(layer, case):
    layer.gain.set_value(np.array(case["gain"]))
    layer.b.set_value(np.array(case["b"]))


def batch_norm_function(layer, training, mask):
    """x and d_y to y, gradients and, in training, running statistics."""
    x, d_y = pt.tensor3("x"), pt.tensor3("d_y")
    y = layer(x, training=training, mask=mask)
    gradients = pytensor.grad((y * d_y).sum(), [x, layer.gain, layer.b])
    outputs = [y, *gradients]
    return pytensor.function([x, d_y], outputs, updates=graph_updates(outputs))


@pytest.mark.parametrize("name", ["batch_norm", "batch_norm_without_padding"])
def test_batch_norm_equals_torch_over_batches_and_in_use(name, rng):
    """A mask gives what torch gives without the rows of padding."""
    batches, in_use, rows = (TORCH[name][k] for k in ("batches", "in_use", "rows"))
    mask = None if len(rows) == T * B else MASK
    layer = BatchNorm(D, momentum=TORCH["momentum"], epsilon=TORCH["epsilon"])
    use, step = (batch_norm_function(layer, training, mask) for training in (False, True))

    def check(function, case):
        set_gain_and_b(layer, case)
        d_y = rng.normal(size=(T * B, D))  # what it is at padding must not matter
        d_y[rows] = case["d_y"]
        y, d_x, d_gain, d_b = function(
            np.array(case["x"]).reshape(T, B, D), d_y.reshape(T, B, D)
        )  # fmt: skip
        close(y.reshape(-1, D)[rows], case["y"])
        assert not np.delete(y.reshape(-1, D), rows, axis=0).any()
        close(d_x.reshape(-1, D), case["d_x"])
        close(d_gain, case["d_gain"])
        close(d_b, case["d_b"])

    for case in batches:
        check(step, case)
        close(layer.running_mean.get_value(), case["running_mean"])
        close(layer.running_variance.get_value(), case["running_variance"])
    check(use, in_use)
    close(layer.running_mean.get_value(), batches[-1]["running_mean"])


@pytest.mark.slow
def test_torch_itself_still_gives_the_fixture():
    pytest.importorskip("torch")
    path = FIXTURES / "torch_layers.py"
    spec = importlib.util.spec_from_file_location("torch_layers", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def compare(live, stored):
        if isinstance(stored, dict):
            assert live.keys() == stored.keys()
            for key in stored:
                compare(live[key], stored[key])
        elif isinstance(stored, list) and isinstance(stored[0], dict):
            for a, b in zip(live, stored, strict=True):
                compare(a, b)
        else:
            close(live, stored)

    live = module.everything()
    compare({**live, "torch": 0}, {**TORCH, "torch": 0})


# plain NumPy


@pytest.mark.parametrize("shape", [(D,), (5, D), (T, B, D), (2, T, B, D), (0, B, D)])
def test_dense_equals_numpy_for_any_number_of_axes(shape, rng):
    layer, x = Dense(D, 2, rng=rng), pt.tensor("x", shape=(None,) * len(shape))
    W, b = draw_weights(layer, rng)
    xv = rng.normal(size=shape)
    close(pytensor.function([x], layer(x))(xv), xv @ W + b)


def test_dense_is_one_product_of_matrices(rng):
    y = Dense(D, 2, rng=rng)(pt.tensor3("x"))
    products = [v for v in ancestors([y]) if v.owner is not None and "Matmul" in str(v.owner.op)]
    assert [v.ndim for v in products] == [2]


@pytest.mark.parametrize("shape", [(), (3,), (T, B), (2, T, B), (0, B)])
@pytest.mark.parametrize("dtype", ["int64", "uint8"])
def test_embedding_equals_numpy_indexing(shape, dtype, rng):
    layer, tokens = (
        Embedding(5, D, rng=rng),
        pt.tensor("tokens", dtype=dtype, shape=(None,) * len(shape)),
    )
    values = rng.integers(0, 5, size=shape).astype(dtype)
    got = pytensor.function([tokens], layer(tokens))(values)
    np.testing.assert_array_equal(got, layer.W.get_value()[values])


@pytest.mark.parametrize("shape", [(D,), (5, D), (T, B, D)])
def test_layer_norm_equals_numpy(shape, rng):
    layer, x = LayerNorm(D, epsilon=0.1), pt.tensor("x", shape=(None,) * len(shape))
    gain, b = draw_weights(layer, rng)
    xv = rng.normal(size=shape) * 3 + 2
    scaled = (xv - xv.mean(-1, keepdims=True)) / np.sqrt(xv.var(-1, keepdims=True) + 0.1)
    close(pytensor.function([x], layer(x))(xv), gain * scaled + b)


@pytest.mark.parametrize("shape", [(6, D), (T, B, D), (2, T, B, D)])
def test_batch_norm_equals_numpy(shape, rng):
    layer, x = BatchNorm(D, momentum=0.2, epsilon=0.1), pt.tensor("x", shape=(None,) * len(shape))
    gain, b = draw_weights(layer, rng)
    y = layer(x, training=True)
    step = pytensor.function([x], y, updates=graph_updates(y))
    use = pytensor.function([x], layer(x, training=False))
    mean, variance = np.zeros(D), np.ones(D)
    for _ in range(3):
        xv = rng.normal(size=shape) * 3 + 2
        rows = xv.reshape(-1, D)
        close(step(xv), gain * (xv - rows.mean(0)) / np.sqrt(rows.var(0) + 0.1) + b)
        mean = 0.8 * mean + 0.2 * rows.mean(0)
        variance = 0.8 * variance + 0.2 * rows.var(0, ddof=1)
        close(use(xv), gain * (xv - mean) / np.sqrt(variance + 0.1) + b)
    close(layer.running_mean.get_value(), mean)
    close(layer.running_variance.get_value(), variance)


# the numerical gradient


def gradient_cases():
    def dense(x, W, b):
        layer = Dense(D, 3, W=np.zeros((D, 3)))
        layer.W, layer.b = W, b
        return layer(x)

    def norm(make, **options):
        def of(x, gain, b):
            layer = make(D)
            layer.gain, layer.b = gain, b
            return layer(x, **options)

        return of

    wide, weights = [(T, B, D), (D, 3), (3,)], [(T, B, D), (D,), (D,)]
    return [
        pytest.param(dense, wide, id="dense"),
        pytest.param(norm(LayerNorm), weights, id="layer norm"),
        pytest.param(norm(BatchNorm, training=True), weights, id="batch norm"),
        pytest.param(norm(BatchNorm, training=True, mask=MASK), weights, id="with mask"),
        pytest.param(norm(BatchNorm, training=False), weights, id="at inference"),
    ]


@pytest.mark.parametrize(("layer", "shapes"), gradient_cases())
def test_gradients_equal_numerical_ones(layer, shapes, rng):
    values = [rng.normal(size=shape) for shape in shapes]
    verify_grad(layer, values, rng=rng, no_debug_ref=False, mode="FAST_COMPILE")


# dropout


def dropped(x, rate=0.5, seed=1, shared=False):
    """A function without arguments that draws masks at each call."""
    rng = np.random.default_rng(seed)
    return function([], Dropout(rate, rng=rng, shared_over_time=shared)(x, training=True))


def test_dropout_keeps_the_mean_and_leaves_out_its_part():
    y = dropped(pt.ones((100, 20, 10)), rate=0.3)()
    left_out = (y == 0).mean()
    assert left_out == pytest.approx(0.3, abs=0.02)  # six standard deviations
    assert y.mean() == pytest.approx(1.0, abs=0.03)
    close(y[y != 0], 1 / 0.7)


def test_dropout_draws_new_masks_at_each_call():
    draw = dropped(pt.ones((T, B, 50)))
    assert not np.array_equal(draw(), draw())


def test_dropout_with_the_same_seed_draws_the_same_masks():
    first, again, other = (dropped(pt.ones((T, B, 50)), seed=seed) for seed in (1, 1, 2))
    for _ in range(2):
        one = first()
        np.testing.assert_array_equal(one, again())
        assert not np.array_equal(one, other())


@pytest.mark.parametrize("shared_over_time", [False, True])
def test_only_a_mask_shared_over_time_is_equal_at_all_steps(shared_over_time):
    draw = dropped(pt.ones((6, 3, 50)), shared=shared_over_time)
    y, later = draw(), draw()
    same_over_time = [np.array_equal(y[0], y_t) for y_t in y[1:]]
    assert same_over_time == [shared_over_time] * 5
    assert not np.array_equal(y[:, 0], y[:, 1])  # sequences have masks of their own
    assert not np.array_equal(y, later)


def test_two_uses_of_a_dropout_in_one_graph_draw_two_masks():
    x, dropout = pt.ones((T, B, 50)), Dropout(0.5, rng=np.random.default_rng(1))
    first, second = function([], [dropout(x, training=True), dropout(x, training=True)])()
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("shared_over_time", [False, True])
def test_dropout_masks_the_gradient_as_it_masks_the_values(shared_over_time, rng):
    x = pt.tensor3("x")
    y, d = (
        Dropout(0.4, rng=rng, shared_over_time=shared_over_time)(x, training=True),
        rng.normal(size=(T, B, D)),
    )
    wanted = [y, pytensor.grad((y * d).sum(), x)]
    xv = rng.normal(size=(T, B, D))
    got_y, d_x = pytensor.function([x], wanted, updates=graph_updates(wanted))(xv)
    assert 0 < (got_y == 0).sum() < got_y.size
    close(d_x, d * got_y / xv)


def test_dropout_of_nothing_and_dropout_at_inference_are_x_itself(rng):
    x = pt.tensor3("x")
    assert Dropout(0.0, rng=rng)(x, training=True) is x
    assert Dropout(0.9, rng=rng)(x, training=False) is x
    assert Dropout(0.9, rng=rng, shared_over_time=True)(x, training=False) is x


def test_dropout_fits_between_stacked_cells(rng):
    x = pt.tensor3("x")
    cells, dropout = (
        [LinearCell(D, 8, rng=rng), LinearCell(8, 8, rng=rng)],
        Dropout(0.5, rng=rng, shared_over_time=True),
    )
    outputs, _ = stack(cells, x, between=lambda h: dropout(h, training=True))
    run = function([x], outputs)
    xv = rng.normal(size=(T, B, D))
    assert not np.array_equal(run(xv), run(xv))


# training and inference


def network(rng):
    """Layers of all kinds, applied to tokens in a training graph and in one for inference."""
    layers = [Embedding(5, D, rng=rng), Dense(D, 6, rng=rng), BatchNorm(6), LayerNorm(6)]
    embedding, dense, batch_norm, layer_norm = layers

    def graph(tokens, training):
        z = batch_norm(dense(embedding(tokens)), training=training)
        return Dropout(0.5, rng=rng)(layer_norm(z), training=training)

    return graph, layers


def test_a_graph_for_inference_has_no_random_numbers_and_no_updates(rng):
    graph, layers = network(rng)
    tokens = pt.lmatrix("tokens")
    at_inference = graph(tokens, training=False)
    assert graph_updates(at_inference) == {}
    assert not any(isinstance(op, RandomVariable) for op in ops(at_inference))
    predict = function([tokens], at_inference)
    assert not predict.maker.fgraph.update_mapping
    one, two = (predict(np.array([[1, 2], [3, 4]])) for _ in range(2))
    np.testing.assert_array_equal(one, two)

    in_training = graph(tokens, training=True)
    assert any(isinstance(op, RandomVariable) for op in ops(in_training))
    norm, updates = layers[2], graph_updates(in_training)
    assert {norm.running_mean, norm.running_variance} <= set(updates)
    assert len(updates) == 3  # and one generator


def test_training_and_inference_share_the_parameters_and_train_no_statistics(rng):
    graph, layers = network(rng)
    tokens = pt.lmatrix("tokens")
    params = [p for layer in layers for p in layer.params]
    in_training, at_inference = (graph(tokens, training=training) for training in (True, False))
    for y in (in_training, at_inference):
        assert set(params) <= set(ancestors([y]))
        pytensor.grad(y.sum(), params)  # raises if y does not depend on one of them
    statistics = {layers[2].running_mean, layers[2].running_variance}
    assert not statistics & set(params)
    assert not statistics & set(ancestors([in_training]))
    assert statistics <= set(ancestors([at_inference]))


def test_training_must_be_said_and_be_true_or_false(rng):
    x = pt.tensor3("x")
    for layer in (Dropout(0.5, rng=rng), BatchNorm(D)):
        with pytest.raises(TypeError, match="training"):
            layer(x)
        with pytest.raises(TypeError, match="positional argument"):
            layer(x, True)
        for wrong in (1, None, pt.scalar("training")):
            with pytest.raises(TypeError, match="but must be True or False"):
                layer(x, training=wrong)


def test_a_batch_norm_cannot_be_in_one_training_graph_twice():
    layer, x = BatchNorm(D), pt.tensor3("x")
    first = layer(x, training=True)
    assert set(graph_updates([first, layer(x, training=False)])) == {
        layer.running_mean,
        layer.running_variance,
    }
    with pytest.raises(ValueError, match=r"two next values in one graph.*another layer for each"):
        function([x], layer(first, training=True))


def test_batch_norm_in_use_treats_each_row_by_itself(rng):
    layer, x = BatchNorm(D), pt.tensor3("x")
    for p in (layer.running_mean, layer.running_variance):
        p.set_value(rng.uniform(0.5, 2, size=D))
    use = pytensor.function([x], layer(x, training=False))
    xv = rng.normal(size=(T, B, D))
    np.testing.assert_array_equal(use(xv)[1:2, :1], use(xv[1:2, :1]))


@pytest.mark.parametrize("mode", ["FAST_COMPILE", NO_REWRITES], ids=["FAST_COMPILE", "no rewrites"])
def test_batch_norm_in_training_refuses_a_batch_of_one_row(mode):
    layer, x, mask = BatchNorm(D), pt.tensor3("x"), pt.matrix("mask")
    y = layer(x, training=True, mask=mask)
    masked = function([x, mask], y, mode=mode)
    whole = function([x], layer(x, training=True), mode=mode)
    for n in (0, 1):
        with pytest.raises(ValueError, match="needs at least two rows"):
            whole(np.ones((n, 1, D)))
        with pytest.raises(ValueError, match="needs at least two rows"):
            masked(np.ones((3, 1, D)), np.array([[n], [0], [0]]))
    np.testing.assert_array_equal(layer.running_mean.get_value(), np.zeros(D))
    assert whole(np.ones((2, 1, D))).shape == (2, 1, D)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["bool", "int8", "float32"])
def test_padding_may_hold_nan(training, dtype, rng):
    layer, x, mask = BatchNorm(D), pt.tensor3("x"), pt.matrix("mask", dtype=dtype)
    y = layer(x, training=training, mask=mask)
    wanted = [y, *pytensor.grad((y**2).sum(), [x, *layer.params])]
    run = function([x, mask], wanted, mode=NO_REWRITES)
    xv = rng.normal(size=(T, B, D))
    xv[MASK == 0] = np.nan
    result = run(xv, MASK.astype(dtype))
    assert all(np.isfinite(a).all() for a in result)
    assert not result[0][MASK == 0].any()
    assert all(np.isfinite(p.get_value()).all() for p in layer.named_variables().values())


# names, dtypes, sizes


def test_weights_have_the_names_of_the_equations_and_of_the_layer(rng):
    made = [
        Dense(2, 3, rng=rng),
        Dense(2, 3, rng=rng, bias=False),
        Embedding(2, 3, rng=rng),
        LayerNorm(3),
    ]
    assert [[p.name for p in layer.params] for layer in made] == [
        ["W", "b"], ["W"], ["W"], ["gain", "b"],
    ]  # fmt: skip
    net = Module(output=made[0], layers=[made[2], made[3]], norm=BatchNorm(3))
    assert [p.name for p in net.params] == [
        "output.W", "output.b", "layers.0.W", "layers.1.gain", "layers.1.b", "norm.gain", "norm.b",
    ]  # fmt: skip
    assert [*net.named_variables()][-2:] == ["norm.running_mean", "norm.running_variance"]


@pytest.mark.parametrize("floatX", ["float32", "float64"])
@pytest.mark.parametrize("of_weights", ["float32", "float64"])
def test_the_weights_dtype_decides(of_weights, floatX, rng):
    with pytensor.config.change_flags(floatX=of_weights):
        layers = [Dense(D, 2, rng=rng), LayerNorm(D), BatchNorm(D), BatchNorm(D), BatchNorm(D)]
        embedding = Embedding(5, D, rng=rng)
    options = [{}, {}, {"training": False}, {"training": True}, {"training": True, "mask": MASK}]
    with pytensor.config.change_flags(floatX=floatX):
        assert embedding(MASK).dtype == of_weights
        for x in (pt.ftensor3("x"), pt.dtensor3("x")):
            for layer, keywords in zip(layers, options, strict=True):
                assert layer(x, **keywords).dtype == of_weights
                moved = graph_updates(layer(x, **keywords))
                assert {u.dtype for u in moved.values()} <= {of_weights}
            for shared_over_time in (False, True):
                y = Dropout(0.3, rng=rng, shared_over_time=shared_over_time)(x, training=True)
                assert y.dtype == x.dtype


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 1, 1), (None, 1, 1), (1, None, None)])
def test_sizes_of_one_known_in_advance_are_no_trouble(shape, rng):
    x, norm = pt.tensor("x", shape=shape), BatchNorm(1)
    xv = rng.normal(size=[3 if n is None else n for n in shape[:2]] + [1])
    y = [Dense(1, 1, rng=rng)(x), Dropout(0.5, rng=rng, shared_over_time=True)(x, training=True)]
    y.append(norm(x, training=xv.size > 1))
    wanted = [*y, *(pytensor.grad(v.sum(), x) for v in y)]
    for got in function([x], wanted)(xv):
        assert got.shape == xv.shape


# input validation


@pytest.mark.parametrize("mode", ["FAST_COMPILE", NO_REWRITES], ids=["FAST_COMPILE", "no rewrites"])
def test_tokens_that_are_not_in_the_vocabulary_are_refused(mode, rng):
    tokens = pt.lmatrix("tokens")
    function = pytensor.function([tokens], Embedding(5, D, rng=rng)(tokens), mode=mode)
    for wrong in (-1, 5):
        with pytest.raises(ValueError, match="a token id is below 0, or not below n_tokens"):
            function([[0, 1], [wrong, 4]])


@pytest.mark.parametrize("dtype", ["float64", "bool"])
def test_tokens_must_be_integers(dtype, rng):
    with pytest.raises(
        TypeError, match=f"the tokens have dtype {dtype}, .* token ids, whole numbers"
    ):
        Embedding(5, D, rng=rng)(pt.matrix("tokens", dtype=dtype))


def layers_with_features():
    rng = np.random.default_rng(0)
    return [
        pytest.param(Dense(D, 2, rng=rng), {}, id="dense"),
        pytest.param(LayerNorm(D), {}, id="layer norm"),
        pytest.param(BatchNorm(D), {"training": True}, id="batch norm"),
        pytest.param(BatchNorm(D), {"training": False}, id="batch norm at inference"),
    ]


@pytest.mark.parametrize(("layer", "options"), layers_with_features())
def test_a_wrong_input_is_refused(layer, options):
    with pytest.raises(ValueError, match=r"shape \(None, None, 7\), .* made for 4 features"):
        layer(pt.tensor("x", shape=(None, None, 7)), **options)
    with pytest.raises(ValueError, match="x has 0 axes, but must have at least"):
        layer(pt.scalar("x"), **options)
    with pytest.raises(TypeError, match=r"dtype int64, .* go through an Embedding"):
        layer(pt.ltensor3("x"), **options)
    with pytest.raises(TypeError, match=r"x is a HiddenState: .*state\.h"):
        layer(HiddenState(pt.matrix("h")), **options)
    x = pt.tensor3("x")
    function = pytensor.function([x], layer(x, **options))
    for n_features in (1, 3, 7):
        with pytest.raises(ValueError, match="does not have as many features as the layer is made"):
            function(np.ones((T, B, n_features)))


def test_batch_norm_needs_rows():
    with pytest.raises(ValueError, match="x has 1 axes, but must have at least 2"):
        BatchNorm(D)(pt.vector("x"), training=False)


def test_masks_that_do_not_fit_are_refused(rng):
    x, mask = pt.tensor3("x"), pt.matrix("mask")
    with pytest.raises(ValueError, match="the mask has 3 axes and x 3"):
        BatchNorm(D)(x, training=True, mask=pt.tensor3("mask"))
    function = pytensor.function([x, mask], BatchNorm(D)(x, training=True, mask=mask))
    xv = rng.normal(size=(T, B, D))
    for wrong in (MASK.T, MASK[:, :1], MASK[:2]):
        with pytest.raises(ValueError, match=r"the mask's shape is not \(time, batch\)"):
            function(xv, wrong)
    with pytest.raises(ValueError, match="other than 0 and 1"):
        function(xv, MASK * 0.5)


@pytest.mark.parametrize("rate", [-0.1, 1.0, np.nan])
def test_dropout_rates_must_be_below_one(rate, rng):
    with pytest.raises(ValueError, match=r"but must be in \[0, 1\)"):
        Dropout(rate, rng=rng)


def test_dropout_refuses_what_it_cannot_use(rng):
    with pytest.raises(TypeError, match="rng is None, but must be a generator"):
        Dropout(0.5, rng=None)
    for training in (True, False):
        with pytest.raises(ValueError, match="x has 2 axes, but a mask shared over time needs"):
            Dropout(0.5, rng=rng, shared_over_time=True)(pt.matrix("x"), training=training)
        with pytest.raises(TypeError, match="x has dtype int64"):
            Dropout(0.5, rng=rng)(pt.lmatrix("x"), training=training)


def test_settings_that_make_no_sense_are_refused(rng):
    for momentum in (0, -0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match=r"momentum is .*, but must be in \(0, 1\]"):
            BatchNorm(D, momentum=momentum)
    for make in (LayerNorm, BatchNorm):
        with pytest.raises(ValueError, match="epsilon is 0, but must be a positive number"):
            make(D, epsilon=0)
    with pytest.raises(ValueError, match=r"n_features is 1, but must be .* at least 2"):
        LayerNorm(1)
    for make in (Dense, Embedding):
        with pytest.raises(ValueError, match="must be a whole number, at least 1"):
            make(0, 3, rng=rng)
        with pytest.raises(ValueError, match="needs a generator: rng="):
            make(2, 3)
        with pytest.raises(ValueError, match=r"W has shape \(2, 3\), but its initial values"):
            make(2, 3, W=np.zeros((3, 2)))
    with pytest.raises(ValueError, match="must be a whole number, at least 1"):
        BatchNorm(0)


# numba


@pytest.mark.slow
@pytest.mark.numba
def test_numba_draws_new_masks_normalises_alike_and_refuses_unknown_tokens(rng):
    tokens = pt.lmatrix("tokens")
    embedding, norm = Embedding(40, D, rng=rng), BatchNorm(D)
    draw_weights(embedding, rng)
    y = norm(embedding(tokens), training=True, mask=MASK)
    wanted = [y, pytensor.grad((y**3).sum(), embedding.W), *graph_updates(y).values()]
    masked = Dropout(0.5, rng=rng, shared_over_time=True)(y + 1, training=True)
    generators = {v: new for v, new in graph_updates(masked).items() if v not in graph_updates(y)}
    fast = pytensor.function([tokens], [*wanted, masked], updates=generators, mode="NUMBA")
    values = rng.integers(0, 40, size=(T, B))
    *one, first = fast(values)
    draws = [first, *(fast(values)[-1] for _ in range(4))]
    assert len({str(draw != 0) for draw in draws}) > 1
    for got, expected in zip(one, pytensor.function([tokens], wanted)(values), strict=True):
        close(got, expected)
    with pytest.raises(ValueError, match="a token id is below 0, or not below n_tokens"):
        fast(values - 40)
