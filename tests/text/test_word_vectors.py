import time
import warnings

import numpy as np
import pytest
from scipy.stats import rankdata

from symrnn.text import UnknownTokenError
from symrnn.text.word_vector_files import read_analogies, read_similarities
from symrnn.text.word_vectors import WordVectors

RNG = np.random.default_rng(1)
WORDS = [f"w{k}" for k in range(30)]
VECTORS = RNG.normal(size=(30, 4))
FILE = "3 2\nthe 1 2\nof 0.5 -1e-3\nHütte 0 1\n"


@pytest.fixture
def w():
    return WordVectors(WORDS, VECTORS)


@pytest.fixture
def written(tmp_path):
    """Write a file and return its path."""

    def write(content):
        path = tmp_path / "file.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def cosine(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


def test_nearest_words_are_those_with_the_largest_cosines(w):
    scores = {word: cosine(VECTORS[3], v) for word, v in zip(WORDS, VECTORS, strict=True)}
    assert w.similarity("w3", "w8") == pytest.approx(scores["w8"])
    del scores["w3"]
    expected = sorted(scores, key=scores.get, reverse=True)
    for n in (1, 5, 29, 100):
        found = w.nearest("w3", n=n)
        assert [word for word, _ in found] == expected[:n]
        np.testing.assert_allclose([c for _, c in found], [scores[x] for x in expected[:n]])
    assert [word for word, _ in w.nearest(3 * VECTORS[3], n=3)] == ["w3", *expected[:2]]


def test_analogies_leave_out_what_was_asked(w):
    def unit(word):
        return w["w" + word] / np.sqrt(w["w" + word] @ w["w" + word])

    wanted = unit("2") - unit("1") + unit("7")
    scores = {word: cosine(wanted, w[word]) for word in WORDS if word not in ("w1", "w2", "w7")}
    expected = sorted(scores, key=scores.get, reverse=True)
    found = w.analogy("w1", "w2", "w7", n=3)
    assert [word for word, _ in found] == expected[:3]
    np.testing.assert_allclose([c for _, c in found], [scores[x] for x in expected[:3]])
    assert len(w.analogy("w1", "w2", "w7", n=100)) == 27


def test_questions_are_solved_where_the_best_answer_is_right(w):
    rng = np.random.default_rng(1)
    asked = [tuple(np.array(WORDS)[rng.choice(30, 3, replace=False)].tolist()) for _ in range(600)]
    best = [w.analogy(*q, n=1)[0][0] for q in asked]
    right = rng.integers(2, size=600).astype(bool)
    answers = [
        b if ok else w.analogy(*q, n=2)[1][0] for q, b, ok in zip(asked, best, right, strict=True)
    ]
    questions = [(*q, d) for q, d in zip(asked, answers, strict=True)]
    np.testing.assert_array_equal(w.solves(questions), right)


def test_what_was_asked_is_no_answer_even_where_there_is_no_other():
    w = WordVectors(["x", "y", "z"], np.eye(3))
    assert w.solves([("y", "z", "x", "x"), ("x", "y", "z", "z")]).tolist() == [False, False]


QUESTIONS = (
    "man woman king queen\n\n: Capitals 1\nAthens Greece Rome Italy\nA\tB\tC\tD\n: x\na b c d\n"
)


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_analogies_are_read_by_section(written, start):
    path = written(start + QUESTIONS.replace("\n", "\r\n"))
    assert read_analogies(path) == {
        "": [("man", "woman", "king", "queen")],
        "Capitals 1": [("Athens", "Greece", "Rome", "Italy"), ("A", "B", "C", "D")],
        "x": [("a", "b", "c", "d")],
    }
    assert read_analogies(path, lower=True)["Capitals 1"][0] == (
        "athens",
        "greece",
        "rome",
        "italy",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a b c\n", "line 1: 'a b c' must be four words"),
        (": x\n\na b c d e\n", "line 3: 'a b c d e' must be four words"),
        (": x\n", "holds no questions"),
        ("a b c d\nü b c d\n".encode("latin-1"), "line 2: .* is not in UTF-8"),
    ],
)
def test_files_of_analogies_that_cannot_be_read_are_told(written, content, message):
    path = written(content)
    with pytest.raises(ValueError, match=message) as told:
        read_analogies(path)
    assert str(told.value).startswith(str(path))


def test_questions_with_unknown_words_can_be_left_out(w):
    questions = [("w1", "w2", "w3", "w4"), ("w1", "w2", "w3", "cat"), ("w5", "w6", "w7", "w8")]
    assert w.known(questions) == [questions[0], questions[2]]
    assert len(w.solves(w.known(questions))) == 2


def test_cosines_are_never_above_one():
    w = WordVectors(words := [f"w{k}" for k in range(300)], RNG.normal(size=(300, 7)))
    assert max(w.similarity(word, word) for word in words) == 1
    assert max(w.nearest(w[word], n=1)[0][1] for word in words) == 1


