"""Lesson 21: dialogue - a net that remembers what was said, and one that can say several things

What you learn
    To read a dialogue with two loops, one over the words of each utterance and one over the
    utterances, and to reply with a third: by hand, then with the library. Three models of one
    family: seq2seq, which knows the last utterance alone; HRED, a hierarchical recurrent
    encoder-decoder, which has a context; and VHRED, a variational one, which has a latent variable,
    too. What each can do, and what it cannot. To read dialogues of your own.

What you should see
    Four numbered parts, and two figures: 21_memory.png and 21_replies.png. Where the reply depends
    on something said earlier, seq2seq is right in one of eight cases, the best that it can be,
    and HRED nearly always. Where six replies are right, HRED says one of them, always the
    same; VHRED says several, and they are right.

How long it takes (measured on two cores)
    Two minutes; nothing is compiled, so the first time is no longer. With --quick some 5 seconds,
    without part 2's training and figure.

What you need to know
    Lesson 9 has the GRU, lesson 16 encoder and decoder, lesson 20 the bound and KL annealing.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top; the last one runs the whole lesson.
"""

# %%
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: small products, one thread

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt

import symrnn as sr
from symrnn.tasks.dialogues import (
    REPLIES,
    chance_without_memory,
    choice_dialogues,
    is_right,
    memory_dialogues,
)
from symrnn.text import DialogueVocabulary, dialogue_batches, read_dialogues
from symrnn.training.schedules import advance, linear_to_zero, step_counter, warm_up

BLUE, ORANGE, GREEN, GREY = "#2b6cb0", "#c2570c", "#2f855a", "#555555"
Array = np.ndarray[Any, Any]
Dialogues = list[list[str]]

# What every scan here is given: no second result, nothing forgotten, always a list (lesson 01).
SAFE: dict[str, Any] = {"return_updates": False, "strict": True, "return_list": True}

# %% [markdown]
# ## 1. Three loops
#
# Words make an utterance, utterances make a dialogue: w_nt is word t of utterance n. HRED (Sordoni
# et al., 2015; Serban et al., 2016) reads it so, too.
#
#     u_n = last h of encoder(w_n1 ... w_nT)       a loop over the words, for each utterance
#     c_n = context(u_n, c_{n-1})                  a loop over the utterances' vectors
#     p(w_{n+1,t} | w_{n+1,1} ... w_{n+1,t-1}, c_n)    a decoder that is given c_n
#
# One would think of a loop in a loop. But the encoder does not know of other utterances,
# so it reads all of them side by side: the array of words has the shape (time, turns, batch), and
# for the encoder all turns of all dialogues are one large batch, (time, turns * batch). In training
# the same holds for the decoder, since all replies are known. So there are three loops, one after
# the other, of some ten steps each.
#
# Below they are written out, with the library's weights, for GRUs without a mask; then
# `DialogueModel` computes the same. Without its second loop, c_n = u_n, it is a seq2seq that knows
# the last utterance alone.


# %%
def gru(x_t: Any, h: Any, W_x: Any, W_h: Any, b: Any, b_hn: Any) -> Any:
    """Return the next state (lesson 9)."""
    n = h.shape[1]
    zx, zh = x_t @ W_x + b, h @ W_h
    r = pt.sigmoid(zx[:, :n] + zh[:, :n])
    u = pt.sigmoid(zx[:, n : 2 * n] + zh[:, n : 2 * n])
    return (1 - u) * pt.tanh(zx[:, 2 * n :] + r * (zh[:, 2 * n :] + b_hn)) + u * h


def loop(cell: Any, x: Any, h_0: Any) -> Any:
    """Return h of all steps of x, ``(steps, batch, features)``."""
    (h,) = pytensor.scan(
        gru, sequences=[x], outputs_info=[h_0], non_sequences=cell.params, **SAFE
    )  # fmt: skip
    return h


