"""Weights go to torch and Keras and back: outputs and gradients equal theirs."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from symrnn.interop import from_keras, from_torch, to_keras, to_torch
from symrnn.nn.cells import ElmanCell, GRUCell, LinearCell, LSTMCell
from symrnn.nn.recurrent import stack, unroll
from symrnn.nn.wrappers import LayerNormalised, Zoneout

FIXTURES = Path(__file__).parent / "fixtures"
TORCH = json.loads((FIXTURES / "torch_recurrent.json").read_text(encoding="utf-8"))
KERAS = json.loads((FIXTURES / "keras_recurrent.json").read_text(encoding="utf-8"))
D, H = 3, 2
KINDS = {"RNN": ElmanCell, "SimpleRNN": ElmanCell, "LSTM": LSTMCell, "GRU": GRUCell}


@pytest.fixture(autouse=True)
def _no_c():
    """Even FAST_COMPILE compiles the inside of a scan in C, which takes longer than a few steps."""
    with pytensor.config.change_flags(cxx=""):
        yield


def fixture_script(name):
    spec = importlib.util.spec_from_file_location(name, FIXTURES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rng():
    return np.random.default_rng(0)


def cells_like_torch(case):
    settings = case["settings"]
    n_directions = 1 + settings.get("bidirectional", False)
    more = {"activation": settings.get("nonlinearity", "tanh")} if case["module"] == "RNN" else {}

    def cell(layer):
        n_in = D if layer == 0 else H * n_directions
        return KINDS[case["module"]](n_in, H, rng=rng(), bias=settings.get("bias", True), **more)

    layers = range(settings.get("num_layers", 1))
    return [(cell(k), cell(k)) if n_directions == 2 else cell(k) for k in layers]


def cell_like_keras(case):
    settings, more = case["settings"], {}
    if case["layer"] == "SimpleRNN":
        activation = settings.get("activation", "tanh")
        if activation == "linear":
            return LinearCell(D, H, rng=rng())
        more["activation"] = activation
    if case["layer"] == "GRU":
        more["reset"] = "after" if settings["reset_after"] else "before"
    return KINDS[case["layer"]](D, H, rng=rng(), bias=settings.get("use_bias", True), **more)


def flat(cells):
    return [c for layer in cells for c in (layer if isinstance(layer, tuple) else (layer,))]


def parameters(cells):
    return [p for cell in flat(cells) for p in cell.params]


def values(cells):
    return [p.get_value() for p in parameters(cells)]


def assert_equal(got, expected, tolerance=1e-9):
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


def with_recurrent_bias(gradients):
    """Torch's gradients of both biases are equal, but for the part n of a GRU."""
    for name, value in gradients.items():
        if name.startswith("bias_hh"):
            n_summed = 2 * H if len(value) == 3 * H else None
            value[:n_summed] = gradients[name.replace("hh", "ih")][:n_summed]
    return gradients


@pytest.mark.parametrize(
    ("case", "implementation"),
    [
        pytest.param(case, implementation, id="-".join([*ids, implementation]))
        for case in TORCH["cases"]
        for ids in [
            (case["module"], *case["settings"].get("nonlinearity", "").split(), case["variant"])
        ]
        for implementation in ("kernel", *(["scan"] if case["variant"] == "plain" else []))
    ],
)
def test_outputs_states_and_gradients_equal_torch(case, implementation):
    cells = cells_like_torch(case)
    from_torch(cells, case["weights"])

    # torch has the initial states of all layers and directions in one array: (layers, batch, H)
    x, given = pt.tensor3("x"), [pt.tensor3("s_0") for _ in case["start"]]
    starts = [tuple(s[k] for s in given) for k in range(len(flat(cells)))]
    if case["settings"].get("bidirectional"):
        starts = list(zip(starts[::2], starts[1::2], strict=True))
    mask = None
    if case["lengths"]:
        mask = np.arange(len(case["x"]))[:, None] < case["lengths"]
    outputs, final = stack(
        cells,
        x,
        initial_state=starts if given else None,
        mask=mask,
        implementation=implementation,
    )
    if case["settings"].get("bidirectional"):
        final = [state for pair in final for state in pair]
    final = [pt.stack(states) for states in zip(*final, strict=True)]
    cost = (outputs * np.array(case["d_outputs"])).sum()
    cost += sum((s * np.array(d)).sum() for s, d in zip(final, case["d_final"], strict=True))
    gradients = pytensor.grad(cost, [x, *given, *parameters(cells)])
    function = pytensor.function([x, *given], [outputs, *final, *gradients])
    got_outputs, *rest = function(np.array(case["x"]), *map(np.array, case["start"]))
    got_final, (got_x, *rest) = rest[: len(final)], rest[len(final) :]
    got_start, got_weights = rest[: len(given)], rest[len(given) :]

    assert_equal(got_outputs, case["outputs"])
    assert_equal(got_final, case["final"])
    assert_equal(got_x, case["gradients"]["x"])
    assert_equal(got_start, case["gradients"]["start"])
    for parameter, gradient in zip(parameters(cells), got_weights, strict=True):
        parameter.set_value(gradient)
    by_name = with_recurrent_bias(to_torch(cells))
    assert list(by_name) == list(case["gradients"]["weights"])
    for name, expected in case["gradients"]["weights"].items():
        assert_equal(by_name[name], expected)


