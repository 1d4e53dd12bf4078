import copy
import pickle
from typing import NamedTuple

import numpy as np
import pytensor
import pytest

from symrnn.nn.cells import ElmanCell, GRUCell, LSTMCell
from symrnn.nn.layers import BatchNorm, Dense, Dropout, Embedding
from symrnn.nn.module import Module, check_parameters, parameter
from symrnn.nn.states import CarriedState, learned_initial_state
from symrnn.nn.wrappers import LayerNormalised, VariationalDropout, Zoneout


@pytest.fixture
def rng():
    return np.random.default_rng(1)


class Pair(NamedTuple):
    first: object
    second: object


def weight(name="w", *shape):
    return parameter(name, shape, np.zeros(shape))


class Encoder(Module):
    def __init__(self, rng):
        self.layers = [LSTMCell(2, 3, rng=rng), (GRUCell(3, 2, rng=rng), GRUCell(3, 2, rng=rng))]
        self.by_name = {"a": Dense(2, 2, rng=rng), "b": [weight()]}
        self.start = learned_initial_state(self.layers[0])


def test_weights_are_found_through_lists_tuples_and_dictionaries_in_order(rng):
    names = [*Module(encoder=Encoder(rng)).named_params()]
    assert names == [
        "encoder.layers.0.W_x", "encoder.layers.0.W_h", "encoder.layers.0.b",
        "encoder.layers.1.0.W_x", "encoder.layers.1.0.W_h", "encoder.layers.1.0.b",
        "encoder.layers.1.0.b_hn",
        "encoder.layers.1.1.W_x", "encoder.layers.1.1.W_h", "encoder.layers.1.1.b",
        "encoder.layers.1.1.b_hn",
        "encoder.by_name.a.W", "encoder.by_name.a.b", "encoder.by_name.b.0",
        "encoder.start.h", "encoder.start.c",
    ]  # fmt: skip


def test_variables_are_called_by_where_they_hang(rng):
    net = Module(encoder=Encoder(rng), output=Dense(4, 1, rng=rng))
    assert [w.name for w in net.params] == [*net.named_params()]
    assert net.encoder.layers[0].name == "encoder.layers.0"
    assert net.name == ""
    assert [*net.encoder.layers[0].named_params()] == ["W_x", "W_h", "b"]
    assert net.encoder.layers[0].W_x.name == "encoder.layers.0.W_x"  # asking did not rename it


def test_a_new_part_is_named_at_once_and_a_grown_list_when_it_is_asked_for(rng):
    net = Module(body=Module(layers=[]))
    net.body.output = Dense(2, 1, rng=rng)
    assert net.body.output.W.name == "body.output.W"
    net.body.layers.append(Dense(2, 2, rng=rng))
    assert [w.name for w in net.params][:2] == ["body.layers.0.W", "body.layers.0.b"]


def test_a_weight_used_twice_appears_once_under_its_first_name(rng):
    shared = Dense(2, 2, rng=rng)
    net = Module(first=shared, second=shared, third=shared.W)
    assert [*net.named_params()] == ["first.W", "first.b"]
    assert net.n_params == 6
    assert shared.W.name == "first.W"


def test_equal_names_at_the_same_depth_cannot_collide(rng):
    net = Module(a=LSTMCell(1, 2, rng=rng), b=LSTMCell(1, 2, rng=rng))
    assert len({w.name for w in net.params}) == 6


def test_private_attributes_integers_statistics_and_other_objects_are_not_trained(rng):
    net = Module(
        norm=BatchNorm(2),
        steps=pytensor.shared(0, name="t"),
        carried=CarriedState(LSTMCell(1, 2, rng=rng), 3),
        dropout=Dropout(0.5, rng=rng),
        nothing=None,
    )
    net._cache = weight("cache")
    assert (net._cache.name, net.steps.name) == ("cache", "t")
    assert [*net.named_params()] == ["norm.gain", "norm.b"]
    assert [*net.named_variables()] == [
        "norm.gain", "norm.b", "norm.running_mean", "norm.running_variance",
    ]  # fmt: skip


def test_a_module_that_knows_its_parent_is_walked_once(rng):
    net = Module(child=Module(w=weight()))
    net.child.parent = net
    assert [*net.named_params()] == ["child.w"]
    assert repr(net) == "Module: 1 weights\n  child: Module\n    w ()"
    assert (net.name, net.child.name, net.child.w.name) == ("", "child", "child.w")


def test_wrappers_for_training_leave_the_names_of_a_model_alone(rng):
    net = Module(cells=[LSTMCell(1, 2, rng=rng)])
    for wrapped in (
        VariationalDropout(net.cells[0], 0.5, rng=rng),
        Zoneout(net.cells[0], {"h": 0.5}, rng=rng),
    ):
        assert net.cells[0].W_x.name == "cells.0.W_x"
        assert (len(wrapped.params), wrapped.n_hidden) == (3, 2)
        assert net.cells[0].W_x.name == "cells.0.W_x"
        assert wrapped.params == net.params
    assert [*Module(cells=[LayerNormalised(net.cells[0])]).named_params()] == [
        "cells.0.cell.W_x", "cells.0.cell.W_h", "cells.0.cell.b", "cells.0.gain_x",
        "cells.0.gain_h",
    ]  # fmt: skip


