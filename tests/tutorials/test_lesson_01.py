"""Lesson 1: every value that it prints, against plain NumPy loops."""

from functools import cache

import matplotlib.pyplot as plt
import numpy as np
from conftest import load_lesson

lesson = load_lesson("01")


@cache
def result(part):
    """Run one part of the lesson, once for all tests."""
    return getattr(lesson, part)()


def loop(step, state, sequence):
    """Collect the state after each step of a plain loop."""
    states = []
    for value in sequence:
        state = step(value, state)
        states.append(state)
    return np.array(states)


def test_warm_up_doubling_agrees_with_a_plain_loop():
    expected = loop(lambda _, prior: prior * 2, 5.0, range(3))
    np.testing.assert_array_equal(expected, [10, 20, 40])
    np.testing.assert_array_equal(result("warm_up_doubling")["scan"], expected)
    np.testing.assert_array_equal(result("warm_up_doubling")["loop"], expected)


def test_a_literal_start_is_an_8_bit_integer_that_wraps_around():
    wrong = result("warm_up_doubling")["literal_start"]
    assert wrong.dtype == np.int8
    expected = loop(
        lambda _, prior: prior * np.int8(2), np.array(5, ndmin=1, dtype=np.int8), "1234567"
    )
    np.testing.assert_array_equal(wrong, expected[:, 0])


def test_warm_up_sequence_agrees_with_a_plain_loop():
    run = result("warm_up_sequence")
    expected = loop(lambda x, prior: x + prior * 2, run["start"], run["sequence"])
    np.testing.assert_array_equal(expected, [[2, 1], [4, 3], [9, 7]])
    np.testing.assert_array_equal(run["scan"], expected)
    np.testing.assert_array_equal(run["loop"], expected)


def test_swapped_arguments_double_the_sequence_without_an_error():
    run = result("warm_up_sequence")
    expected = loop(lambda x, prior: prior + x * 2, run["start"], run["sequence"])
    np.testing.assert_array_equal(run["swapped"], expected)


def test_fn_gets_sequences_then_past_outputs_then_non_sequences():
    names = ["a[t-1]", "a[t+1]", "b[t]", "y[t-2]", "y[t-1]", "z[t-1]", "w"]
    assert result("order_of_arguments")["names"] == names


def test_fn_is_called_once():
    assert result("order_of_arguments")["calls"] == 1


def test_too_few_parameters_of_fn_are_an_error():
    assert result("order_of_arguments")["too_few"].startswith("TypeError: takes 1 positional")


def test_scan_walks_along_the_first_axis():
    run = result("one_sequence")
    samples = np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    np.testing.assert_array_equal(run["tenfold"], [10 * v for v in [1, 2, 3]])
    np.testing.assert_array_equal(run["time_first"], np.cumsum(samples, axis=1).T)
    np.testing.assert_array_equal(run["samples_first"], np.cumsum(samples, axis=0))


def test_sequences_of_different_lengths_are_cut_to_the_shortest():
    run = result("several_sequences")
    np.testing.assert_array_equal(
        run["products"], [a * b for a, b in zip([1, 2, 3], [10, 20, 30], strict=True)]
    )
    np.testing.assert_array_equal(
        run["shortest"], [a * b for a, b in zip([1, 2, 3], [10, 20], strict=False)]
    )


def test_taps_of_a_sequence_come_in_their_listed_order():
    run = result("sequence_taps")
    np.testing.assert_array_equal(run["differences"], np.diff([1, 2, 4, 8]))
    np.testing.assert_array_equal(run["swapped"], -np.diff([1, 2, 4, 8]))


def test_a_sequence_without_taps_is_not_lined_up_with_past_taps():
    run, x = result("sequence_taps"), [1, 2, 4, 8]
    np.testing.assert_array_equal(run["unlined"], [[x[t - 1], x[t + 1], x[t - 1]] for t in (1, 2)])
    np.testing.assert_array_equal(run["lined_up"], [[x[t - 1], x[t + 1], x[t]] for t in (1, 2)])


def test_the_output_does_not_hold_the_start():
    run = result("start_of_a_state")
    expected = loop(lambda x, prior: prior + x, 100.0, [1, 2, 3])
    np.testing.assert_array_equal(run["sums"], expected)
    np.testing.assert_array_equal(run["with_start"], [100, *expected])


def test_a_start_of_another_type_is_refused():
    run = result("type_and_shape_of_the_start")
    assert run["integer"].startswith("ValueError: has dtype int8")
    assert run["single"].startswith("ValueError: has dtype float32")


def test_a_start_of_static_width_1_is_refused():
    run = result("type_and_shape_of_the_start")
    assert run["narrow"].startswith("TypeError: have type 'Vector(float64, shape=(1,))'")


