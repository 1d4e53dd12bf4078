import json

import numpy as np
import pytest

from symrnn.text import EOS, UNK, UnknownTokenError, Vocabulary

SONG = ["You", "say", "goodbye", "and", "I", "say", "hello", ".", "hello", "hello"]


def test_the_most_frequent_come_first_and_ties_in_alphabetical_order():
    vocabulary = Vocabulary.build(SONG)
    assert vocabulary.tokens == (UNK, "hello", "say", ".", "I", "You", "and", "goodbye")
    assert vocabulary.counts.tolist() == [0, 3, 2, 1, 1, 1, 1, 1]
    assert Vocabulary.build(reversed(SONG)) == vocabulary
    assert Vocabulary.build({"b": 1, "a": 1, "c": 2}, specials=()).tokens == ("c", "a", "b")


def test_limits_leave_the_rare_to_unk_which_counts_them():
    vocabulary = Vocabulary.build(SONG, max_size=4, specials=(UNK, EOS))
    assert vocabulary.tokens == (UNK, EOS, "hello", "say")
    assert vocabulary.counts.tolist() == [5, 0, 3, 2]
    assert Vocabulary.build(SONG, min_count=3).tokens == (UNK, "hello")
    assert (vocabulary.unk, vocabulary.eos) == (0, 1)


def test_special_tokens_in_the_text_are_counted():
    vocabulary = Vocabulary.build(["a", UNK, EOS, "a", UNK, "b", EOS], specials=(UNK, EOS))
    assert dict(zip(vocabulary, vocabulary.counts.tolist(), strict=True)) == {
        UNK: 2,
        EOS: 2,
        "a": 2,
        "b": 1,
    }
    as_they_come = Vocabulary.build(["a", EOS, EOS], specials=())
    assert as_they_come.tokens == (EOS, "a")
    assert (as_they_come.eos, as_they_come.unk) == (0, None)


def test_what_is_encoded_and_decoded_comes_back():
    vocabulary = Vocabulary.build(SONG)
    ids = vocabulary.encode(SONG)
    assert ids.dtype == np.int64
    assert vocabulary.decode(ids) == SONG
    assert vocabulary.decode(ids.astype("uint8")) == SONG
    assert vocabulary.decode(vocabulary.encode(["I", "sing"])) == ["I", UNK]
    assert vocabulary.encode([]).tolist() == vocabulary.decode([]) == []


@pytest.mark.parametrize("specials", [(), (UNK,), (UNK, EOS)])
def test_a_string_is_encoded_like_the_list_of_its_characters(specials):
    text = "naïve Καλημέρα 中文 🚀 \n\0 end"
    vocabulary = Vocabulary.build(text, specials=specials)
    np.testing.assert_array_equal(vocabulary.encode(text), vocabulary.encode(list(text)))
    assert "".join(vocabulary.decode(vocabulary.encode(text))) == text
    if specials:
        other = "a\u0301 Ж \U0010ffff"
        np.testing.assert_array_equal(vocabulary.encode(other), vocabulary.encode(list(other)))


def test_it_is_a_collection_of_tokens():
    vocabulary = Vocabulary(["a", "b", UNK])
    assert (len(vocabulary), list(vocabulary)) == (3, ["a", "b", UNK])
    assert "b" in vocabulary
    assert "c" not in vocabulary
    assert (vocabulary["b"], vocabulary["c"]) == (1, 2)
    assert vocabulary == Vocabulary(["a", "b", UNK], counts=[3, 2, 1])
    assert vocabulary != Vocabulary(["b", "a", UNK])
    assert vocabulary != ("a", "b", UNK)
    assert len({vocabulary, Vocabulary(["a", "b", UNK])}) == 1


@pytest.mark.parametrize(
    ("size", "dtype"), [(1, "u1"), (256, "u1"), (257, "u2"), (65536, "u2"), (65537, "u4")]
)
def test_the_dtype_is_the_smallest_that_fits(size, dtype):
    assert Vocabulary(map(str, range(size))).dtype == dtype


def test_an_unknown_word_is_named_with_its_position_and_similar_ones():
    vocabulary = Vocabulary.build(SONG, specials=())
    message = "token 1 is 'goodby', .* Similar spelling: 'goodbye'"
    with pytest.raises(UnknownTokenError, match=message) as e:
        vocabulary.encode(["say", "goodby", "xyz"])
    assert (e.value.token, e.value.position) == ("goodby", 1)
    with pytest.raises(UnknownTokenError, match="token 101 is 'goodby'"):
        vocabulary.encode(["say", "goodby"], first=100)