def test_repr_shows_the_tree_with_sizes(rng):
    net = Module(
        layers=Pair(LSTMCell(2, 3, rng=rng), Dense(3, 1, rng=rng)), norm=BatchNorm(1), empty=[]
    )
    assert repr(net).splitlines() == [
        "Module: 78 weights",
        "  layers.first: LSTMCell",
        "    W_x (2, 12)",
        "    W_h (3, 12)",
        "    b (12,)",
        "  layers.second: Dense",
        "    W (3, 1)",
        "    b (1,)",
        "  norm: BatchNorm",
        "    gain (1,)",
        "    b (1,)",
        "    running_mean (1,), not trained",
        "    running_variance (1,), not trained",
    ]
    assert repr(Module()) == "Module: 0 weights"
    assert repr(Module(a=Module(b=Module(c=[weight("w", 2)])))).splitlines() == [
        "Module: 2 weights",
        "  a: Module",
        "    b: Module",
        "      c.0 (2,)",
    ]


def test_a_module_may_stand_where_its_params_are_wanted(rng):
    dense = Dense(2, 1, rng=rng)
    assert check_parameters(dense) == dense.params
    with pytest.raises(TypeError, match=r"cell\.params, or a Module"):
        check_parameters({"w": dense.W})
    with pytest.raises(TypeError, match=r"params has a Dense in it: put modules into one"):
        check_parameters([dense, dense])
    with pytest.raises(ValueError, match="params is empty"):
        check_parameters(Module())
    with pytest.raises(TypeError, match=r"params must be a list: write \[W\]"):
        check_parameters(dense.W)
    with pytest.raises(ValueError, match="W is in params twice"):
        check_parameters([dense.W, dense.b, dense.W])


def test_attributes_that_a_wrapped_cell_does_not_have_are_missing_by_its_name(rng):
    zoneout = Zoneout(LSTMCell(1, 2, rng=rng), {"h": 0.1})
    assert (zoneout.n_in, zoneout.n_gates, zoneout.W_h.get_value().shape) == (1, 4, (2, 8))
    with pytest.raises(AttributeError, match=r"LSTMCell.*no_such"):
        zoneout.no_such  # noqa: B018


def test_weights_that_would_share_a_name_are_refused():
    for parts in ({"a.b": weight(), "a": {"b": weight()}}, {1: weight(), "1": weight()}):
        with pytest.raises(ValueError, match=r"two weights .* called parts\.(a\.b|1): change the"):
            Module(parts=parts).named_params()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_has_its_own_weights_and_the_same_names(rng, copied):
    lstm = LSTMCell(3, 2, rng=rng)
    net = Module(
        cells=[
            ElmanCell(2, 3, rng=rng, activation="identity"),
            VariationalDropout(Zoneout(LayerNormalised(lstm), {"c": 0.1}, rng=rng), 0.2, rng=rng),
            lstm,
            GRUCell(2, 3, rng=rng, reset="before"),
        ],
        norm=BatchNorm(2),
    )
    other = copied(net)
    assert repr(other) == repr(net)
    assert [w.name for w in other.params] == [w.name for w in net.params]
    assert not {*other.params} & {*net.params}
    assert other.cells[1].State is net.cells[1].State
    assert other.cells[2].W_x is other.cells[1].W_x  # shared weights stay shared
    other.cells[2].W_x.set_value(0 * lstm.W_x.get_value())
    assert lstm.W_x.get_value().all()


def test_an_attribute_set_to_none_is_not_trained_any_more(rng):
    net = Module(cell=LSTMCell(1, 2, rng=rng), output=Dense(2, 1, rng=rng))
    net.output = None
    assert [*net.named_params()] == ["cell.W_x", "cell.W_h", "cell.b"]


def test_a_cell_in_two_models_is_named_by_the_one_that_is_asked(rng):
    cell = LSTMCell(1, 2, rng=rng)
    first, second = Module(encoder=cell), Module(decoder=cell)
    assert [w.name for w in first.params] == ["encoder.W_x", "encoder.W_h", "encoder.b"]
    assert [w.name for w in second.params] == ["decoder.W_x", "decoder.W_h", "decoder.b"]


def test_a_weight_is_shared_by_assigning_it_not_as_an_initial_value(rng):
    embedding, output = Embedding(4, 4, rng=rng), Dense(4, 4, rng=rng)
    for initial in (embedding.W, embedding.W.T, "orthogonal"):
        with pytest.raises(
            TypeError, match=r"W is .*, but must be an array.*: layer\.W = other\.W"
        ):
            Dense(4, 4, W=initial)
    output.W = embedding.W
    net = Module(embedding=embedding, output=output)
    assert [*net.named_params()] == ["embedding.W", "output.b"]
    assert "output: Dense\n    b (4,)" in repr(net)