@pytest.mark.parametrize("case", KERAS["cases"], ids=lambda c: f"{c['layer']}-{c['settings']}")
def test_outputs_and_gradients_equal_keras(case):
    cell = cell_like_keras(case)
    from_keras(cell, case["weights"])
    x = pt.tensor3("x")
    outputs, _ = unroll(cell, x.transpose(1, 0, 2))
    outputs = outputs.transpose(1, 0, 2)
    gradients = pytensor.grad((outputs * np.array(case["d_outputs"])).sum(), [x, *cell.params])
    function = pytensor.function([x], [outputs, *gradients])
    got_outputs, got_x, *got_weights = function(np.array(case["x"]))

    assert_equal(got_outputs, case["outputs"])
    assert_equal(got_x, case["gradients"]["x"])
    for parameter, gradient in zip(cell.params, got_weights, strict=True):
        parameter.set_value(gradient)
    got = to_keras(cell)
    if len(got) == 3 and got[2].ndim == 2:  # both biases have the same gradient, but for n
        got[2][1, : 2 * H] = got[2][0, : 2 * H]
    for weight, expected in zip(got, case["gradients"]["weights"], strict=True):
        assert_equal(weight, expected)


def drawn(cells):
    """Give all weights other values, in their dtype, none of them 0 or 1."""
    random = np.random.default_rng(5)
    for p in parameters(cells):
        p.set_value(random.normal(size=p.get_value().shape).astype(p.dtype))
    return cells


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", TORCH["cases"], ids=lambda c: f"{c['module']}-{c['variant']}")
def test_weights_go_to_torch_and_back_unchanged(case, dtype):
    with pytensor.config.change_flags(floatX=dtype):
        cells, others = drawn(cells_like_torch(case)), cells_like_torch(case)
    theirs = to_torch(cells)
    shapes = {name: np.shape(weight) for name, weight in case["weights"].items()}
    assert {name: weight.shape for name, weight in theirs.items()} == shapes
    assert all(w.dtype == dtype and w.flags.c_contiguous for w in theirs.values())
    from_torch(others, theirs)
    for ours, back in zip(values(cells), values(others), strict=True):
        assert back.dtype == dtype
        np.testing.assert_array_equal(back, ours)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", KERAS["cases"], ids=lambda c: f"{c['layer']}-{c['settings']}")
def test_weights_go_to_keras_and_back_unchanged(case, dtype):
    with pytensor.config.change_flags(floatX=dtype):
        (cell,), other = drawn([cell_like_keras(case)]), cell_like_keras(case)
    theirs = to_keras(cell)
    assert [w.shape for w in theirs] == [np.shape(w) for w in case["weights"]]
    assert all(w.dtype == dtype and w.flags.c_contiguous for w in theirs)
    from_keras(other, theirs)
    for ours, back in zip(values([cell]), values([other]), strict=True):
        assert back.dtype == dtype
        np.testing.assert_array_equal(back, ours)


