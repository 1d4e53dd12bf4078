"""Lesson 15: writing - what a language model says when it is let go on

What you learn
    To let a trained language model write: one compiled step, with the state carried in and out.
    Greedy choice, and why it ends in repetition loops. Sampling: temperature, top-k and top-p, and
    what they do to the probabilities. Beam search, which finds texts that are more probable, and
    duller.

What you should see
    Seven numbered parts and four figures: 15_training.png, 15_distributions.png, 15_tradeoff.png
    and 15_surprise.png. Two small models write before, during and after their training: one has
    learned words from a grammar that can judge every sentence, the other characters from the help
    texts of Python.

How long it takes (measured on two cores)
    A minute, with nothing compiled before. With --quick 8 seconds.

What you need to know
    NumPy, and the lessons on language models, 13 and 14.

The file is a script and a notebook: editors that know `# %%` cells open it as one. There, run the
cells from the top; the last one runs the whole lesson.
"""

# %%
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytensor

import symrnn as sr
from symrnn import text
from symrnn.models.language.model import mean_loss
from symrnn.models.sampling import sampling_probabilities
from symrnn.tasks.english_grammar import BE, NOUNS, english
from symrnn.tasks.grammar import Grammar
from symrnn.text import EOS

BLUE, ORANGE, GREEN, PURPLE, GREY = "#2b6cb0", "#c2570c", "#2f7a4f", "#805ad5", "#718096"
BATCH, TIME = 32, 50  # batch streams, and steps of a segment

# %% [markdown]
# ## 1. One step at a time
#
# A language model says how probable each token is as the next one. To write, one of them is chosen,
# given to the model as its next input, and so on:
#
#     log p, state  <-  next_token(token, state)
#     token         <-  a choice made from log p
#
# The state is all that the model knows of the text so far. It comes out of one call and goes into
# the next, so a step costs the same however long the text is. The simplest choice is the most
# probable token, always: that is called greedy.


# %%
def greedy_by_hand(generator: sr.TextGenerator, first: int, n: int) -> list[str]:
    """Write n tokens after a first one, each the most probable."""
    next_token = generator.next_token  # what generator.model.compile_next() returns
    ids, state = [first], generator.model.zeros(batch_size=1)
    for _ in range(n):
        log_p, *state = next_token(np.array(ids[-1:]), *state)
        ids.append(int(log_p[0].argmax()))
    return generator.vocabulary.decode(ids[1:])


# %% [markdown]
# ## 2. Before, during and after training
#
# The first model learns from the grammar of lesson 13. It knows nothing but the words that the
# grammar has said, one after the other. And the grammar can tell of every sentence whether it could
# have said it: a verb must agree with its subject, however many other nouns stand between. So the
# share of sentences that are accepted measures what has been learned, and nobody has to judge.
#
# It is trained as in lesson 14, with truncated backpropagation through time and Adam, whose
# learning rate falls along half a cosine to a twentieth (`symrnn.schedules.cosine`). One thing is
# there for writing alone. A text begins with the state zero, but in training the state is carried
# from segment to segment, so the net would hardly ever see that state and begin its first sentence
# badly. So after each segment a tenth of the streams, drawn at random, begin again at zero.
#
# *What to notice.* Before training any word follows any other. After 50 steps the order of words is
# about right, and 17.5 % of the sentences are. Then 55.5 % after 100 steps, 91 % after 250, 99 %
# after 1000. What comes last is agreement over a distance: the doors in "many big doors behind the
# door behind many dogs that many red cats see breaks", after 100 steps, should break.
#
# To measure that, we ask how much of what the model gives to "is" and "are" goes to the one that
# fits, on average over eight subjects of both numbers. At once, as after "the dogs", it is 62 %
# after 50 steps and 76 % after 100. Over a distance, as after "the dogs near the girl", it is 38 %
# and 36 %, worse than a coin: at first the net follows the last noun, which is made to differ from
# the subject in number here. After 250 steps it has learned to go by the subject, 87 %, and in the
# end it is 97 %. The perplexity, 5.47 after 100 steps and 5.05 after 250, does not show so clearly
# what happens there. At the end it is 4.92, where 4.89 is the best possible for these words.