def test_among_many_words_an_unknown_one_is_told_soon():
    words = [f"w{k}" for k in range(100_000)]
    w = WordVectors(words, np.ones((len(words), 1), "f4"))
    start = time.process_time()  # of this process: other load does not count
    with pytest.raises(UnknownTokenError, match="Similar spelling"):
        w["w0123"]
    assert time.process_time() - start < 1  # 0.1; 3 if all words were compared


def test_words_that_are_not_there_are_told_with_those_spelt_like_them():
    w = WordVectors(["king", "queen", "kingdom"], np.eye(3))
    for call in (
        lambda: w["kings"],
        lambda: w.nearest("kings"),
        lambda: w.similarity("queen", "kings"),
        lambda: w.analogy("queen", "kings", "king"),
        lambda: w.solves([("queen", "king", "king", "kings")]),
        lambda: w.plane(["king", "queen", "kings"]),
    ):
        with pytest.raises(UnknownTokenError, match="'kings' is not among the 3 words") as told:
            call()
        assert "Similar spelling: 'king', 'kingdom'." in str(told.value)
    with pytest.raises(UnknownTokenError, match=r"words\.$"):
        w["zzz"]
    assert "king" in w
    assert "kings" not in w


def test_the_correlation_is_that_of_ranks(w, written):
    pairs = [(f"w{a}", f"w{b}") for a, b in RNG.integers(30, size=(20, 2))]
    human = RNG.integers(10, size=20) / 2
    lines = [f"{a}\t{b}\t{s}" for (a, b), s in zip(pairs, human, strict=True)]
    found = w.correlation(written("# a remark\nWord 1\tWord 2\tMean\n\n" + "\n".join(lines)))
    ranks = [rankdata([w.similarity(*p) for p in pairs]), rankdata(human)]
    assert found.rho == pytest.approx(np.corrcoef(ranks)[0, 1])
    assert found.n_pairs == 20
    assert found.missing == []
    assert 0 <= found.p_value <= 1


@pytest.mark.parametrize("separator", ["\t", ",", ";", " ", ", ", "   "])
def test_judgements_are_read_with_any_separator(written, separator):
    lines = [["tiger", "cat", "7.35"], ["book", "paper", "7.46"]]
    content = "\r\n".join(separator.join(line) for line in lines)
    assert list(read_similarities(written("\ufeff" + content))) == [
        ("tiger", "cat", 7.35), ("book", "paper", 7.46)
    ]  # fmt: skip


def test_pairs_without_vectors_are_left_out_and_named(w, written):
    path = written("w0 w1 A 1\nw2 cat B 2\nw2 w3 C 3\nw4 w5 D 0\n")
    found = w.correlation(path, column=4)
    assert found.missing == [("w2", "cat")]
    assert found.n_pairs == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("w0 w1 1\nw2 w3\n", "line 2: 'w2 w3' must be two words and, in column 3, a number"),
        ("w0 w1 1\nw2 w3 x\n", "line 2: 'w2 w3 x' must be"),
        ("w0 w1 nan\n", "line 1: 'w0 w1 nan' must be"),
        ("w0 w1 1\nw2 w3 inf\n", "line 2: 'w2 w3 inf' must be"),
        ("w0 w1 1\nwü w3 2\n".encode("latin-1"), "file.txt, line 2: .* is not in UTF-8"),
        ("only text\n", "line 1: 'only text' must be"),
        ("", "0 pairs of words have vectors"),
        ("w0 w1 1\nw2 cat 2\n", "1 pairs of words have vectors, 1 have not"),
        ("w0 w1 1\nw2 w3 1\nw4 w5 1\n", "not all equal"),
    ],
)
def test_files_of_judgements_that_cannot_be_used_are_told(w, written, content, message):
    with pytest.raises(ValueError, match=message):
        w.correlation(written(content))