def test_what_is_returned_is_a_copy():
    cell = GRUCell(D, H, rng=rng())
    before = values([cell])
    for weight in [*to_torch([cell]).values(), *to_keras(cell)]:
        weight += 1
    for got, expected in zip(values([cell]), before, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_what_was_given_can_be_changed_afterwards():
    cell, weights = ElmanCell(D, H, rng=rng()), to_torch([a_drawn_elman_cell()])
    from_torch([cell], weights)
    before = values([cell])
    for weight in weights.values():
        weight += 1
    for got, expected in zip(values([cell]), before, strict=True):
        np.testing.assert_array_equal(got, expected)


def a_drawn_elman_cell():
    return drawn([ElmanCell(D, H, rng=rng())])[0]


class Tensor:
    """Like a tensor of torch: no array, but NumPy can make one of it."""

    def __init__(self, value):
        self.value = value

    def __array__(self, dtype=None, copy=None):
        return np.array(self.value, dtype=dtype)


def test_weights_may_be_anything_that_numpy_takes():
    weights, cell = to_torch([a_drawn_elman_cell()]), ElmanCell(D, H, rng=rng())
    from_torch([cell], {name: Tensor(w.astype("float32")) for name, w in weights.items()})
    np.testing.assert_array_equal(cell.W_x.get_value(), weights["weight_ih_l0"].T.astype("float32"))
    from_torch([cell], {name: w.round().astype(int) for name, w in weights.items()})
    np.testing.assert_array_equal(cell.W_h.get_value(), weights["weight_hh_l0"].T.round())


LSTM_WEIGHTS = to_torch(drawn([LSTMCell(D, H, rng=rng()), LSTMCell(H, H, rng=rng())]))


def two_lstms(**options):
    return [LSTMCell(D, H, rng=rng(), **options), LSTMCell(H, H, rng=rng(), **options)]


def without(*names):
    return {name: w for name, w in LSTM_WEIGHTS.items() if name not in names}


BOTH_WAYS = to_torch([(LSTMCell(D, H, rng=rng()), LSTMCell(D, H, rng=rng()))])
LAST = np.zeros(4 * H)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            without("bias_hh_l1"),
            r"missing are bias_hh_l1, surplus are none; .*bias=True or False",
        ),
        (
            without("weight_ih_l1", "weight_hh_l1", "bias_ih_l1", "bias_hh_l1"),
            "missing are weight_ih_l1.*one cell, or one pair, for each layer",
        ),
        (
            {f"rnn.{name}": w for name, w in LSTM_WEIGHTS.items()},
            r"surplus are rnn\.weight_ih_l0.*model\.rnn\.state_dict",
        ),
        (LSTM_WEIGHTS | {"weight_hr_l0": np.ones((1, H))}, r"missing are none.*\(proj_size\)"),
        (LSTM_WEIGHTS | {"bias_hh_l1": np.zeros(3 * H)}, r"bias_hh_l1 has shape \(6,\).* \(8,\)"),
        (LSTM_WEIGHTS | {"bias_hh_l1": LAST + np.nan}, "bias_hh_l1 are not all finite"),
        (LSTM_WEIGHTS | {"bias_hh_l1": LAST + 1j}, "bias_hh_l1 has dtype complex128"),
        (LSTM_WEIGHTS | {"bias_hh_l1": LAST.astype(str)}, "bias_hh_l1 has dtype <U"),
        (LSTM_WEIGHTS | {"bias_hh_l1": LAST.astype(object)}, "bias_hh_l1 has dtype object"),
        (
            {name: w.T for name, w in LSTM_WEIGHTS.items()},
            r"weight_ih_l0 has shape \(3, 8\), but the cells are nn\.LSTM\(3, 2, num_layers=2\), "
            r"where it has \(8, 3\): create the cells",
        ),
    ],
)
def test_a_state_dict_that_does_not_fit_changes_nothing(weights, message):
    cells = two_lstms()
    before = values(cells)
    with pytest.raises(ValueError, match=message):
        from_torch(cells, weights)
    for got, expected in zip(values(cells), before, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_other_mistakes_with_a_state_dict_are_explained():
    with pytest.raises(
        ValueError, match=r"surplus are bias_ih_l0.*; create the cells with the same bias=True"
    ):
        from_torch(two_lstms(bias=False), LSTM_WEIGHTS)
    with pytest.raises(
        ValueError, match=r"surplus are weight_ih_l0_reverse.* is a pair \(forward, back"
    ):
        from_torch([LSTMCell(D, H, rng=rng())], BOTH_WAYS)
    with pytest.raises(ValueError, match=r"nn\.GRU\(3, 2, num_layers=2\), where it has \(6, 3\)"):
        from_torch([GRUCell(D, H, rng=rng()), GRUCell(H, H, rng=rng())], LSTM_WEIGHTS)
    with pytest.raises(TypeError, match=r"of type list.*give module\.state_dict\(\)"):
        from_torch(two_lstms(), list(LSTM_WEIGHTS))
    cell = LSTMCell(H, H, rng=rng())
    same = to_torch([LSTMCell(H, H, rng=rng()), LSTMCell(H, H, rng=rng())])
    with pytest.raises(ValueError, match=r"a cell is in cells twice.*create one cell for each"):
        from_torch([cell, cell], same)


def test_numbers_too_large_for_the_cell_are_refused():
    with pytensor.config.change_flags(floatX="float32"):
        cell = ElmanCell(D, H, rng=rng())
    weights = to_torch([cell]) | {"bias_hh_l0": np.array([1e300, 0])}
    with pytest.raises(ValueError, match="bias_hh_l0 are not all finite in float32"):
        from_torch([cell], weights)
    with pytest.raises(ValueError, match="bias are not all finite in float32"):
        from_keras(cell, [*to_keras(cell)[:2], [1e300, 0]])


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (lambda: LinearCell(D, H, rng=rng()), r"LinearCell\(3, 2\) has no equivalent in torch"),
        (
            lambda: ElmanCell(D, H, rng=rng(), activation="sigmoid"),
            "activation='sigmoid'.*with tanh or relu",
        ),
        (lambda: LSTMCell(D, H, rng=rng(), peepholes=True), "peepholes=True.*without peepholes"),
        (lambda: LSTMCell(D, H, rng=rng(), gates="io"), "gates='io'.*all gates"),
        (lambda: GRUCell(D, H, rng=rng(), reset="before"), "reset='before'.*reset='after'"),
        (lambda: Zoneout(LSTMCell(D, H, rng=rng()), {}, rng=None), "Zoneout has no equivalent"),
        (lambda: LayerNormalised(LSTMCell(D, H, rng=rng())), "LayerNormalised has no equivalent"),
    ],
)
def test_cells_that_torch_does_not_have_are_refused(cell, message):
    with pytest.raises(ValueError, match=message):
        to_torch([cell()])
    with pytest.raises(ValueError, match=message):
        from_torch([cell()], {})