def test_a_start_that_takes_its_width_from_the_data_may_be_1_wide():
    one_column = result("type_and_shape_of_the_start")["one_column"]
    np.testing.assert_array_equal(one_column, np.cumsum([[1.0], [2.0]], axis=0))


def test_an_output_marked_none_is_not_fed_back():
    run = result("fed_back_or_not")
    sums = loop(lambda x, prior: prior + x, 0.0, [1, 2, 3])
    np.testing.assert_array_equal(run["sums"], sums)
    np.testing.assert_array_equal(run["scaled"], 10 * sums)


def test_an_output_fed_back_by_mistake_takes_the_place_of_a_default_value():
    scaled, total, expected = 0.0, 0.0, []
    for x in [1, 2, 3]:
        total = total + x
        scaled = scaled * total
        expected.append(scaled)
    np.testing.assert_array_equal(result("fed_back_or_not")["replaced"], expected)


def test_a_wrong_outputs_info_is_an_error():
    one_too_many, one_missing, left_out = result("fed_back_or_not")["errors"]
    assert one_too_many.startswith("TypeError: takes 3 positional arguments but 4")
    assert one_missing == "TypeError: missing 1 required positional argument: 'c'"
    assert left_out.startswith("ValueError: Please provide None")


def test_taps_of_an_output_reach_back_two_steps():
    run, numbers, wave = result("output_taps"), [0, 1], [0, 1]
    for _ in range(6):
        numbers.append(numbers[-1] + numbers[-2])
        wave.append(wave[-1] - wave[-2])
    np.testing.assert_array_equal(run["fibonacci"], numbers[2:])
    np.testing.assert_array_equal(run["wave"], wave[2:])


def test_the_wrong_tap_of_an_output_is_silent():
    wrong = [0, 1]
    for _ in range(6):
        wrong.append(wrong[-2] - wrong[-1])
    np.testing.assert_array_equal(result("output_taps")["wrong_tap"], wrong[2:])


def test_a_tap_of_zero_on_an_output_is_an_error():
    assert result("output_taps")["tap_zero"].startswith("ValueError: All the tap values")


def test_a_listed_shared_variable_is_used_in_each_step():
    expected = loop(lambda x, prior: x + 0.5 * prior, 0.0, [1, 1, 1])
    np.testing.assert_array_equal(result("non_sequences_and_strict")["states"], expected)


def test_strict_names_the_forgotten_shared_variable():
    assert result("non_sequences_and_strict")["forgotten"] == "MissingInputError: weight"


def test_a_plain_variable_from_outside_must_be_an_input_of_the_function():
    no_input = result("non_sequences_and_strict")["no_input"]
    assert no_input == "MissingInputError: (factor) ... was not provided"


def test_n_steps_can_be_chosen_at_run_time():
    run = result("number_of_steps")
    np.testing.assert_array_equal(run["three"], [5 * 2**k for k in (1, 2, 3)])
    np.testing.assert_array_equal(run["five"], [5 * 2**k for k in (1, 2, 3, 4, 5)])


def test_the_last_value_of_no_steps_is_the_start():
    run = result("number_of_steps")
    assert run["none"].shape == (0,)
    assert run["last_of_none"] == 5


def test_too_many_steps_and_no_steps_given_are_errors():
    nothing, too_long = result("number_of_steps")["errors"]
    assert nothing.startswith("ValueError: No information about the number of steps")
    assert too_long.startswith("ValueError: Sequence 0 has shape (3,)")


def test_go_backwards_does_not_flip_the_output():
    run = result("backwards")
    expected = loop(lambda x, later: later + x, 0.0, [3, 2, 1])
    np.testing.assert_array_equal(run["raw"], expected)
    np.testing.assert_array_equal(run["aligned"], [sum([1, 2, 3][t:]) for t in range(3)])


def test_until_keeps_the_step_that_met_the_condition():
    state, expected = 5, []
    while state <= 30:
        state = state * 2
        expected.append(state)
    np.testing.assert_array_equal(result("until_loop")["right"], expected)


def test_until_on_the_old_state_runs_one_step_longer():
    state, expected, going = 5, [], True
    while going:
        going = not state > 30
        state = state * 2
        expected.append(state)
    np.testing.assert_array_equal(result("until_loop")["late"], expected)


def test_a_bare_condition_stops_nothing():
    run = result("until_loop")
    expected = np.array([5 * 2**k for k in range(1, 7)])
    np.testing.assert_array_equal(run["endless"], expected)
    np.testing.assert_array_equal(run["flags"], expected > 30)


def test_a_flat_return_with_until_and_a_python_if_are_errors():
    flat, python_if = result("until_loop")["errors"]
    assert flat == "ValueError: Scan cannot parse the return value"
    assert python_if.startswith("TypeError: TensorVariable cannot be converted")