# %%
def train_model(
    model: sr.LanguageModel,
    ids: Any,
    n_steps: int,
    learning_rate: float,
    rng: np.random.Generator,
    at: Sequence[int],
    watch: Callable[[int], Any],
    mode: Any,
) -> tuple[list[float], dict[int, Any]]:
    """Train; return the losses, and what `watch` returned before, at some steps, and after."""
    carried, t = model.carry(BATCH), sr.schedules.step_counter()
    schedule = sr.schedules.cosine(
        t, learning_rate, n_steps=n_steps, final_learning_rate=learning_rate / 20
    )

    def optimizer(loss: Any, params: list[Any]) -> dict[Any, Any]:
        gradients = sr.clip_by_global_norm(pytensor.grad(loss, params), 5.0)
        return sr.adam(gradients, params, schedule) | sr.schedules.advance(t)

    step = model.compile_training(optimizer, carried, mode=mode)
    found = {0: watch(0)}

    def each_step(done: int, loss: float) -> None:
        begin_anew = np.flatnonzero(rng.random(BATCH) < 0.1)
        for state in carried:
            state.reset(begin_anew)
        if done in at or done == n_steps:
            found[done] = watch(done)

    segments = text.streams(ids, batch_size=BATCH, n_steps=TIME)
    history = sr.train(step, segments, steps=n_steps, each_step=each_step, label="training")
    if history.interrupted:
        raise KeyboardInterrupt
    return history.loss, found


def compile_loss(model: sr.LanguageModel) -> Callable[[Any], float]:
    """Return a function: the mean of -log p of a text's tokens, nats; it is read in 32 streams."""
    carried = model.carry(BATCH)
    evaluate = model.compile_evaluation(carried)

    def loss(ids: Any) -> float:
        for state in carried:
            state.reset()
        return mean_loss(evaluate, text.streams(ids, batch_size=BATCH, n_steps=TIME))

    return loss


def accepted(grammar: Grammar, written: str) -> list[tuple[str, bool]]:
    """Return the finished sentences of a text, and whether the grammar makes such a sentence."""
    found = []
    for sentence in written.split("\n")[:-1]:
        try:
            grammar.log_probabilities(grammar.encode([*sentence.split(), EOS]))
        except ValueError:
            found.append((sentence, False))
        else:
            found.append((sentence, True))
    return found


def share(judged: Sequence[tuple[str, bool]]) -> float:
    """Return which part is accepted, in per cent; NaN if no sentence is finished."""
    return 100 * float(np.mean([fits for _, fits in judged])) if judged else float("nan")


def verbs_that_fit(generator: sr.TextGenerator) -> tuple[float, float]:
    """Return how much of what a model gives to "is" and "are" goes to the one that fits, per cent.

    At once, as after "the dogs", and over a distance, as after "the dogs near the girl": the last
    noun is one, but the dogs are many.
    """
    at_once, distant = [], []
    for number, other in (("one", "many"), ("many", "one")):
        for noun in NOUNS[number, "living"].split():
            at_once.append(fit(generator, f"the {noun}", BE[number]))
            for last in NOUNS[other, "living"].split():
                distant.append(fit(generator, f"the {noun} near the {last}", BE[number]))
    return 100 * float(np.mean(at_once)), 100 * float(np.mean(distant))


def fit(generator: sr.TextGenerator, prompt: str, verb: str) -> float:
    """Return the probability of a verb, if "is" or "are" comes next."""
    p = dict(generator.next_words(prompt, k=len(generator.vocabulary)))
    return p[verb] / (p["is"] + p["are"])


