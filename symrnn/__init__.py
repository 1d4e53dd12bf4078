"""Recurrent nets as symbolic graphs: sequence models built with PyTensor's `scan`.

>>> import numpy as np
>>> import pytensor.tensor as pt
>>> import symrnn as sr
>>> rng = np.random.default_rng(1)
>>> net = sr.Module(cell=sr.LSTMCell(3, 8, rng=rng), output=sr.Dense(8, 2, rng=rng))
>>> x, t = pt.tensor3("x"), pt.matrix("t")  # (time, batch, features) and (batch, features)
>>> outputs, state = sr.unroll(net.cell, x)
>>> loss = sr.mean_squared_error(net.output(state.h), t)
>>> step = sr.function([x, t], loss, updates=sr.adam(loss, net.params, 0.1))
>>> losses = [float(step(np.ones((10, 5, 3)), np.ones((5, 2)))) for _ in range(20)]
>>> losses[-1] < losses[0] / 10
True

All names here are loaded when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from symrnn import explain, models, nn, plots, tasks, text, training
    from symrnn.compiling.function import function, graph_updates
    from symrnn.compiling.many_steps import compile_many_steps
    from symrnn.compiling.modes import QUICK
    from symrnn.models.dialogue.model import DialogueModel
    from symrnn.models.dialogue.responder import Responder
    from symrnn.models.language.generation import TextGenerator
    from symrnn.models.language.model import LanguageModel
    from symrnn.models.language.run import LanguageRun
    from symrnn.models.language.settings import LanguageSettings
    from symrnn.models.language.transformer import TransformerLM
    from symrnn.models.ntm.model import NeuralTuringMachine
    from symrnn.models.recursive import RecursiveNet
    from symrnn.models.seq2seq.model import Seq2Seq
    from symrnn.models.seq2seq.run import Seq2SeqRun
    from symrnn.models.seq2seq.settings import Seq2SeqSettings
    from symrnn.models.seq2seq.transformer import Transformer
    from symrnn.models.seq2seq.translation import Translator
    from symrnn.models.vae.sequences import SequenceVAE
    from symrnn.models.vae.vectors import VAE
    from symrnn.models.word2vec import CBOW, SkipGram
    from symrnn.nn import initializers
    from symrnn.nn.attention import Attention
    from symrnn.nn.cells import (
        Cell,
        ElmanCell,
        GRUCell,
        HiddenState,
        LinearCell,
        LSTMCell,
        LSTMState,
    )
    from symrnn.nn.layers import BatchNorm, Dense, Dropout, Embedding, LayerNorm
    from symrnn.nn.module import Module, parameter
    from symrnn.nn.multi_head import MultiHeadAttention
    from symrnn.nn.recurrent import bidirectional, stack, unroll
    from symrnn.nn.states import CarriedState, learned_initial_state
    from symrnn.nn.transformer import Positions, TransformerLayer
    from symrnn.nn.wrappers import LayerNormalised, VariationalDropout, Zoneout
    from symrnn.training import schedules
    from symrnn.training.batches import minibatches
    from symrnn.training.callbacks import EarlyStopping, ReduceOnPlateau
    from symrnn.training.checkpoint import CheckpointError, load, save
    from symrnn.training.clipping import clip_by_global_norm, clip_by_value, weight_decay
    from symrnn.training.loop import NonFiniteLossError, train
    from symrnn.training.losses import (
        binary_cross_entropy,
        categorical_cross_entropy,
        gaussian_kl,
        mean_squared_error,
        sum_squared_error,
    )
    from symrnn.training.optimizers import (
        adadelta,
        adagrad,
        adam,
        adamw,
        gradient_descent,
        momentum,
        nesterov_momentum,
        rmsprop,
    )

_ROOMS = {
    "": "explain models nn plots tasks text training",
    "compiling.function": "function graph_updates",
    "compiling.many_steps": "compile_many_steps",
    "compiling.modes": "QUICK",
    "models.dialogue.model": "DialogueModel",
    "models.dialogue.responder": "Responder",
    "models.language.generation": "TextGenerator",
    "models.language.model": "LanguageModel",
    "models.language.run": "LanguageRun",
    "models.language.settings": "LanguageSettings",
    "models.language.transformer": "TransformerLM",
    "models.ntm.model": "NeuralTuringMachine",
    "models.recursive": "RecursiveNet",
    "models.seq2seq.model": "Seq2Seq",
    "models.seq2seq.run": "Seq2SeqRun",
    "models.seq2seq.settings": "Seq2SeqSettings",
    "models.seq2seq.transformer": "Transformer",
    "models.seq2seq.translation": "Translator",
    "models.vae.sequences": "SequenceVAE",
    "models.vae.vectors": "VAE",
    "models.word2vec": "CBOW SkipGram",
    "nn": "initializers",
    "nn.attention": "Attention",
    "nn.cells": "Cell ElmanCell GRUCell HiddenState LSTMCell LSTMState LinearCell",
    "nn.layers": "BatchNorm Dense Dropout Embedding LayerNorm",
    "nn.module": "Module parameter",
    "nn.multi_head": "MultiHeadAttention",
    "nn.recurrent": "bidirectional stack unroll",
    "nn.states": "CarriedState learned_initial_state",
    "nn.transformer": "Positions TransformerLayer",
    "nn.wrappers": "LayerNormalised VariationalDropout Zoneout",
    "training": "schedules",
    "training.batches": "minibatches",
    "training.callbacks": "EarlyStopping ReduceOnPlateau",
    "training.checkpoint": "CheckpointError load save",
    "training.clipping": "clip_by_global_norm clip_by_value weight_decay",
    "training.loop": "NonFiniteLossError train",
    "training.losses": "binary_cross_entropy categorical_cross_entropy gaussian_kl"
    " mean_squared_error sum_squared_error",
    "training.optimizers": "adadelta adagrad adam adamw gradient_descent momentum"
    " nesterov_momentum rmsprop",
}
_WHERE = {name: room for room, names in _ROOMS.items() for name in names.split()}
_MODULES = {*_ROOMS[""].split(), "initializers", "schedules"}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        alike = [n for n in _WHERE if n.lower().startswith(name.lower())]
        hint = f": did you mean {' or '.join(alike)}?" if alike else ""
        raise AttributeError(f"module 'symrnn' has no attribute {name!r}{hint}")
    room = ".".join(filter(None, ("symrnn", _WHERE[name])))
    if name in _MODULES:
        value = import_module(f"{room}.{name}")
    else:
        value = getattr(import_module(room), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name.startswith("__")), *_WHERE})