def test_two_states_are_computed_from_the_old_values():
    a, b, expected = 0, 1, []
    for _ in range(6):
        a, b = b, a + b
        expected.append((a, b))
    np.testing.assert_array_equal(result("several_outputs")["a"], [a for a, _ in expected])
    np.testing.assert_array_equal(result("several_outputs")["b"], [b for _, b in expected])


def test_minus_one_on_the_list_is_the_last_output_and_not_the_last_step():
    run = result("several_outputs")
    np.testing.assert_array_equal(run["series"], [10, 20, 30])
    assert run["last"] == 30


def test_a_list_of_outputs_is_no_array_and_a_bare_output_no_list():
    assert result("several_outputs")["twice"] == 2
    assert result("several_outputs")["bare"].startswith("ValueError: Length of")


def test_a_carried_generator_goes_on_from_call_to_call():
    run, draw = result("random_numbers"), np.random.default_rng(1).normal
    np.testing.assert_allclose(run["first"], np.cumsum([draw() for _ in range(3)]))
    np.testing.assert_allclose(run["second"], np.cumsum([draw() for _ in range(3)]))
    assert not np.array_equal(run["first"], run["second"])


def test_a_generator_without_updates_repeats_itself():
    first, second = result("random_numbers")["stuck"]
    np.testing.assert_array_equal(first, second)


def test_a_generator_among_the_non_sequences_repeats_itself_in_each_step():
    steps = result("random_numbers")["same_steps"]
    np.testing.assert_allclose(steps, steps[0])
    assert abs(steps[0]) > 1e-6


def test_the_seed_decides_the_random_walk():
    again = lesson.random_numbers(seed=2)["first"]
    np.testing.assert_allclose(again, np.cumsum(np.random.default_rng(2).normal(size=3)))
    assert not np.array_equal(again, result("random_numbers")["first"])


def numeric_gradient(cost, at, eps=1e-6):
    """Central differences of a function of one vector."""
    return np.array([(cost(at + e) - cost(at - e)) / (2 * eps) for e in eps * np.eye(len(at))])


def test_the_gradient_of_a_scan_agrees_with_central_differences():
    run, x = result("gradients"), np.array([1.0, 2.0, 3.0, 4.0])

    def states(a, x):
        return loop(lambda value, prior: a * prior + value, 0.0, x)

    np.testing.assert_allclose(
        run["grad_x"], numeric_gradient(lambda v: states(0.5, v)[-1], x), atol=1e-8
    )
    np.testing.assert_allclose(
        run["sum_x"], numeric_gradient(lambda v: states(0.5, v).sum(), x), atol=1e-8
    )
    by_a = numeric_gradient(lambda v: states(v[0], x)[-1], np.array([0.5]))
    np.testing.assert_allclose(run["grad_a"], by_a[0], atol=1e-8)
    np.testing.assert_allclose(run["hand_a"], by_a[0], atol=1e-8)
    np.testing.assert_allclose(run["hand_x"], run["grad_x"])


def test_truncation_counts_from_the_end_of_the_series():
    run, kept = result("gradients"), np.array([0, 0, 1, 1])
    np.testing.assert_allclose(run["short_x"], run["grad_x"] * kept)
    np.testing.assert_allclose(run["short_sum_x"], run["sum_x"] * kept)


def test_the_gradient_of_a_vector_is_an_error():
    assert result("gradients")["vector"] == "TypeError: Cost must be a scalar"


def test_each_note_finds_its_line_in_the_printed_graph():
    run = result("read_the_graph")
    assert run["notes_left"] == []
    assert "Inner graphs:" in run["graph"]


def test_the_inputs_of_scan_are_steps_sequence_buffer_and_non_sequence():
    branch = " │  ├─ ", " │  └─ "
    lines = result("read_the_graph")["graph"].splitlines()
    inputs = [line[7:].split(" [id")[0] for line in lines if line.startswith(branch)]
    assert inputs == ["Subtensor{i}", "Subtensor{:stop}", "SetSubtensor{:stop}", "factor"]


def test_the_figure_is_900_pixels_wide_or_more(tmp_path):
    path = lesson.draw_unrolled(result("warm_up_sequence"), tmp_path)
    plt.close("all")
    assert path == tmp_path / "01_scan_unrolled.png"
    height, width, _ = plt.imread(path).shape
    assert width >= 900
    assert height < width


def test_main_prints_every_part_and_writes_the_figure(tmp_path, capsys):
    lesson.main(figures=str(tmp_path), quick=True)
    printed = capsys.readouterr().out
    headings = [line for line in printed.splitlines() if line[:1].isdigit()]
    assert [int(line.split(".")[0]) for line in headings] == list(range(1, 20))
    assert "[10., 20., 40.]" in printed
    assert "[[2., 1.], [4., 3.], [9., 7.]]" in printed
    assert "no error in this version" not in printed
    assert [file.name for file in (tmp_path / "quick").iterdir()] == ["01_scan_unrolled.png"]