def test_layers_that_make_no_torch_module_are_refused():
    lstm = LSTMCell(D, H, rng=rng())
    for cells, message in [
        ([], "at least one layer"),
        ([(lstm, lstm), lstm], "all are alike"),
        ([(lstm,)], r"pairs \(forward, backward\)"),
        (
            [lstm, LSTMCell(D, H, rng=rng())],
            r"that of l1 is LSTMCell\(3, 2.* requires 2 inputs and 2",
        ),
        ([lstm, LSTMCell(H, 5, rng=rng())], "that of l1"),
        ([lstm, GRUCell(H, H, rng=rng())], r"that of l1 is GRUCell\(2, 2"),
        ([lstm, LSTMCell(H, H, rng=rng(), bias=False)], "that of l1 is .*bias=False"),
        ([(lstm, lstm), (LSTMCell(H, H, rng=rng()), lstm)], "that of l1 .* requires 4 inputs"),
        ([(lstm, LSTMCell(D, 4, rng=rng()))], "that of l0_reverse"),
        (
            [ElmanCell(D, H, rng=rng()), ElmanCell(H, H, rng=rng(), activation="relu")],
            "activation='relu'",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            to_torch(cells)
        with pytest.raises(ValueError, match=message):
            from_torch(cells, LSTM_WEIGHTS)
    with pytest.raises(TypeError, match=r"of type LSTMCell.* write \[cell\]"):
        to_torch(lstm)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (lambda w: w[:2], r"has 2 arrays, but keras\.layers\.GRU.* has 3.*use_bias"),
        (lambda w: [*w, *w], r"two cells, weights\[:3\] and weights\[3:\]"),
        (lambda w: [*w[:2], w[2][0]], r"bias has shape \(6,\).*reset='after'.*reset_after=True"),
        (lambda w: [w[0].T, *w[1:]], r"^kernel has shape \(6, 3\).* where it has \(3, 6\)"),
        (lambda w: [w[0], w[1][:, :4], w[2]], r"recurrent_kernel has shape \(2, 4\)"),
        (lambda w: [*w[:2], w[2] * np.inf], "bias are not all finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_keras_weights_that_do_not_fit_change_nothing(weights, message):
    cell = GRUCell(D, H, rng=rng())
    before = values([cell])
    with pytest.raises(ValueError, match=message):
        from_keras(cell, weights(to_keras(*drawn([GRUCell(D, H, rng=rng())]))))
    for got, expected in zip(values([cell]), before, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_cells_that_keras_does_not_have_are_refused():
    for cell, message in [
        (
            LSTMCell(D, H, rng=rng(), peepholes=True),
            "has no equivalent in Keras.*without peepholes",
        ),
        (LSTMCell(D, H, rng=rng(), gates="fo"), "gates='fo'"),
        (Zoneout(GRUCell(D, H, rng=rng()), {}, rng=None), "Zoneout has no equivalent"),
        ([GRUCell(D, H, rng=rng())], "one cell at a time"),
    ]:
        with pytest.raises(ValueError, match=message):
            to_keras(cell)
        with pytest.raises(ValueError, match=message):
            from_keras(cell, [])
    with pytest.raises(ValueError, match=r"has 3 arrays, but .*use_bias=False.* has 2"):
        from_keras(LSTMCell(D, H, rng=rng(), bias=False), to_keras(LSTMCell(D, H, rng=rng())))


def assert_alike(live, stored):
    """Compare what a fixture's script returns now with its file."""
    assert type(live) is type(stored)
    if isinstance(live, dict):
        assert list(live) == list(stored)
        for key in live:
            assert_alike(live[key], stored[key])
    elif isinstance(live, list) and any(isinstance(v, list | dict) for v in live):
        for one, other in zip(live, stored, strict=True):
            assert_alike(one, other)
    elif isinstance(live, list):
        assert_equal(live, stored, 1e-12)
    else:
        assert live == stored


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_torch_itself_still_gives_the_fixture_and_takes_our_weights():
    torch = pytest.importorskip("torch")
    script = fixture_script("torch_recurrent")
    assert_alike(script.everything()["cases"], TORCH["cases"])
    for case in TORCH["cases"]:
        module = getattr(torch.nn, case["module"])(D, H, **case["settings"], dtype=torch.float64)
        cells, others = cells_like_torch(case), cells_like_torch(case)
        from_torch(cells, module.state_dict())
        theirs = {name: torch.from_numpy(weight) for name, weight in to_torch(cells).items()}
        x = torch.tensor(case["x"], dtype=torch.float64)
        expected, _ = module(x)
        module.load_state_dict(theirs)
        assert_equal(module(x)[0].detach(), expected.detach(), 1e-12)
        from_torch(others, module.state_dict())
        for ours, back in zip(values(cells), values(others), strict=True):
            np.testing.assert_array_equal(back, ours)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_keras_itself_still_gives_the_fixture_and_takes_our_weights(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    script = fixture_script("keras_recurrent")
    assert_alike(script.everything()["cases"], KERAS["cases"])
    for case in KERAS["cases"]:
        layer = getattr(keras.layers, case["layer"])(H, **case["settings"])
        layer.build((None, None, D))
        (cell,), other = drawn([cell_like_keras(case)]), cell_like_keras(case)
        layer.set_weights(to_keras(cell))
        from_keras(other, layer.get_weights())
        for ours, back in zip(values([cell]), values([other]), strict=True):
            np.testing.assert_array_equal(back, ours.astype("float32"))
