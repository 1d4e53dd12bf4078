import numpy as np
import pytest

from symrnn.text import (
    Characters,
    DialogueVocabulary,
    UnknownTokenError,
    Vocabulary,
    dialogue_batches,
    padded_dialogues,
    read_dialogues,
)


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "talk.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_blank_lines_stand_between_dialogues(file):
    text = "\n  \nHi\n  Hello there  \n\n\n\tA\nB\nC\n \n"
    expected = [["Hi", "Hello there"], ["A", "B", "C"]]
    assert read_dialogues(file(text)) == expected
    assert read_dialogues(file(text.replace("\n", "\r\n"))) == expected
    assert read_dialogues(file(text.rstrip())) == expected


def test_a_dialogue_may_stand_in_one_line(file):
    assert read_dialogues(file("Hi\tHello\n\nA \t B\tC\t\n"), separator="\t") == [
        ["Hi", "Hello"],
        ["A", "B", "C"],
    ]
    assert read_dialogues(file("Hi __eou__ Yes __eou__\n"), separator="__eou__") == [["Hi", "Yes"]]


@pytest.mark.parametrize(
    ("content", "separator", "message"),
    [
        ("a\nb\n\nalone\n\nc\nd\n", None, "talk.txt, line 4: the dialogue has one utterance, 'al"),
        ("a\tb\nalone\n", "\t", "talk.txt, line 2: the dialogue has one utterance"),
        ("a\tb\n\na\t\tb\n", "\t", r"talk.txt, line 3: utterance 2 of 'a\\t\\tb' is empty"),
        ("\tb\n", "\t", "line 1: utterance 1"),
        ("\t\n", "|", "holds only blank lines"),
        ("", None, "is empty"),
        ("a\nb", " ", "the separator is ' '"),
        (b"a\n\xff\xfe\n", None, "UTF-8|utf-8"),
    ],
)  # fmt: skip
def test_what_is_no_dialogue_is_told_with_its_line(file, content, separator, message):
    with pytest.raises(ValueError, match=message):
        read_dialogues(file(content), separator=separator)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_dialogues(tmp_path / "none.txt")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        read_dialogues(tmp_path)


def test_texts_become_numbers_and_back():
    words = DialogueVocabulary.build([["You are Ann .", "Yes !"], ["You ?"]])
    (dialogue,) = words.encode([["You are Ann .", "Yes !"]])
    assert [words.text(u) for u in dialogue] == ["You are Ann.", "Yes!"]
    assert words.text([]) == ""
    assert len(words) == len(words.vocabulary) == 8


def test_rare_words_become_unk():
    words = DialogueVocabulary.build([["a a b", "a b c"]], min_count=2)
    assert words.vocabulary.tokens == ("<eos>", "<unk>", "a", "b")
    assert words.encode([["c a d"]])[0][0].tolist() == [1, 2, 1]


def test_an_unknown_word_is_named_and_its_place():
    words = DialogueVocabulary.build([["hello Ann", "hello"]])
    with pytest.raises(UnknownTokenError, match="token 1 is 'Ben'") as raised:
        words.encode([["hello"], ["hello Ann", "hello Ben"]])
    assert raised.value.__notes__[-1] == "It is in utterance 1 of dialogue 1, 'hello Ben'."


