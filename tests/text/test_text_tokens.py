import random
import sys
import unicodedata

import pytest

from symrnn.text import EOS, Characters, Words, normalize, tokenizer_from

NASTY = [
    "",
    "\n",
    "\r",
    "a\r\n\r\nb\rc\n\n",
    "no line end",
    "   blanks \t before\n   and after   \n   ",
    "Cafe\u0301 e\u0301 \u0301alone a\u0301\u0323\u0316b q\u0323\u0307 q\u0307\u0323",
    "ﬁne №5 ½ \u3000wide\u3000 \u00b4acute ｶﾞ ㅏ한국어 \u1112\u1161\u11ab \u2126 Å",
    "ΟΔΥΣΣΕΥΣ ΟΔΟΣ'Σ Σ. ΑΣ,Β ΑΣ\u0301Β İstanbul",
    "don't ’tis rock’n’roll 'quoted' dogs' a''b O'",
    "नमस्ते दुनिया می‌خواهم ไทย 中文没有空格，但是有标点。かな",
    "👩‍🚀 flags 🇩🇪 z\u0489 \U0001f44d\U0001f3fd ok",
    "<eos> <unk> a<eos>b \ufeff \u200b \u2028line\u2029 \x0b \x1c \x85 end",
    "x" * 50 + "\r",
]
TOKENIZERS = [
    *(Characters(form=form, lower=lower) for form in ("NFC", "NFKC", None) for lower in (0, 1)),
    Words(),
    Words(form="NFKC", lower=True, line_ends="keep"),
    Words(lower=True, line_ends="eos"),
    Words(punctuation="drop", line_ends="eos"),
    Words(form=None, punctuation="keep", line_ends="eos"),
]


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=str)
def test_a_text_in_tiny_pieces_has_the_tokens_of_the_whole(tokenizer):
    rng = random.Random(0)
    for text in [*NASTY, "".join(NASTY), "\n".join(NASTY)]:
        whole = list(tokenizer.tokenize(text))
        for largest in (1, 2, 3, 7, 40):
            pieces, begin = [], 0
            while begin < len(text):
                end = begin + rng.randint(0, largest)
                pieces.append(text[begin:end])
                begin = end
            cut = [t for tokens in tokenizer.tokenize_pieces(pieces) for t in tokens]
            assert cut == whole


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=str)
def test_random_texts_in_pieces_have_the_tokens_of_the_whole(tokenizer):
    rng = random.Random(1)
    alphabet = sorted(set("".join(NASTY))) + [" ", "\n", "\r", "Σ", "'", "中"] * 8
    for _ in range(200):
        text = "".join(rng.choices(alphabet, k=30))
        pieces = [text[k : k + 3] for k in range(0, 30, 3)]
        cut = [t for tokens in tokenizer.tokenize_pieces(pieces) for t in tokens]
        assert cut == list(tokenizer.tokenize(text))


def test_nothing_in_unicode_composes_with_the_character_before_a_cut():
    cuts = [c for c in map(chr, range(sys.maxunicode + 1)) if Characters()._is_cut(c)]
    assert len(cuts) > 20_000
    for c in cuts:
        first = unicodedata.normalize("NFKD", c)[0]
        assert unicodedata.combining(first) == 0
        assert unicodedata.category(first) in ("Zs", "Zl", "Zp", "Cc", "Lo", "So", "Cn")
        assert (c.lower(), c.upper()) == (c, c)  # so a final sigma sees a word's end here
    seconds = set()  # what composes with something before it
    for c in map(chr, range(sys.maxunicode + 1)):
        parts = unicodedata.decomposition(c).split()
        if len(parts) == 2 and "<" not in parts[0]:
            seconds.add(chr(int(parts[1], 16)))
    assert not seconds & set(cuts)


def test_pieces_are_handed_on_as_they_come():
    came = []

    def pieces():
        for k in range(100):
            came.append(k)
            yield "some words and\n"

    first = next(Words().tokenize_pieces(pieces()))
    assert (first, len(came)) == (["some", "words", "and"], 1)
    assert len(list(Characters().tokenize_pieces(["中" * 10] * 100))) > 90  # no white space at all