def log_p_by_hand(model: sr.DialogueModel, words: Any) -> Any:
    """Return the mean over replies of log p, of words ``(time, turns, batch)`` without padding."""
    time, turns, batch = words.shape
    E, n = model.embedding.W, model.encoder.n_hidden
    columns = words.reshape((time, turns * batch))
    u = loop(model.encoder, E[columns], pt.zeros((turns * batch, n)))[-1]
    c = loop(model.context, u.reshape((turns, batch, n)), pt.zeros((batch, n)))
    d = c[:-1].reshape(((turns - 1) * batch, n))  # what is known before each reply
    replies = words[:, 1:].reshape((time, (turns - 1) * batch))
    start = pt.full_like(replies[:1], model.decoder.start)
    previous = E[pt.concatenate([start, replies[:-1]])]
    x = pt.concatenate([previous, pt.broadcast_to(d, (time, *tuple(d.shape)))], axis=2)
    h = loop(model.decoder.cell, x, pt.tanh(model.decoder.first(d)))
    log_p = pt.special.log_softmax(model.decoder.output(h), axis=-1)
    of_words = pt.take_along_axis(log_p, replies[:, :, None], axis=2)
    return of_words.sum(axis=0).mean()


@pytensor.config.change_flags(floatX="float64")
def three_loops(seed: int) -> dict[str, float]:
    """Compare both, with random words."""
    rng = np.random.default_rng(seed)
    model = sr.DialogueModel(6, 4, 5, rng=rng)
    words = rng.integers(6, size=(3, 4, 2))
    library = model.terms(words, np.ones_like(words)).log_likelihood
    by_hand = log_p_by_hand(model, pt.as_tensor_variable(words))
    found = [float(v) for v in sr.function([], [by_hand, library])()]
    print(f"  log p of a reply: by hand {found[0]:.12f}, library {found[1]:.12f}")
    np.testing.assert_allclose(*found, rtol=1e-12)
    return dict(zip(("by hand", "library"), found, strict=True))


# %% [markdown]
# ## 2. Something that was said before
#
# In the first task one speaker tells a name and the colour of a thing, may chat, and asks at the
# end for one of both. The question is the same whatever the answer is: who knows only the question
# can be right in one of eight cases and not more often. (`symrnn.tasks.dialogues` says it exactly.)
#
# In the papers all utterances but the first are replies to learn from. Here most of them are names
# and colours that nobody can foresee, and would only add noise, so the nets learn from the last
# reply of each dialogue alone (`last_only=True`). An answer counts if it is the one right word, in
# dialogues that are drawn anew.
#
# In VHRED (Serban et al., 2017) the decoder is
# also given z, which in training is drawn from a Gaussian that has read the reply, the posterior,
# and at inference from one that has not, the prior:
#
#     q(z_n | w_{n+1}) = N(mean, variance of [c_n, u_{n+1}])      p(z_n) = N(mean, variance of c_n)
#     loss = -log p(w_{n+1} | c_n, z_n) + w KL(q || p)
#
# The bound is that of lesson 20, but for a prior that depends on the context. Its two remedies
# against a decoder that does not listen are here as well: w grows from 0 to 1 in the first half of
# the training, and half of the words are hidden from the decoder.


# %%
class Plan(NamedTuple):
    """How much of everything."""

    n_train: int
    n_test: int
    n_hidden: int
    epochs: dict[str, int]  # of each task
    n_draws: int


PLANS = {
    "quick": Plan(64, 20, 8, {"choice": 1}, 20),
    "default": Plan(2_500, 400, 48, {"memory": 8, "choice": 5}, 200),
}
BATCH, LEARNING_RATE, N_EMBED, N_LATENT = 32, 0.01, 16, 8
LONGEST = 100  # of an utterance of your own, in tokens
MODELS: dict[str, dict[str, Any]] = {
    "seq2seq": {"context": False},
    "HRED": {},
    "VHRED": {"n_latent": N_LATENT, "word_dropout": 0.5},
}
COLOURS = dict(zip(MODELS, (GREY, BLUE, ORANGE), strict=True))
Judge = Callable[[list[str], str], bool]


class Trained(NamedTuple):
    """A model that replies, and its accuracy and loss after each epoch."""

    model: sr.DialogueModel
    responder: sr.Responder
    accuracy: list[float]
    loss: list[float]