def test_an_unknown_character_is_named_with_its_code():
    vocabulary = Vocabulary.build("abc", specials=())
    for text in ("abé", ["a", "b", "é"]):
        with pytest.raises(UnknownTokenError, match=r"token 2 .* 'é' \(U\+00E9 LATIN"):
            vocabulary.encode(text)


def test_a_vocabulary_of_words_takes_no_string():
    with pytest.raises(TypeError, match="tokenize it first"):
        Vocabulary.build(SONG).encode("You say")


def test_what_is_no_token_is_refused():
    with pytest.raises(TypeError, match="token 1 is 3, but must be a string"):
        Vocabulary.build(SONG).encode(["say", 3])


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([0, 8], ValueError, "from 0 to 8, but this vocabulary has 0 to 7"),
        ([-1], ValueError, "from -1 to -1"),
        ([0.5], TypeError, "float64, but must be whole numbers"),
        ([True], TypeError, "bool, but must be whole"),
        ([[0, 1]], ValueError, r"shape \(1, 2\), but must have one axis"),
        (3, ValueError, "must have one axis"),
    ],
)
def test_numbers_that_no_token_has_are_refused(ids, error, message):
    with pytest.raises(error, match=message):
        Vocabulary.build(SONG).decode(ids)


@pytest.mark.parametrize(
    ("tokens", "counts", "error", "message"),
    [
        ([], None, ValueError, "at least one token"),
        (["a", "b", "a"], None, ValueError, "token 2 is 'a', as is token 0"),
        (["a", 1], None, TypeError, "token 1 is 1, but must be a string"),
        (["a", ""], None, ValueError, "token 1 is an empty string"),
        (["a"], [1, 2], ValueError, "one each"),
        (["a"], [-1], ValueError, "0 or more"),
        (["a"], [0.5], TypeError, "counts are float64"),
    ],
)
def test_tokens_and_counts_that_make_no_vocabulary_are_refused(tokens, counts, error, message):
    with pytest.raises(error, match=message):
        Vocabulary(tokens, counts=counts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_size": 1}, "max_size at least 2"),
        ({"min_count": 0}, "min_count must be at least 1"),
        ({"max_size": 3, "specials": ()}, "nothing stands for them"),
        ({"min_count": 2, "specials": (EOS,)}, "5 of 10 tokens are left out"),
    ],
)
def test_limits_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary.build(SONG, **options)
    with pytest.raises(TypeError, match=r"specials is '<unk>', but must be a tuple"):
        Vocabulary.build(SONG, specials=UNK)
    with pytest.raises(ValueError, match="is the text empty"):
        Vocabulary.build([])


def test_saved_and_loaded_it_is_the_same(tmp_path):
    vocabulary = Vocabulary.build([*SONG, "é", "🚀", "\n", '"', "\ud800"], specials=(UNK, EOS))
    vocabulary.save(tmp_path / "new" / "vocabulary.json")
    loaded = Vocabulary.load(tmp_path / "new" / "vocabulary.json")
    assert loaded == vocabulary
    assert loaded.counts.tolist() == vocabulary.counts.tolist()
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["vocabulary.json"]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    file = tmp_path / "vocabulary.json"
    Vocabulary(["old"]).save(file)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        Vocabulary(["new"]).save(file)
    assert Vocabulary.load(file) == Vocabulary(["old"])
    assert len(list(tmp_path.iterdir())) == 1


def _content(**changes):
    return json.dumps({**json.loads(Vocabulary(["a", "b"]).to_json()), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON, or cut off"),
        (Vocabulary(["a", "b"]).to_json()[:-20], "is not JSON, or cut off"),
        ("[]", "is not of the format"),
        (_content(format="another 1"), "is not of the format"),
        (_content(tokens=None), 'must have a list of "tokens"'),
        (_content(tokens=["a", "a"]), "does not hold a vocabulary: token 1 is 'a', as is token 0"),
        (_content(tokens=["a", 2]), "token 1 is 2, but must be a string"),
        (_content(counts=[1]), "one each"),
        (_content(counts=[1, "2"]), "must be whole numbers"),
        (_content(counts=[1, [2, 3]]), "does not hold a vocabulary"),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, text, message):
    file = tmp_path / "vocabulary.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        Vocabulary.load(file)
    assert str(file) in str(error.value)


def test_a_binary_file_is_no_vocabulary(tmp_path):
    (tmp_path / "v.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not JSON"):
        Vocabulary.load(tmp_path / "v.json")
    with pytest.raises(FileNotFoundError):
        Vocabulary.load(tmp_path / "none.json")