def test_empty_and_long_utterances_are_named():
    words = DialogueVocabulary.build([["a b c", "a"]])
    for dialogues, error, message in (
        ([["a"], []], ValueError, "dialogue 1 is empty"),
        ([["a", " "]], ValueError, "utterance 1 of dialogue 0, ' ', has no token"),
        ([["a", "a b c"]], ValueError, "utterance 1 of dialogue 0 has 3 tokens, 'a b c', but"),
        (["abc"], TypeError, "dialogue 0 is a string"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            words.encode(dialogues, longest=2)
    with pytest.raises(TypeError, match="dialogue 1 is a string, but must be a list of utteran"):
        DialogueVocabulary.build([["Hello ."], "Hi ."])
    with pytest.raises(ValueError, match="the vocabulary has no <eos>"):
        DialogueVocabulary(Vocabulary(["a"]))
    with pytest.raises(ValueError, match="no tokens"):
        DialogueVocabulary.build([])


def test_padding_is_after_utterances_and_after_dialogues():
    words, mask = padded_dialogues([[[1, 2], [3]], [[4]]], eos=9)
    assert words.shape == mask.shape == (3, 2, 2)
    assert words.dtype == np.int64
    assert [words[mask[:, n, b], n, b].tolist() for b, n in ((0, 0), (0, 1), (1, 0), (1, 1))] == [
        [1, 2, 9], [3, 9], [4, 9], [],
    ]  # fmt: skip
    assert not words[~mask].any()
    for nothing in ([], [[]], [[[1]], []]):
        with pytest.raises(ValueError, match="there must be at least one, and each must have an"):
            padded_dialogues(nothing, eos=9)
    with pytest.raises(TypeError, match="is float64, but must be int64: token ids are"):
        padded_dialogues([[[1], [1.7]]], eos=9)
    with pytest.raises(TypeError, match="eos is None, but must be a token id"):
        padded_dialogues([[[1]]], eos=None)


@pytest.mark.parametrize("most_turns", [None, 2, np.int64(3), 4, 9])
def test_every_utterance_but_the_first_is_a_reply_once_however_dialogues_are_cut(most_turns):
    dialogues = [[[10 * k + n] for n in range(1, length + 1)] for k, length in enumerate((2, 5, 7))]
    batches = dialogue_batches(
        dialogues, batch_size=2, eos=0, rng=np.random.default_rng(1), most_turns=most_turns
    )
    replies = []
    for words, mask in batches:
        assert words.shape[1] <= (most_turns or 7)
        for b in range(words.shape[2]):
            said = words[0, mask[0, :, b], b].tolist()
            assert len(said) >= 2
            assert np.diff(said).tolist() == [1] * (len(said) - 1)  # in order
            replies += said[1:]
    assert sorted(replies) == [u[0] for d in dialogues for u in d[1:]]


def test_batches_come_in_a_new_order_each_time_and_the_same_from_a_seed():
    dialogues = [[[k], [k]] for k in range(1, 30)]
    orders = []
    for seed in (1, 1, 2):
        batches = dialogue_batches(dialogues, batch_size=4, eos=0, rng=np.random.default_rng(seed))
        assert len(batches) == 8
        for _ in range(2):
            orders.append([w for words, _ in batches for w in words[0, 0].tolist()])
            assert orders[-1] == [w for b in batches[:] for w in b.words[0, 0].tolist()]
    assert orders[:2] == orders[2:4]
    assert len({tuple(order) for order in orders}) == 4
    assert all(sorted(order) == list(range(1, 30)) for order in orders)
    with pytest.raises(IndexError):
        batches[8]
    assert batches[-1].words.shape == (2, 2, 1)


@pytest.mark.parametrize(
    ("dialogues", "options", "error", "message"),
    [
        ([], {}, ValueError, "there is no dialogue"),
        ([[[1], [2]], [[1]]], {}, ValueError, "dialogue 1 has 1 utterances, but must have two"),
        ([[[1], []]], {}, ValueError, "utterance 1 of dialogue 0 is empty"),
        ([[[1], [[2]]]], {}, ValueError, r"has shape \(1, 1\)"),
        ([[[1], [0.5]]], {}, TypeError, "is float64, but must be whole numbers"),
        (
            [[[1], [0, 2]]],
            {},
            ValueError,
            "utterance 1 of dialogue 0 holds 0, the token",
        ),
        ([[[1], [2]]], {"batch_size": 0}, ValueError, "batch_size is 0"),
        ([[[1], [2]]], {"most_turns": 1}, ValueError, "most_turns is 1, but must be .* at least 2"),
        (
            [[[1], [2]]],
            {"most_turns": 2.0},
            ValueError,
            "most_turns is 2.0, but .* at least 2",
        ),
        ([[[1], [2]]], {"eos": None}, TypeError, "eos is None"),
        ([[[1], [2]]], {"rng": 3}, TypeError, "rng is 3"),
    ],
)
def test_what_makes_no_batch_is_refused(dialogues, options, error, message):
    with pytest.raises(error, match=message):
        dialogue_batches(dialogues, **({"batch_size": 2, "eos": 0} | options))


def test_characters_may_be_tokens():
    words = DialogueVocabulary.build([["ab", "b"]], tokenizer=Characters())
    assert words.text(words.encode([["ba"]])[0][0]) == "ba"