# %% [markdown]
# ## 3. Temperature
#
#     q_i = p_i^(1/T) / sum over j of p_j^(1/T)
#
# T = 1 draws each token as often as the model says. A lower temperature sharpens the distribution:
# at T = 1/2 all probabilities are squared, so what was twice as probable as something else is now
# four times as probable. Towards 0 only the most probable is left, which is greedy; a high one
# makes all tokens alike.
#
# *What to notice* in 15_distributions.png: the text so far is "the small dogs near the door". It
# asks for a verb over a distance: the dogs are many, so "are" fits and "is" does not, but the last
# noun is one door. The model gives little to the words that do not fit, and a temperature of 3
# brings them up.
#
# ## 4. Top-k and top-p
#
# A model gives every token some probability. Each wrong one has little, but there are many, and a
# text has many steps: sooner or later one is drawn. Top-k (Fan et al., 2018) leaves only the k most
# probable. But how many good continuations there are depends on the place: at the beginning of a
# sentence this grammar has five, and after "because" one, "it" or "they" as the subject demands.
# Top-p (Holtzman et al., 2020) adapts: it leaves the fewest tokens whose sum is at least p.
#
# *What to notice* in 15_tradeoff.png. Of about 200 sentences of each kind it shows how many are
# right, and of the first 100 right ones how many are different from each other. Also the grammar
# itself says some short sentences twice: of 100 of its own, 95 are different. At temperature 1,
# 99 % are right, at 1.7 only 63 %. Low temperatures, a small k and a small p are safe, but say the
# same thing again and again: with p = 0.3 only 51 of 100 are different, with k = 2 it is 70. With p
# = 0.9 all sentences are right, and 99 of 100 are different. So the tail of wrong words can be cut
# off without a loss of variety. (Of 100 sentences, a few more or less mean nothing.)