def train_model(
    name: str, data: tuple[Dialogues, Dialogues], judge: Judge, epochs: int, plan: Plan,
    seed: int, mode: Any,
) -> Trained:  # fmt: skip
    """Train a model; after each epoch note the accuracy of the last replies."""
    training, test = data
    words = DialogueVocabulary.build(training + test)  # all words are known
    rng = np.random.default_rng(seed)
    model = sr.DialogueModel(
        len(words), N_EMBED, plan.n_hidden, rng=rng, last_only=True, **MODELS[name]
    )
    order = np.random.default_rng(seed)  # the same for all models
    batches = dialogue_batches(words.encode(training), batch_size=BATCH, eos=words.eos, rng=order)
    n_steps, t = epochs * len(batches), step_counter()

    def optimizer(loss: Any, params: list[Any]) -> dict[Any, Any]:
        gradients = sr.clip_by_global_norm(pytensor.grad(loss, params), 5.0)
        falling = linear_to_zero(t, LEARNING_RATE, n_steps=n_steps, n_last=n_steps // 4 or 1)
        return sr.adam(gradients, params, falling) | advance(t)

    step = model.compile_training(
        optimizer, mode=mode, kl_weight=warm_up(t, 1.0, n_steps=n_steps // 2 or 1)
    )
    responder = sr.Responder(model, words, longest=12, mode=mode)
    accuracies: list[float] = []
    history = sr.train(
        step, batches, epochs=epochs, label=name,
        each_epoch=lambda *_: accuracies.append(accuracy(responder, test, judge)),
    )  # fmt: skip
    if history.interrupted:
        raise KeyboardInterrupt
    line = f"  {name:<10}{model.n_params:9,}{history.seconds:10.0f}{100 * accuracies[-1]:10.1f} %"
    print(line, flush=True)
    return Trained(model, responder, accuracies, history.epoch_loss)


def accuracy(responder: sr.Responder, test: Dialogues, judge: Judge) -> float:
    """Return the accuracy of greedy replies."""
    said = responder.respond([dialogue[:-1] for dialogue in test])
    return float(np.mean([judge(d, reply) for d, reply in zip(test, said, strict=True)]))


def is_the_answer(dialogue: list[str], reply: str) -> bool:
    """Whether a reply is what the dialogue ends with."""
    return reply == dialogue[-1]


def draw_memory(runs: dict[str, Trained]) -> Any:
    """The accuracy by epoch."""
    figure, ax = plt.subplots(figsize=(9, 4.2), layout="constrained")
    chance = 100 * chance_without_memory()
    ax.axhline(chance, color="black", ls=":", label="best without memory")
    for name, run in runs.items():
        epochs = np.arange(1, len(run.accuracy) + 1)
        ax.plot(epochs, 100 * np.array(run.accuracy), "o-", ms=4, color=COLOURS[name], label=name)
    ax.set(xlabel="epoch", ylabel="accuracy, %", ylim=(-3, 103))
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    ax.grid(alpha=0.3)
    return figure


# %% [markdown]
# *What to notice.* seq2seq stays where one can be without memory: it sees nothing but the question.
# HRED has the same encoder and decoder, and one loop more; in the end it has all answers right.
# VHRED has them all, too. Here z is of no use, since only one answer is right, and it does no harm.
#
# ## 3. Several replies are right
#
# In the second task the first utterance names a subject, and the third asks for anything about it.
# Six sentences are right, and all are equally likely in training. A judge knows them: `is_right`.
#
# Each model is asked the same thing many times, in three ways. *Greedy*: at each step the most
# probable word (for VHRED with the prior's mean as z). *Words drawn*: each word by chance. *z
# drawn*: z from the prior, and then all words greedily, so whatever varies was decided before the
# first word. Counted are the different right replies, and the share of replies that are right.

WAYS = ("greedy", "words drawn", "z drawn")


# %%
def ask(
    responder: sr.Responder, context: list[str], way: str, n_draws: int, seed: int
) -> list[str]:  # fmt: skip
    """Return what is said to one context, asked many times."""
    rng = np.random.default_rng(seed)
    latent_rng, word_rng = rng if way == "z drawn" else None, rng if way == "words drawn" else None
    return responder.respond([context] * n_draws, latent_rng=latent_rng, word_rng=word_rng)


def several_replies(
    runs: dict[str, Trained], plan: Plan, seed: int
) -> dict[tuple[str, str], dict[str, Counter[str]]]:
    """Print how many different right replies there are; return all, by model and way."""
    said: dict[tuple[str, str], dict[str, Counter[str]]] = {}
    print(f"  {'different right replies, share right':>58}")
    print(f"  {'':24}" + "".join(f"{subject:>14}" for subject in REPLIES))
    for name, run in runs.items():
        for way in WAYS if run.model.n_latent else WAYS[:2]:
            of_subject, line = {}, f"  {name:<10}{way:<14}"
            for subject in REPLIES:
                context = [f"let us talk about {subject} .", "good idea .", "tell me something ."]
                counts = Counter(ask(run.responder, context, way, plan.n_draws, seed))
                right = {reply: n for reply, n in counts.items() if is_right(context, reply)}
                line += f"{len(right):8}{100 * sum(right.values()) / plan.n_draws:4.0f} %"
                of_subject[subject] = counts
            said[name, way] = of_subject
            print(line, flush=True)
    return said


def draw_replies(said: dict[tuple[str, str], dict[str, Counter[str]]], subject: str) -> Any:
    """How often each right reply is said to one context, and how often anything else."""
    ways = [key for key in said if key[0] != "seq2seq"]
    right = ["".join(reply.rsplit(" ", 1)) for reply in REPLIES[subject]]  # as replies are written
    figure, axes = plt.subplots(
        1, len(ways), figsize=(2.4 * len(ways) + 1.8, 3.2), sharey=True, layout="constrained"
    )
    for ax, key in zip(axes, ways, strict=True):
        counts = said[key][subject]
        shown = [counts[reply] for reply in right]
        ax.barh([*right, "anything else"], [*shown, counts.total() - sum(shown)],
                color=[COLOURS[key[0]]] * len(right) + [GREY])  # fmt: skip
        ax.set(
            title=f"{key[0]}, {key[1]}",
            xlabel=f"times of {counts.total()}",
            xlim=(0, counts.total()),
        )
    axes[0].invert_yaxis()
    return figure


# %% [markdown]
# *What to notice.* HRED's greedy reply is right, and always the same. That does not mean that it
# knows only one: with its words drawn it says all six, and nearly always without a mistake.
# But which one is decided by the draw of one word, after "the", and not before. VHRED has decided
# before its first word: with z drawn and all words greedy, it says all six, and hardly ever
# anything else. 21_replies.png has how often each is said.
#
# VHRED with its words drawn is a little worse than HRED: z is then the prior's mean, between all
# replies, and half of the words were hidden from its decoder in training, so it listens less to
# what it has said itself. And without context, seq2seq is right in one of three cases, as it must.
#
# With six replies of three words, drawing words is as good as drawing z. The paper hopes for more
# from z where replies are long, and a draw at each word loses the thread; this lesson does not show
# that.
#
# ## 4. Dialogues of your own
#
# `read_dialogues` reads a text file: one utterance a line, and a blank line between dialogues. (Or
# one dialogue a line: `read_dialogues(path, separator="\t")`.) A file that is not so is refused,
# and the line is named. `most_turns` cuts dialogues into pieces of so many utterances. That is what
# bounds the memory: a batch is as large as its longest utterance times its most turns. With
# `last_only` leave it out: the last reply of each piece would be learnt from. Here (`--file`) an
# utterance is cut after 100 tokens, and that is said.

TALK = """\
Hello .
Hello , who are you ?
I am Ann .

Is it late ?
Yes , it is .
"""


# %%
def dialogues_of_your_own(folder: Path) -> dict[str, Any]:
    """Read a file, and one with a mistake."""
    good, bad = folder / "talk.txt", folder / "mistake.txt"
    good.write_text(TALK, "utf-8")
    bad.write_text(TALK + "\nAnyone there ?\n", "utf-8")
    dialogues = read_dialogues(good)
    words = DialogueVocabulary.build(dialogues)
    shapes = {}
    for most_turns in (None, 2):
        batches = dialogue_batches(
            words.encode(dialogues), batch_size=8, eos=words.eos, most_turns=most_turns
        )
        shapes[most_turns] = batches[0].words.shape
        print(f"  {len(dialogues)} dialogues, {len(words)} words; most_turns={most_turns}: "
              f"(time, turns, batch) = {shapes[most_turns]}")  # fmt: skip
    try:
        read_dialogues(bad)
    except ValueError as error:
        message = str(error).replace(str(folder) + os.sep, "")
        print(f"  ValueError: {message[:100]}...")
        return {"shapes": shapes, "message": message}
    raise AssertionError("the mistake was not found")


def learn_file(file: str, epochs: int, plan: Plan, seed: int, mode: Any) -> list[tuple[str, str]]:
    """Train HRED on a file, in pieces of 6 turns; print what it replies in the first dialogue."""
    try:
        dialogues = read_dialogues(file)
        words = DialogueVocabulary.build(dialogues, min_count=2 if len(dialogues) > 100 else 1)
        encoded = words.encode(dialogues)
    except (OSError, ValueError) as error:
        raise _lesson.OptionError(f"--file: {error}") from error
    lengths = [len(u) for d in encoded for u in d]
    if max(lengths) > LONGEST:
        n_long = sum(n > LONGEST for n in lengths)
        print(f"  {file}: {n_long} of {len(lengths)} utterances have more than {LONGEST} tokens; "
              "what comes after is not learnt from")  # fmt: skip
    encoded = [[u[:LONGEST] for u in d] for d in encoded]
    model = sr.DialogueModel(len(words), N_EMBED, plan.n_hidden, rng=np.random.default_rng(seed))
    order = np.random.default_rng(seed)
    batches = dialogue_batches(encoded, batch_size=BATCH, eos=words.eos, rng=order, most_turns=6)
    step = model.compile_training(lambda loss, params: sr.adam(loss, params, 0.003), mode=mode)
    history = sr.train(step, batches, epochs=epochs, label=file)
    responder = sr.Responder(
        model, words, longest=LONGEST, most_turns=5, longest_read=max(lengths), mode=mode
    )
    contexts = [dialogues[0][:n] for n in range(1, len(dialogues[0]))][:5]
    said = list(zip([c[-1] for c in contexts], responder.respond(contexts), strict=True))
    print(f"  {file}: {len(words)} words, loss {history.loss[0]:.2f} -> {history.loss[-1]:.2f}")
    for utterance, reply in said:
        print(f"    {utterance[:50]}  ->  {reply[:50]}")
    return said


# %% [markdown]
# ## Try it
#
# - `--file talk.txt` learns from a file of your own (a few hundred dialogues are few).
# - In `MODELS`, `"word_dropout": 0.0` for VHRED: does it still say several things?
# - `last_only=False`: how much longer must HRED learn until it remembers?
# - In `memory_dialogues`, more chat between what is told and the question.


# %%
@pytensor.config.change_flags(floatX="float32")
def main(
    file: str | None = None,
    epochs: int = 20,
    mode: str | None = None,
    seed: int = 1,
    figures: str = "figures",
    quick: bool = False,
) -> dict[str, Any]:
    """Run the lesson; return what its parts found."""
    _lesson.positive_option("--epochs", epochs)
    folder = _lesson.figure_folder(figures, quick)
    plan = PLANS["quick" if quick else "default"]
    rng = np.random.default_rng(seed)

    print("1. Three loops")
    loops = three_loops(seed)

    print(f"\n2. Something that was said before: {plan.n_train:,} dialogues such as")
    memory = memory_dialogues(plan.n_train, rng=rng), memory_dialogues(plan.n_test, rng=rng)
    print("  " + " / ".join(memory[0][0]))
    print(f"  {'model':<10}{'weights':>9}{'seconds':>10}{'accuracy':>12}   (without memory at best "
          f"{100 * chance_without_memory():.1f} %)", flush=True)  # fmt: skip
    remembering = {
        name: train_model(name, memory, is_the_answer, plan.epochs["memory"], plan, seed, mode)
        for name in ([] if quick else MODELS)  # building a graph takes seconds
    }
    if remembering:
        _lesson.save_figure(draw_memory(remembering), folder, "21_memory")

    print(f"\n3. Several replies are right: {plan.n_train:,} dialogues such as")
    choice = choice_dialogues(plan.n_train, rng=rng), choice_dialogues(plan.n_test, rng=rng)
    print("  " + " / ".join(choice[0][0]))
    print(f"  {'model':<10}{'weights':>9}{'seconds':>10}{'accuracy':>12}   (greedy; without memory "
          f"at best {100 / len(REPLIES):.1f} %)", flush=True)  # fmt: skip
    choosing = {
        name: train_model(name, choice, is_right, plan.epochs["choice"], plan, seed, mode)
        for name in (["VHRED"] if quick else MODELS)
    }
    said = several_replies(choosing, plan, seed)
    _lesson.save_figure(draw_replies(said, "animals"), folder, "21_replies")

    print("\n4. Dialogues of your own")
    with tempfile.TemporaryDirectory() as own:
        reading = dialogues_of_your_own(Path(own))
    if file is not None:
        reading["said"] = learn_file(file, epochs, plan, seed, mode)
    _lesson.show_figures()
    return {
        "loops": loops, "remembering": remembering, "choosing": choosing, "said": said,
        "reading": reading,
    }  # fmt: skip


if __name__ == "__main__":
    _lesson.run(
        main,
        help={
            "file": "a file of your own dialogues, for part 4",
            "epochs": "epochs on that file",
            "seed": "of the initial weights, of the dialogues and the draws",
            "figures": "folder for the figures",
            "quick": "few dialogues, small nets: too little to learn anything",
        },
    )
