import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode
from pytensor.gradient import verify_grad

from symrnn.nn.cells import HiddenState
from symrnn.training import losses


def evaluate(loss, *variables_and_values):
    variables, values = variables_and_values[::2], variables_and_values[1::2]
    return pytensor.function(list(variables), loss)(*values)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_squared_errors_equal_numpy(rng):
    y, t = pt.matrix("y"), pt.matrix("t")
    a, b = rng.normal(size=(2, 4, 3))
    assert evaluate(losses.sum_squared_error(y, t), y, a, t, b) == pytest.approx(
        ((a - b) ** 2).sum(), rel=1e-14
    )
    assert evaluate(losses.mean_squared_error(y, t), y, a, t, b) == pytest.approx(
        ((a - b) ** 2).mean(), rel=1e-14
    )


def test_binary_cross_entropy_equals_its_definition(rng):
    z, t = pt.vector("z"), pt.vector("t")
    logits, target = rng.normal(size=6) * 3, rng.integers(0, 2, size=6).astype(float)
    p = 1 / (1 + np.exp(-logits))
    expected = -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean()
    loss = losses.binary_cross_entropy(z, t)
    assert evaluate(loss, z, logits, t, target) == pytest.approx(expected, rel=1e-12)


def test_categorical_cross_entropy_equals_its_definition(rng):
    z, t = pt.tensor3("z"), pt.lmatrix("t")
    logits, target = rng.normal(size=(3, 2, 5)), rng.integers(0, 5, size=(3, 2))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = -np.log(np.take_along_axis(p, target[..., None], -1)).mean()
    loss = losses.categorical_cross_entropy(z, t)
    assert evaluate(loss, z, logits, t, target) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("a", [0.1, 0.5, 1.0])
def test_label_smoothing_is_the_cross_entropy_with_smoothed_targets(a, rng):
    z, t = pt.tensor3("z"), pt.lmatrix("t")
    logits, target = rng.normal(size=(3, 2, 5)) * 3, rng.integers(0, 5, size=(3, 2))
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    q = (1 - a) * np.eye(5)[target] + a / 5
    loss = losses.categorical_cross_entropy(z, t, label_smoothing=a)
    assert evaluate(loss, z, logits, t, target) == pytest.approx(
        -(q * log_p).sum(-1).mean(), rel=1e-12
    )
    mask = np.array([[1, 1], [1, 0], [0, 0]])
    masked = losses.categorical_cross_entropy(z, t, mask=mask, label_smoothing=a)
    logits[2] = np.nan
    assert evaluate(masked, z, logits, t, target) == pytest.approx(
        -(q * log_p).sum(-1)[mask == 1].mean(), rel=1e-12
    )


def test_a_smoothed_loss_is_lowest_at_the_smoothed_targets():
    z, a = pt.matrix("z"), 0.2
    loss = losses.categorical_cross_entropy(z, np.array([1, 3]), label_smoothing=a)
    q = (1 - a) * np.eye(4)[[1, 3]] + a / 4
    np.testing.assert_allclose(pytensor.function([z], pt.grad(loss, z))(np.log(q)), 0, atol=1e-15)


def test_label_smoothing_is_checked_and_keeps_the_dtype():
    z = pt.fmatrix("z")
    for wrong in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match=f"label_smoothing is {wrong}, but must be between"):
            losses.categorical_cross_entropy(z, np.array([1]), label_smoothing=wrong)
    assert losses.categorical_cross_entropy(z, np.array([1]), label_smoothing=0.1).dtype == z.dtype


def test_two_classes_equal_one_binary_unit(rng):
    z, t = pt.vector("z"), pt.lvector("t")
    logits, target = rng.normal(size=7), rng.integers(0, 2, size=7)
    one = losses.binary_cross_entropy(z, t)
    two = losses.categorical_cross_entropy(pt.stack([pt.zeros_like(z), z], axis=1), t)
    first, second = pytensor.function([z, t], [one, two])(logits, target)
    assert first == pytest.approx(second, rel=1e-12)


@pytest.mark.parametrize("logit", [-1000.0, 1000.0])
def test_cross_entropies_of_extreme_logits_are_finite(logit):
    z = pt.vector("z")
    for t in (0.0, 1.0):
        binary = losses.binary_cross_entropy(z, np.array([t]))
        both = losses.categorical_cross_entropy(
            pt.stack([pt.zeros_like(z), z], axis=1), np.array([int(t)])
        )
        out = pytensor.function([z], [binary, both, pt.grad(binary, z), pt.grad(both, z)])([logit])
        assert np.isfinite(np.concatenate([np.ravel(o) for o in out])).all()
        assert out[0] == pytest.approx(1000.0 if (logit > 0) != bool(t) else 0.0)
        assert out[0] == pytest.approx(float(out[1]))


def all_losses():
    real, bits = np.linspace(-1, 1, 12).reshape(3, 2, 2), np.arange(12).reshape(3, 2, 2) % 2.0
    return [
        pytest.param(losses.sum_squared_error, real, id="sum"),
        pytest.param(losses.mean_squared_error, real, id="mean"),
        pytest.param(losses.binary_cross_entropy, bits, id="binary"),
        pytest.param(
            losses.categorical_cross_entropy, np.array([[0, 1], [1, 0], [0, 0]]), id="categorical"
        ),
    ]


