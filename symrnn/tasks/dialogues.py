"""Two kinds of artificial dialogues: one needs a memory, one has several right replies."""

import re
from collections.abc import Sequence

from numpy.random import Generator

from symrnn._validate import check_rng, check_sizes

Dialogue = list[str]

NAMES = ("Ann", "Ben", "Eva", "Ida", "Leo", "Max", "Tom", "Zoe")
COLOURS = ("red", "blue", "green", "black", "white", "brown", "grey", "pink")
THINGS = ("hat", "bike", "bag", "boat")
FACTS = {"name": NAMES, "colour": COLOURS}
CHAT = ("it is warm .", "i am tired .", "this is nice .", "we have time .")

REPLIES = {
    "animals": (
        "the dog barks .",
        "the cat purrs .",
        "the wolf howls .",
        "the duck quacks .",
        "the lion roars .",
        "the horse neighs .",
    ),
    "fruit": (
        "a lemon is sour .",
        "a melon is big .",
        "a plum is blue .",
        "a cherry is red .",
        "a banana is yellow .",
        "a peach is soft .",
    ),
    "jobs": (
        "bakers bake bread .",
        "farmers grow wheat .",
        "pilots fly planes .",
        "tailors sew coats .",
        "singers sing songs .",
        "masons build walls .",
    ),
}
"""All right replies of each subject."""


def memory_dialogues(n_dialogues: int, *, rng: Generator) -> list[Dialogue]:
    """Make dialogues whose last reply appeared three or more turns before.

    One speaker tells a name and the colour of a thing, in either order, may chat once in between or
    afterwards, and finally asks for one of the two. The other acknowledges, and has to answer with
    that one word. The question does not depend on the answer, so whoever knows the last utterance
    alone is right in one of eight cases at most: see `chance_without_memory`.

    Parameters
    ----------
    n_dialogues
        Number of dialogues.
    rng
        Random generator.

    Returns
    -------
    list of lists of str
        Dialogues of 6 or 8 utterances.

    Examples
    --------
    >>> import numpy as np
    >>> for utterance in memory_dialogues(1, rng=np.random.default_rng(2))[0]:
    ...     print(utterance)
    my name is Tom .
    hello .
    i am tired .
    i see .
    i have a green hat .
    nice .
    what colour is my hat ?
    green
    """
    check_rng(rng)
    check_sizes(n_dialogues=n_dialogues)
    return [_memory_dialogue(rng) for _ in range(n_dialogues)]


def _memory_dialogue(rng: Generator) -> Dialogue:
    name, colour, thing = (_one(rng, all_) for all_ in (NAMES, COLOURS, THINGS))
    told = [(f"my name is {name} .", "hello ."), (f"i have a {colour} {thing} .", "nice .")]
    if rng.random() < 0.5:
        told.reverse()
    if rng.random() < 0.5:
        told.insert(int(rng.integers(1, len(told) + 1)), (_one(rng, CHAT), "i see ."))
    dialogue = [utterance for pair in told for utterance in pair]
    if rng.random() < 0.5:
        return [*dialogue, "what is my name ?", name]
    return [*dialogue, f"what colour is my {thing} ?", colour]


def chance_without_memory() -> float:
    """Return the best accuracy of a reply that depends on the question alone.

    Given a question, all names, or all colours, are equally likely; there are eight of each.

    Examples
    --------
    >>> chance_without_memory()
    0.125
    """
    return sum(0.5 / len(answers) for answers in FACTS.values())


def choice_dialogues(n_dialogues: int, *, rng: Generator) -> list[Dialogue]:
    """Make dialogues whose last reply is one of six, all equally likely.

    The subject is named in the first utterance, and the last one asks for a sentence about it;
    `is_right` says whether a reply is one of `REPLIES`. Whoever knows the last utterance alone is
    right in one of three cases at most.

    Parameters
    ----------
    n_dialogues
        Number of dialogues.
    rng
        Random generator.

    Returns
    -------
    list of lists of str
        Dialogues of 4 utterances.

    Examples
    --------
    >>> import numpy as np
    >>> for utterance in choice_dialogues(1, rng=np.random.default_rng(2))[0]:
    ...     print(utterance)
    let us talk about jobs .
    good idea .
    tell me something .
    farmers grow wheat .
    """
    check_rng(rng)
    check_sizes(n_dialogues=n_dialogues)
    dialogues = []
    for _ in range(n_dialogues):
        subject = _one(rng, [*REPLIES])
        reply = _one(rng, REPLIES[subject])
        dialogues.append(
            [f"let us talk about {subject} .", "good idea .", "tell me something .", reply]
        )
    return dialogues


def is_right(dialogue: Sequence[str], reply: str) -> bool:
    """Return whether a reply to a dialogue of `choice_dialogues` is right; spaces are ignored.

    Parameters
    ----------
    dialogue
        Its utterances, of which the first names the subject.
    reply
        The last utterance.

    Examples
    --------
    >>> asked = ["let us talk about fruit .", "good idea .", "tell me something ."]
    >>> [is_right(asked, reply) for reply in ("a plum is blue.", "a plum is red.", "oh.")]
    [True, False, False]
    """
    if not dialogue:
        raise ValueError("the dialogue is empty, but its first utterance must name the subject")
    for subject, replies in REPLIES.items():
        if subject in re.findall(r"\w+", dialogue[0]):
            return "".join(reply.split()) in {"".join(r.split()) for r in replies}
    raise ValueError(f"{dialogue[0]!r} names none of the subjects {', '.join(REPLIES)}")


def _one(rng: Generator, of: Sequence[str]) -> str:
    return of[int(rng.integers(len(of)))]