def test_line_ends_are_those_of_unix():
    assert normalize("a\r\nb\rc\n\r\n") == "a\nb\nc\n\n"


def test_small_letters_are_normalised_again():
    text = normalize("\u03d3 H\u0331", form="NFKC", lower=True)
    assert text == unicodedata.normalize("NFKC", text) == text.lower()


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, ["Say", ":", "don't", "-", "go", "!", "!", "No", "."]),
        ({"lower": True, "punctuation": "drop"}, ["say", "don't", "go", "no"]),
        ({"punctuation": "keep"}, ["Say:", "don't-go!!", "No."]),
        ({"line_ends": "keep"}, ["Say", ":", "don't", "-", "go", "!", "!", "\n", "\n", "No", "."]),
        ({"punctuation": "keep", "line_ends": "eos"}, ["Say:", "don't-go!!", EOS, EOS, "No.", EOS]),
    ],
)
def test_options_of_words(options, wanted):
    assert Words(**options).tokenize("Say: don't-go!!\n\n No.") == wanted


def test_a_last_line_with_an_end_gets_no_second_one():
    words = Words(line_ends="eos")
    assert words.tokenize("a\n") == words.tokenize("a") == ["a", EOS]
    assert words.tokenize("") == []


def test_an_unfinished_text_gets_no_end():
    words = Words(line_ends="eos")
    assert words.tokenize("a\nb", unfinished=True) == ["a", EOS, "b"]
    assert Characters().tokenize("a", unfinished=True) == "a"


def test_words_of_all_scripts_stay_whole():
    for text in ["नमस्ते", "می‌خواهم", "Straße", "naïve", "na\u0308ive", "l’été", "中文", "x_1"]:
        assert Words(form=None).tokenize(f"({text})") == ["(", text, ")"]


def test_characters_are_code_points_after_composition():
    assert list(Characters().tokenize("e\u0301q\u0301")) == ["é", "q", "\u0301"]
    assert list(Characters(form=None).tokenize("e\u0301")) == ["e", "\u0301"]


@pytest.mark.parametrize(
    "text",
    [
        "He said: \"You say goodbye\", and I say 'hello'.",
        "Well-known (or not?) things; £5, 50% off!\n\nA new line “with” quotes…",
        "It's the dog’s.\nYes.",
    ],
)
def test_detokenised_words_read_as_the_text_did(text):
    words = Words(line_ends="keep")
    assert words.detokenize(words.tokenize(text)) == text


def test_an_open_quote_ends_with_its_line():
    words = Words(line_ends="keep")
    assert words.detokenize(words.tokenize('"a b\n"c"')) == '"a b\n"c"'


def test_kept_punctuation_is_joined_with_spaces():
    words = Words(punctuation="keep", line_ends="eos")
    assert words.detokenize(["a", ".", "b", EOS, "c", EOS]) == "a . b\nc\n"


def test_characters_round_trip():
    for text in NASTY:
        tokens = Characters().tokenize(text)
        assert Characters().tokenize(Characters().detokenize(tokens)) == tokens


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=str)
def test_settings_make_the_same_tokeniser(tokenizer):
    assert tokenizer_from(tokenizer.settings()) == tokenizer


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Words(punctuation="dropped"), "punctuation is 'dropped', but must be one of"),
        (lambda: Words(line_ends=None), "line_ends is None, but must be one of"),
        (lambda: Characters(form="nfc"), "form is 'nfc', but must be one of 'NFC', 'NFKC', None"),
        (lambda: normalize("a", form="NFD"), "form is 'NFD'"),
        (lambda: tokenizer_from({}), "tokens is None, but must be one of 'characters', 'words'"),
        (lambda: tokenizer_from({"tokens": "words", "depth": 2}), "are not those of words"),
    ],
)
def test_unknown_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bytes_are_no_text():
    with pytest.raises(TypeError, match="the text is a bytes"):
        Words().tokenize(b"abc")