@pytest.mark.parametrize(("loss", "target"), all_losses())
def test_gradients_are_right_with_and_without_mask(loss, target, rng):
    y = rng.normal(size=(3, 2, 2))
    mask = np.array([[1.0, 1], [1, 0], [0, 0]])
    verify_grad(lambda y: loss(y, target), [y], rng=rng)
    verify_grad(lambda y: loss(y, target, mask=mask), [y], rng=rng)


@pytest.mark.parametrize(("loss", "target"), all_losses())
def test_a_masked_element_is_left_out_even_if_it_is_nan(loss, target, rng):
    y = pt.tensor3("y")
    values = rng.normal(size=(3, 2, 2))
    values[2] = np.nan
    mask = np.array([[True, True], [True, True], [False, False]])
    masked, whole = loss(y, target, mask=mask), loss(y[:2], target[:2])
    wanted = [masked, whole, pt.grad(masked, y)]
    a, b, gradient = pytensor.function([y], wanted, mode=Mode("py", None))(values)  # no rewrites
    assert a == pytest.approx(float(b), rel=1e-12)
    assert np.isfinite(gradient[:2]).all()
    assert not gradient[2].any()


@pytest.mark.parametrize(("loss", "target"), all_losses())
def test_a_mask_of_zeros_gives_zero(loss, target):
    y = pt.tensor3("y")
    assert evaluate(loss(y, target, mask=np.zeros((3, 2))), y, np.ones((3, 2, 2))) == 0


@pytest.mark.parametrize(
    "loss", [losses.sum_squared_error, losses.mean_squared_error, losses.binary_cross_entropy]
)
def test_shapes_that_would_broadcast_are_refused(loss):
    y, t = pt.matrix("y"), pt.matrix("t")
    function = pytensor.function([y, t], loss(y, t))
    with pytest.raises(ValueError, match="prediction and target differ in shape"):
        function(np.ones((4, 3)), np.ones((4, 1)))
    with pytest.raises(ValueError, match="2 axes and the target 1: reshape"):
        loss(y, pt.vector("t"))


def test_samples_first_input_gets_a_hint():
    y, t = pt.vector("y"), pt.vector("t")
    with pytest.raises(ValueError, match=r"put time first, with X\.T"):
        evaluate(losses.sum_squared_error(y, t), y, np.ones(10), t, np.ones(20))


def test_a_state_is_not_a_prediction():
    with pytest.raises(TypeError, match=r"is a HiddenState: take one of its fields.*state\.h"):
        losses.mean_squared_error(HiddenState(pt.matrix("h")), pt.matrix("t"))


def test_categorical_targets_must_be_classes():
    z, t = pt.matrix("z"), pt.lvector("t")
    function = pytensor.function([z, t], losses.categorical_cross_entropy(z, t))
    for target in ([0, 3], [-1, 0], [0, 1, 2]):
        with pytest.raises(ValueError, match=r"number of classes|differ in their leading axes"):
            function(np.ones((2, 3)), np.array(target))
    with pytest.raises(TypeError, match="use an integer array"):
        losses.categorical_cross_entropy(z, pt.vector("t"))
    with pytest.raises(ValueError, match="one axis more"):
        losses.categorical_cross_entropy(z, pt.lmatrix("t"))


def test_masks_of_another_shape_are_refused():
    y, mask = pt.matrix("y"), pt.vector("mask")
    loss = losses.mean_squared_error(y, np.ones((4, 3)), mask=mask)
    with pytest.raises(ValueError, match="leading axes"):
        evaluate(loss, y, np.ones((4, 3)), mask, np.ones(3))
    with pytest.raises(ValueError, match="the mask has 3 axes and the target 2"):
        losses.mean_squared_error(y, y, mask=pt.tensor3("mask"))


def test_padding_targets_need_not_be_classes_where_the_mask_is_zero(rng):
    z, target, mask = pt.matrix("z"), np.array([2, 0, -1]), np.array([1, 1, 0])
    masked = losses.categorical_cross_entropy(z, target, mask=mask)
    whole = losses.categorical_cross_entropy(z[:2], target[:2])
    a, b = pytensor.function([z], [masked, whole])(rng.normal(size=(3, 3)))
    assert a == pytest.approx(float(b), rel=1e-12)


def test_binary_targets_must_lie_between_0_and_1():
    z, t = pt.vector("z"), pt.vector("t")
    function = pytensor.function([z, t], losses.binary_cross_entropy(z, t))
    for wrong in (5.0, -0.1, np.nan):
        with pytest.raises(ValueError, match="not between 0 and 1"):
            function([1.0], [wrong])


def test_integer_targets_do_not_change_the_dtype_of_a_loss():
    y, t = pt.fvector("y"), pt.lvector("t")
    for loss in (losses.sum_squared_error, losses.mean_squared_error, losses.binary_cross_entropy):
        assert loss(y, t).dtype == "float32"
        assert loss(y, t, mask=np.ones(3)).dtype == "float32"
