import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from symrnn.nn import initializers
from symrnn.nn.module import check_parameters, parameter, zeros_like

MATRICES = ["xavier_normal", "xavier_uniform", "he_normal", "orthogonal", "identity"]
ALL = ["normal", "uniform", "zeros", *MATRICES]


@pytest.mark.parametrize("name", ALL)
def test_same_seed_gives_the_same_values(name):
    make = getattr(initializers, name)
    first, second = (make(np.random.default_rng(3), (4, 5)) for _ in range(2))
    assert first.shape == (4, 5)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("name", "options", "std"),
    [
        ("normal", {"std": 0.5}, 0.5),
        ("uniform", {"low": -0.3, "high": 0.3}, 0.3 / np.sqrt(3)),
        ("xavier_normal", {}, np.sqrt(2 / 700)),
        ("xavier_uniform", {}, np.sqrt(2 / 700)),
        ("he_normal", {}, np.sqrt(2 / 300)),
    ],
)
def test_random_values_have_mean_zero_and_the_stated_spread(name, options, std):
    values = getattr(initializers, name)(np.random.default_rng(0), (300, 400), **options)
    assert abs(values.mean()) < 4 * std / np.sqrt(values.size)
    assert values.std() == pytest.approx(std, rel=0.01)


def test_xavier_uniform_stays_within_its_limit():
    values = initializers.xavier_uniform(np.random.default_rng(0), (30, 40))
    assert 0.9 * np.sqrt(6 / 70) < np.abs(values).max() <= np.sqrt(6 / 70)


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3)])
def test_orthogonal_has_equal_singular_values(shape):
    values = initializers.orthogonal(np.random.default_rng(0), shape, gain=1.5)
    np.testing.assert_allclose(np.linalg.svd(values, compute_uv=False), 1.5, rtol=1e-12)


def test_orthogonal_makes_every_rotation_and_reflection_equally_likely():
    rng = np.random.default_rng(0)
    ones = [initializers.orthogonal(rng, (1, 1)).item() for _ in range(200)]
    assert 70 < sum(v > 0 for v in ones) < 130  # LAPACK alone has a sign of its own
    diagonals = np.array([np.diag(initializers.orthogonal(rng, (3, 3))) for _ in range(500)])
    np.testing.assert_allclose(diagonals.mean(axis=0), 0, atol=0.11)  # four standard deviations


def test_identity_passes_on_what_it_gets():
    np.testing.assert_array_equal(initializers.identity(None, (2, 3)), [[1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("shape", [(4,), (2, 3, 4), (0, 3)])
def test_matrix_initializers_refuse_other_shapes(name, shape):
    with pytest.raises(ValueError, match=r"matrices of shape \(n_in, n_out\)"):
        getattr(initializers, name)(np.random.default_rng(0), shape)


def test_parameter_has_name_shape_and_floatx():
    for dtype in ("float32", "float64"):
        with pytensor.config.change_flags(floatX=dtype):
            W = parameter("W", (2, 3), initializers.normal, rng=np.random.default_rng(0))
        assert (W.name, W.dtype, W.get_value().shape) == ("W", dtype, (2, 3))


def test_parameter_holds_a_copy():
    values = np.ones((2, 2))
    W = parameter("W", (2, 2), values)
    values[:] = 7
    np.testing.assert_array_equal(W.get_value(), 1)


@pytest.mark.parametrize(
    ("shape", "initial", "message"),
    [
        ((2, 3), np.ones((3, 2)), r"W has shape \(2, 3\), but its initial values .* \(3, 2\)"),
        ((2, 3), initializers.normal, "needs a generator: rng="),
        ((2, 0), np.ones((2, 0)), "every size must be at least 1"),
        ((1,), [np.nan], "not all finite"),
    ],
)
def test_parameter_refuses_what_does_not_fit(shape, initial, message):
    with pytest.raises(ValueError, match=message):
        parameter("W", shape, initial)


def test_zeros_like_keeps_dtype_and_static_shape():
    parameter = pytensor.shared(np.ones((1, 2), dtype="float32"), name="W", shape=(1, None))
    memory = zeros_like(parameter, "memory")
    assert memory.type == parameter.type
    assert memory.name == "memory"
    assert not memory.get_value().any()


def test_check_parameters_says_what_is_wrong():
    w = pytensor.shared(np.zeros(2), name="w")
    assert check_parameters((w,)) == [w]
    with pytest.raises(TypeError, match=r"write \[w\]"):
        check_parameters(w)
    with pytest.raises(ValueError, match="params is empty"):
        check_parameters([])
    with pytest.raises(ValueError, match="w is in params twice"):
        check_parameters([w, w])
    with pytest.raises(TypeError, match=r"make it with pytensor\.shared"):
        check_parameters([pt.vector("v")])
    with pytest.raises(TypeError, match=r"make it with pytensor\.shared"):
        check_parameters([np.zeros(2)])
    with pytest.raises(TypeError, match="k has dtype int64"):
        check_parameters([pytensor.shared(np.zeros(2, dtype="int64"), name="k")])