def test_a_plane_keeps_as_much_variance_as_any(w):
    points = w.plane(WORDS)
    centred = w.unit - w.unit.mean(axis=0)
    largest = np.sort(np.linalg.eigvalsh(centred.T @ centred))[::-1][:2]
    np.testing.assert_allclose((points**2).sum(axis=0), largest)
    np.testing.assert_allclose(points[:, 0] @ points[:, 1], 0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_saved_file_gives_the_same_numbers_back(tmp_path, dtype):
    vectors = (VECTORS * 10.0 ** RNG.integers(-30, 30, VECTORS.shape)).astype(dtype)
    words = [f"wört-{k}\xa0\u2028" for k in range(30)]  # spaces that are not the format's
    WordVectors(words, vectors).save(tmp_path / "v.txt")
    again = WordVectors.load(tmp_path / "v.txt", dtype=dtype)
    assert again.words == tuple(words)
    assert again.vectors.dtype == dtype
    np.testing.assert_array_equal(again.vectors, vectors)
    assert (tmp_path / "v.txt").read_bytes().startswith(b"30 4\n")


def test_files_of_others_are_read(written):
    for content in (
        FILE,
        FILE.replace("\n", "\r\n"),
        FILE.replace("\n", " \n"),
        FILE + "\n",
        "\ufeff" + FILE,
    ):
        w = WordVectors.load(written(content))
        assert w.words == ("the", "of", "Hütte")
        assert w.vectors.dtype == np.float32
        np.testing.assert_allclose(w["of"], [0.5, -0.001])
    assert WordVectors.load(written(FILE), max_words=2).words == ("the", "of")
    assert len(WordVectors.load(written(FILE), max_words=5)) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: '' must be how many"),
        ("the 1 2\n", "line 1: 'the 1 2' must be how many words .* GloVe"),
        ("3\n", "line 1: '3' must be"),
        ("0 2\n", "line 1: '0 2' must be"),
        (FILE.replace("1 2", "1"), "line 2: 'the 1' has 1 numbers .* must have 2"),
        (FILE.replace("1 2", "1 2 3"), "line 2: 'the 1 2 3' has 3 numbers"),
        (FILE.replace("1 2", "1  2"), "line 2: 'the 1  2' has 3 numbers .* one space between"),
        (FILE.replace("0.5", "a.5"), "line 3: 'of a.5 -1e-3' has something that is not a number"),
        (FILE.replace("0.5", "nan"), "line 3: .* NaN or infinite"),
        (FILE.replace("0.5", "1e39"), "line 3: .* infinite as float32"),
        ("999999999999 300\nthe 1 2\n", "line 1: 999999999999 words .* of 25 bytes: is it cut off"),
        (
            b"2 2\na " + np.ones(2, "f4").tobytes() + b"b " + np.ones(2, "f4").tobytes(),
            "binary=True",
        ),
        (b"1 1\na \x01\x02\x03\x04\n", "line 2: .* is not a number.* binary=True"),
        (FILE.replace("of ", "the "), "line 3: 'the' stands in line 2 already"),
        (FILE.replace("the ", " "), "line 2: there is no word"),
        (FILE.replace("Hütte 0 1\n", ""), "ends after line 3, but line 1 says that there are 3"),
        (FILE + "more 1 2\n", "line 5: there are more lines than the 3 words of line 1"),
        (FILE.encode("latin-1"), "line 4: .* is not in UTF-8"),
    ],
)
def test_a_malformed_file_is_told_with_its_line(written, content, message):
    path = written(content)
    with pytest.raises(ValueError, match=message) as told:
        WordVectors.load(path)
    assert str(told.value).startswith(str(path))


def test_a_word_with_a_space_cannot_be_saved_and_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="'new york' contains a space"):
        WordVectors(["new york"], [[1.0]]).save(tmp_path / "v.txt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "vectors", "message"),
    [
        ([], np.zeros((0, 2)), "there are 0 words"),
        (["a"], np.zeros((2, 2)), r"shape \(2, 2\)"),
        (["a", "a"], np.eye(2), "'a' is there twice"),
        (["a", ""], np.eye(2), "'' is there twice, or empty"),
        (["a", "b"], [[1, 2], [3, np.inf]], "the vector of 'b' is not finite"),
    ],
)
def test_words_and_vectors_must_fit(words, vectors, message):
    with pytest.raises(ValueError, match=message):
        WordVectors(words, vectors)


def test_vectors_and_numbers_that_do_not_fit_are_told(w):
    for call, message in (
        (lambda: w.nearest([1.0, 2.0]), r"shape \(2,\), not \(4,\)"),
        (lambda: w.nearest([1.0, 2.0, np.nan, 1.0]), "must be finite"),
        (lambda: w.nearest(["w1", "w2"]), "one word at a time"),
        (lambda: w.nearest("w1", n=0), "n is 0"),
        (lambda: w.solves([]), "at least one"),
        (lambda: w.solves([("w1", "w2", "w3", "w4"), ("w1", "w2", "w3")]), "tuples of four words"),
        (lambda: w.solves(["abcd"]), "tuples of four words"),
        (lambda: WordVectors.load("file", dtype=int), "dtype is int64, but must be a float"),
        (lambda: w.plane(["w1", "w2"]), "at least three words"),
        (lambda: w.correlation("file", column=2), "column is 2"),
        (lambda: WordVectors.load("file", max_words=0), "max_words is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(FileNotFoundError):
        WordVectors.load("no-such-file")


@pytest.mark.slow
def test_gensim_reads_what_we_write_and_we_what_it_writes(w, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keyed = pytest.importorskip("gensim.models").KeyedVectors
    w.save(tmp_path / "ours.txt")
    theirs = keyed.load_word2vec_format(str(tmp_path / "ours.txt"))
    np.testing.assert_array_equal(theirs.vectors, VECTORS.astype("f4"))
    assert [word for word, _ in theirs.most_similar("w3", topn=5)] == [
        word for word, _ in w.nearest("w3", n=5)
    ]
    answers = theirs.most_similar(positive=["w2", "w7"], negative=["w1"], topn=5)
    assert [word for word, _ in answers] == [word for word, _ in w.analogy("w1", "w2", "w7", n=5)]
    theirs.save_word2vec_format(str(tmp_path / "theirs.txt"))
    again = WordVectors.load(tmp_path / "theirs.txt")
    assert again.words == w.words
    np.testing.assert_array_equal(again.vectors, theirs.vectors)