# %%
def draw_distributions(
    generator: sr.TextGenerator, grammar: Grammar, prompt: str, folder: Path
) -> None:
    """Draw what temperature, top-k and top-p do to the next word."""
    likely = generator.next_words(prompt, k=12)
    words = [word for word, _ in likely]
    everything = dict(generator.next_words(prompt, k=len(grammar.words)))
    log_p = np.log([*everything.values()])
    settings: list[dict[str, Any]] = [
        {"temperature": 0.3}, {"temperature": 1.0}, {"temperature": 3.0},
        {"top_k": 4}, {"top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9},
    ]  # fmt: skip
    exact = grammar.next_words(prompt.split())
    figure, axes = plt.subplots(2, 3, figsize=(11, 6), sharey=True, layout="constrained")
    for ax, options in zip(axes.flat, settings, strict=True):
        q = sampling_probabilities(log_p, **options)[: len(words)]
        colours = [GREEN if word in exact else ORANGE for word in words]
        ax.bar(words, q, color=colours)
        ax.bar(words, np.exp(log_p[: len(words)]), edgecolor="k", fill=False, linewidth=0.8)
        name = ", ".join(f"{k.replace('_', '-')} {v:g}" for k, v in options.items())
        ax.set_title(name)
        ax.tick_params(axis="x", rotation=60)
        ax.grid(axis="y", alpha=0.3)
    for ax in axes[:, 0]:
        ax.set_ylabel("probability")
    figure.suptitle(
        f'"{prompt} ..." : what is drawn (bars) and what the model says (outlines); green: fits'
    )
    _lesson.save_figure(figure, folder, "15_distributions")


def right_and_different(judged: Sequence[tuple[str, bool]]) -> tuple[float, float]:
    """Return which part is right, and how many of the first 100 right ones differ, per cent."""
    right = [sentence for sentence, fits in judged if fits][:100]
    return share(judged), 100 * len(set(right)) / max(len(right), 1)


def draw_tradeoff(
    found: dict[str, list[tuple[float, float, float]]], reference: float, folder: Path
) -> None:
    """Draw for each way of drawing how many sentences are right and how many different."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 4), sharey=True, layout="constrained")
    for ax, (name, points) in zip(axes, found.items(), strict=True):
        values, right, different = np.array(points).T
        places = range(len(values))
        ax.plot(places, right, "o-", color=GREEN, label="accepted by the grammar")
        ax.plot(places, different, "s--", color=PURPLE, label="different, of 100 right ones")
        ax.axhline(reference, color=GREY, ls=":", label="different, of the grammar's own")
        ax.set_xticks(places, [f"{v:g}" for v in values])
        ax.set_xlabel(name)
        ax.grid(alpha=0.3)
    axes[0].set(ylabel="sentences, %", ylim=(-3, 103))
    axes[0].legend(loc="lower center")
    _lesson.save_figure(figure, folder, "15_tradeoff")


# %% [markdown]
# ## 5. Characters
#
# The second model writes letter by letter. It has read the help texts that every Python brings
# along (``help("LOOPING")`` and so on), and knows nothing of words. Lines of tables are taken out
# before, and all white space becomes single spaces; about 400,000 characters are left. So there is
# no line end, after which a text could begin, and each needs a prompt. It is "The ", with which
# many sentences begin; ``--prompt`` takes another.
#
# *What to notice.* First come the frequent letters and spaces at about the right distances, then
# short words, and names with underscores, quotes and brackets. Even at the end some of the longer
# words do not exist: this is a small net after half a minute.
#
# ## 6. Greedy ends in repetition loops
#
# The greedy text soon repeats itself, for ever. There is no chance in it: the next token follows
# from the state, and the next state from both. The net forgets, so after the same words its state
# is nearly the same as it was the last time, and the same words follow. Each round draws it nearer
# to the loop.
#
# *What to notice.* The text is soon a loop of 29 characters, "the statement is a class are". The
# state, compared to that of one round before, moves by 0.004, then by 0.00002: it settles on the
# loop. (The text differs between versions of Python, and float32 rounds differently on other
# machines; these numbers are from Python 3.11.)


# %%
def loop_length(written: str) -> int:
    """Return after how many characters the end of a text repeats, at least three times; 0: not."""
    for p in range(1, len(written) // 3 + 1):
        if written[-3 * p : -p] == written[-2 * p :]:
            return p
    return 0


def read(generator: sr.TextGenerator, first: str, written: str) -> tuple[Any, Any]:
    """Return the probability of each character written, given those before it, and the states h."""
    state, p, states = generator.model.zeros(batch_size=1), [], []
    ids = generator.vocabulary.encode(first + written)
    for now, following in pairwise(ids):
        log_p, *state = generator.next_token(np.array([now]), *state)
        p.append(np.exp(log_p[0, following]))
        states.append(state[0][0])
    return np.array(p)[-len(written) :], np.array(states)[-len(written) :]


# %% [markdown]
# ## 7. Beam search
#
# Greedy takes the best next token, which is not the way to the best text. Beam search keeps the
# `width` most probable beginnings, continues all of them in all ways, in one call of the compiled
# step, and again keeps the best.
#
# *What to notice.* Of 150 characters, greedy finds a text with the log-probability -104.5, a beam
# of 4 one with -92.2. With 16 it is -71.3, a text that has nothing in common with the greedy one
# but is as dull: object.__class__(self, other) over and over. With 64 it is the same text. Whether
# there is a better one nobody knows: only a beam that holds every text is sure to find the best.
#
# 15_surprise.png compares texts, each character on a ground that says how probable it was. What
# people wrote (10,000 characters that the model has not learned from) costs it 1.76 nats a
# character. What it draws itself, as many of them, costs 1.64: that is its own entropy, how much
# chance it puts into a text. With top-p 0.9 it is 1.28. The greedy text has 0.70, that of the beam
# 0.48. People do not write what is most probable: then nothing would be said. So what is looked
# for by probability is dull, and a bit of chance makes it better (Holtzman et al., 2020). Where
# there is one right answer, as in translation, beam search is of more use.
#
# ## Try it
#
# - ``--prompt "If "``: does greedy end in the same loop?
# - ``--n-steps 300``: what does the grammar accept now, and what does the verb follow?
# - ``--seed 2``: how far do you trust the numbers above?
#
# And with a text of your own; the command line does the same, without a lesson around it:
#
#     python -m symrnn lm train book.txt
#     python -m symrnn lm generate "The " --temperature 0.8
#     python -m symrnn lm next "The "


# %%
def draw_surprise(texts: dict[str, tuple[str, Any]], folder: Path) -> None:
    """Draw texts, each character on a ground that says how probable it was."""
    columns, lines = 75, 2
    figure, axes = plt.subplots(
        len(texts), 1, figsize=(11, 1.2 * len(texts) + 0.3), layout="constrained"
    )
    for ax, (name, (written, p)) in zip(axes, texts.items(), strict=True):
        ground = np.full(lines * columns, np.nan)
        shown_p = p[: lines * columns]
        ground[: len(shown_p)] = shown_p
        shown = ax.imshow(
            ground.reshape(lines, columns), cmap="Oranges_r", vmin=-0.4, vmax=1, aspect="auto"
        )
        for i, character in enumerate(written[: lines * columns]):
            ax.text(
                i % columns, i // columns, character, ha="center", va="center",
                family="monospace", fontsize=10,
            )  # fmt: skip
        title = f"{name}: {-np.log(p).mean():.2f} nats a character, mean of {len(p)}"
        ax.set_title(title, loc="left", fontsize=10)
        ax.set_axis_off()
    bar = figure.colorbar(shown, ax=axes, label="probability of the character", fraction=0.02)
    bar.ax.set_ylim(0, 1)
    _lesson.save_figure(figure, folder, "15_surprise")


def draw_training(
    losses: Sequence[float], watched: dict[int, Any], best: float, folder: Path
) -> None:
    """Draw perplexity, share of right sentences and verbs that fit during training."""
    steps = [*watched]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    axes[0].plot(np.arange(len(losses)), np.exp(losses), color=BLUE, alpha=0.3, label="training")
    new_words = [w["perplexity"] for w in watched.values()]
    axes[0].plot(steps, new_words, "o-", color=BLUE, label="new words")
    axes[0].axhline(best, color=GREY, ls="--", label=f"best possible for these: {best:.2f}")
    axes[0].set(ylabel="perplexity", yscale="log", yticks=[5, 10, 20, 50])
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].minorticks_off()
    at_once, distant = zip(*(w["fits"] for w in watched.values()), strict=True)
    right = [share(w["judged"]) for w in watched.values()]
    axes[1].plot(steps, at_once, "^:", color=GREY, label='"is" or "are" fits: at once')
    axes[1].plot(steps, distant, "s--", color=ORANGE, label='"is" or "are" fits: over a distance')
    axes[1].plot(steps, right, "o-", color=GREEN, label="sentences accepted by the grammar")
    axes[1].set(ylabel="%", ylim=(-3, 103))
    for ax in axes:
        ax.set_xlabel("steps of training so far")
        ax.grid(alpha=0.3)
        ax.legend()
    _lesson.save_figure(figure, folder, "15_training")


# %%
def python_characters(prompt: str) -> tuple[text.Vocabulary, Any]:
    """Return the vocabulary of Python's help texts, and the ids of their characters."""
    topics = re.sub(r"(\W)\1{2,}", " ", text.python_topics())  # lines of tables, indentation
    topics = re.sub(r"\s+", " ", topics)
    vocabulary = text.Vocabulary.build(topics, specials=())
    unknown = set(prompt) - {*vocabulary.tokens}
    if unknown or not prompt:
        raise _lesson.OptionError(
            f"--prompt is {prompt!r}, but must have one character or more, all of them from "
            f"Python's help texts: {''.join(sorted(vocabulary.tokens))}"
        )
    return vocabulary, vocabulary.encode(topics)


# %%
def main(
    mode: str | None = None,
    seed: int = 1,
    n_steps: int = 1000,
    prompt: str = "The ",
    figures: str = "figures",
    quick: bool = False,
) -> dict[str, Any]:
    """Run the lesson; return what its parts found."""
    _lesson.positive_option("--n-steps", n_steps)
    vocabulary, ids = python_characters(prompt)
    folder, rng = _lesson.figure_folder(figures, quick), np.random.default_rng(seed)

    def chance() -> np.random.Generator:
        return np.random.default_rng([seed, 1])  # the same chances for all that is compared

    n_steps = 10 if quick else n_steps
    with pytensor.config.change_flags(floatX="float32"):
        found = words(mode, rng, chance, n_steps, 100 if quick else 2000, folder, quick)
        found |= characters(
            vocabulary, ids, prompt, mode, rng, chance, 3 * n_steps // 2, folder, quick
        )
    _lesson.show_figures()
    return found


def words(
    mode: Any,
    rng: np.random.Generator,
    chance: Callable[[], np.random.Generator],
    n_steps: int,
    n_written: int,
    folder: Path,
    quick: bool,
) -> dict[str, Any]:
    """Do parts 1 to 4."""
    grammar = english()
    vocabulary, tokenizer = text.Vocabulary(grammar.words), text.Words(line_ends="eos")
    model = sr.LanguageModel(len(vocabulary), 32, 64, rng=rng)
    generator, loss = sr.TextGenerator(model, vocabulary, tokenizer, mode=mode), compile_loss(model)
    train_ids = grammar.sample(400_000, rng=rng)
    test_ids = grammar.sample(BATCH * (TIME if quick else 300) + 1, rng=rng)
    best = float(np.exp(-grammar.log_probabilities(test_ids)[1:].mean()))

    def judged(**options: Any) -> list[tuple[str, bool]]:
        return accepted(grammar, generator.generate("", n_written, rng=chance(), **options))

    print("1. One step at a time: an untrained net writes, greedily", flush=True)
    first = vocabulary.eos
    assert first is not None
    by_hand = greedy_by_hand(generator, first, 12)
    print(f"  {' '.join(by_hand)}")
    written = generator.generate("", 12)
    assert written == tokenizer.detokenize(by_hand)

    print("\n2. Before, during and after training", flush=True)

    def watch(step: int) -> dict[str, Any]:
        found = {
            "perplexity": float(np.exp(loss(test_ids))),
            "judged": judged(),
            "fits": verbs_that_fit(generator),
        }
        right, n = share(found["judged"]), len(found["judged"])
        print(f"  step {step:>5}  perplexity {found['perplexity']:6.2f}", end="")
        at_once, distant = found["fits"]
        print(f"  the verb fits: at once {at_once:.0f} %, over a distance {distant:.0f} %")
        print(f"    {right:.1f} % of {n} sentences are right, the first ones:")
        for sentence, fits in found["judged"][:3]:
            print(f"    {'right' if fits else 'wrong'}  {sentence}"[:96])
        return found

    at = [] if quick else [n_steps * k // 100 for k in (2, 5, 10, 25, 50)]
    losses, watched = train_model(model, train_ids, n_steps, 0.01, rng, at, watch, mode)
    draw_training(losses, watched, best, folder)
    print(f"  the best possible perplexity for these words is {best:.2f}")

    print("\n3. Temperature")
    prompt = "the small dogs near the door"
    exact = grammar.next_words(prompt.split())
    print(f'  after "{prompt}"')
    offered = generator.next_words(prompt, k=6)
    for word, p in offered:
        print(f"    {word:8}  model {p:.3f}  grammar {exact.get(word, 0):.3f}")
    draw_distributions(generator, grammar, prompt, folder)

    print("\n4. Top-k and top-p: right or varied", flush=True)
    ways: dict[str, list[dict[str, Any]]] = {
        "temperature": [{"temperature": t} for t in (0.3, 0.5, 0.7, 1.0, 1.3, 1.7)],
        "top-k": [{"top_k": k} for k in (2, 4, 8, 20)],
        "top-p": [{"top_p": q} for q in (0.3, 0.6, 0.8, 0.9, 0.97)],
    }
    own = tokenizer.detokenize(grammar.decode(grammar.sample(n_written, rng=chance())))
    reference = right_and_different(accepted(grammar, own))
    print("  {:16}  right {:5.1f} %  different {:3.0f} %".format("the grammar", *reference))
    tradeoff: dict[str, list[tuple[float, float, float]]] = {}
    for name, settings in ways.items():
        tradeoff[name] = []
        for options in settings[1:3] if quick else settings:
            (value,), sentences = options.values(), judged(**options)
            right, different = right_and_different(sentences)
            tradeoff[name].append((value, right, different))
            print(f"  {name:11} {value:4g}  right {right:5.1f} %  different {different:3.0f} %")
    draw_tradeoff(tradeoff, reference[1], folder)
    return {
        "by_hand": by_hand,
        "watched": watched,
        "best": best,
        "losses": losses,
        "offered": offered,
        "exact": exact,
        "reference": reference,
        "tradeoff": tradeoff,
    }


def characters(
    vocabulary: text.Vocabulary,
    ids: Any,
    prompt: str,
    mode: Any,
    rng: np.random.Generator,
    chance: Callable[[], np.random.Generator],
    n_steps: int,
    folder: Path,
    quick: bool,
) -> dict[str, Any]:
    """Do parts 5 to 7."""
    print("\n5. Characters", flush=True)
    model = sr.LanguageModel(len(vocabulary), 32, 32 if quick else 128, rng=rng)
    generator, loss = (
        sr.TextGenerator(model, vocabulary, text.Characters(), mode=mode),
        compile_loss(model),
    )
    train_ids, test_ids = text.split(ids, (0.9, 0.1))
    n_long = 2000 if quick else 10_000
    people = "".join(vocabulary.decode(test_ids)).split(". The ", 1)[1][:n_long]
    people_ids = vocabulary.encode("The " + people)

    def watch(step: int) -> tuple[float, str]:
        nats = loss(people_ids)
        sample = generator.generate(prompt, 70, rng=chance())
        print(f"  step {step:>5}  loss {nats:.2f}  {prompt + sample!r}", flush=True)
        return nats, sample

    at = [] if quick else [n_steps * k // 100 for k in (5, 20, 50)]
    losses, watched = train_model(model, train_ids, n_steps, 0.005, rng, at, watch, mode)
    for t in (0.5, 0.8, 1.2)[: 1 if quick else 3]:
        sample = generator.generate(prompt, 70, rng=chance(), temperature=t)
        print(f"  temperature {t}: {prompt + sample!r}")

    print("\n6. Greedy ends in repetition loops", flush=True)
    n = 60 if quick else 600
    greedy = generator.generate(prompt, n)
    _, states = read(generator, prompt, greedy)
    length = loop_length(greedy)
    print(f"  {prompt + greedy[:160]!r}")
    print(f"  the loop has {length} characters" if length else "  no loop found")
    apart = []
    if length:
        apart = [
            float(np.linalg.norm(states[i] - states[i - length]))
            for i in range(n - 1, length, -length)
        ][::-1]
        print("  from round to round the state moves by", *(f"{d:.1e}" for d in apart[:6]))

    print("\n7. Beam search", flush=True)
    beams = {}
    n = 20 if quick else 150
    for width in (1, 4) if quick else (1, 4, 16, 64):
        beams[width] = generator.beam_search(prompt, n, width=width)[0]
        written, score = beams[width]
        print(f"  width {width:>2}  log-probability {score:7.1f}  {prompt + written[:60]!r}")
    best = max(beams, key=lambda width: beams[width][1])
    n_drawn = 60 if quick else n_long
    texts = {
        "by people": ("The ", people[:n_drawn]),
        "drawn, temperature 1": (prompt, generator.generate(prompt, n_drawn, rng=chance())),
        "drawn, top-p 0.9": (prompt, generator.generate(prompt, n_drawn, rng=chance(), top_p=0.9)),
        "greedy": (prompt, greedy[:n]),
        f"beam of {best}": (prompt, beams[best][0]),
    }
    surprise = {name: (t, read(generator, first, t)[0]) for name, (first, t) in texts.items()}
    for name, (_, p) in surprise.items():
        print(f"  {name:20}  {-np.log(p).mean():.2f} nats a character, mean of {len(p)}")
    draw_surprise(surprise, folder)
    return {
        "character_losses": losses,
        "samples": watched,
        "greedy": greedy,
        "loop_length": length,
        "apart": apart,
        "beams": beams,
        "surprise": surprise,
    }


if __name__ == "__main__":
    _lesson.run(
        main,
        help={
            "seed": "of weights, sentences and chance",
            "n_steps": "steps of training; the second model takes half as many more",
            "prompt": "what the second model's texts begin with",
            "figures": "folder for the figures",
            "quick": "10 steps of training and short texts",
        },
    )
