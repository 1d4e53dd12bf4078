import numpy as np
import pytensor
import pytensor.tensor as pt

from symrnn.compiling.warming import warm_up_functions


def test_warming_up_calls_each_function_three_times_and_restores_the_values():
    total, count = pytensor.shared(np.zeros(2)), pytensor.shared(5)
    x = pt.dvector("x")
    results = []
    add = pytensor.function([x], total + x, updates={total: total + x}, mode="FAST_COMPILE")
    tick = pytensor.function([], count, updates={count: count + 1}, mode="FAST_COMPILE")
    calls = [(lambda v: results.append(add(v)), [1.0, 2.0]), (lambda: results.append(tick()),)]
    warm_up_functions(calls, changed=[total, count])
    np.testing.assert_array_equal(results[::2], [[1, 2], [2, 4], [3, 6]])
    assert results[1::2] == [5, 6, 7]
    np.testing.assert_array_equal(total.get_value(), [0, 0])
    assert count.get_value() == 5
