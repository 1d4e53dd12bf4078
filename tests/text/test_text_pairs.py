from collections import Counter

import numpy as np
import pytest

from symrnn import text
from symrnn.text import PairVocabularies, UnknownTokenError, Words, pair_batches, read_pairs

SUMS = b"16+75  _91  \n52+607 _659 \n\n16+75  _91  \n"
LISTS = ([1, 2, 3], [4], [5, 6]), ([7], [8, 9], [])


def _random_pairs(n, longest=30):
    rng = np.random.default_rng(1)
    sources = [rng.integers(1, 9, rng.integers(1, longest)) for _ in range(n)]
    return sources, [rng.integers(1, 9, max(len(s) - 3, 0)) for s in sources]


def _contents(batches):
    """Return the pairs that are in batches as tuples of numbers."""
    return [
        tuple(tuple(a[m[:, k], k].tolist()) for a, m in (batch[:2], batch[2:]))
        for batch in batches
        for k in range(batch.source.shape[1])
    ]


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (SUMS, {}),
        (SUMS.replace(b"\n", b"\r\n"), {}),
        (SUMS.replace(b"\n", b"\r").rstrip(), {}),
        (SUMS.replace(b"_", b"\t"), {}),
        (SUMS.replace(b"_", b" = "), {"separator": "="}),
        (b"\xef\xbb\xbf\n  \n" + SUMS, {}),
        (SUMS.decode().encode("utf-16"), {"encoding": "utf-16"}),
    ],
)
def test_a_file_holds_a_pair_in_every_line(tmp_path, content, options):
    (tmp_path / "a.txt").write_bytes(content)
    wanted = [("16+75", "91"), ("52+607", "659"), ("16+75", "91")]
    assert read_pairs(tmp_path / "a.txt", **options) == wanted
    assert read_pairs(str(tmp_path / "a.txt"), **options) == wanted


def test_with_tabs_an_underscore_is_a_character_as_any_other(tmp_path):
    (tmp_path / "a.txt").write_text("say goodbye\tdis au_revoir\na_b\tc\u2028d\n", "utf-8")
    assert read_pairs(tmp_path / "a.txt") == [
        ("say goodbye", "dis au_revoir"),
        ("a_b", "c\u2028d"),
    ]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, r"a\.txt is empty"),
        (b" \n\n", {}, r"a\.txt holds only blank lines"),
        (b"\n1+1 2\n", {}, r"a\.txt, line 2: '1\+1 2' has neither a tab nor an underscore"),
        (SUMS + b"1+1 2\n", {}, r"a\.txt, line 5: '1\+1 2' has 0 separators, but must be source, "),
        (SUMS + b"1_+_1\n", {}, r"line 5: '1_\+_1' has 2 separators"),
        (SUMS + b"1+1_ \n", {}, r"line 5: '1\+1_ ' has an empty source or target"),
        (b"\t\n", {}, r"line 1: '\\t' has an empty source or target, .* source, '\\t', target"),
        (SUMS, {"separator": ";"}, "line 1: .* has 0 separators"),
        (SUMS, {"separator": "  "}, "separator is '  ', but must be something other than spaces"),
        (SUMS, {"separator": ""}, "separator is '', but must be"),
        (b"x" * 99, {}, r"line 1: 'x{57}\.\.\.' has neither"),
        (SUMS + b"\0", {}, "byte 40 is zero. It is a binary file"),
        (SUMS + b"caf\xe9_1", {}, "not written in utf-8: byte 43, which is 0xe9"),
        (SUMS, {"encoding": "utf-9"}, "'utf-9' is not a text encoding"),
    ],
)
def test_what_holds_no_pairs_is_refused_with_the_place(tmp_path, content, options, message):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_pairs(tmp_path / "a.txt", **options)


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file or folder .*none\.txt"):
        read_pairs(tmp_path / "none.txt")
    with pytest.raises(IsADirectoryError, match="is a folder: name a file"):
        read_pairs(tmp_path)


@pytest.mark.parametrize("n_test", [1, 7, 40])
def test_a_split_leaves_nothing_out_and_no_source_is_on_both_sides(n_test):
    pairs = [(f"source {k // 3 if k < 9 else k}", f"target {k % 5}") for k in range(50)]
    for seed in range(20):
        train, test = text.split_pairs(pairs, n_test, rng=np.random.default_rng(seed))
        assert Counter(train) + Counter(test) == Counter(pairs)
        assert {s for s, _ in train}.isdisjoint(s for s, _ in test)
        assert len(test) == n_test
        for part in (train, test):
            assert part == [pair for pair in pairs if pair in part]  # in order, and duplicates too


def test_a_split_is_drawn_at_random_and_the_same_with_the_same_seed():
    pairs = [(str(k), "") for k in range(1000)]
    splits = [
        text.split_pairs(pairs, 100, rng=np.random.default_rng(seed))[1] for seed in (0, 0, 1)
    ]
    assert splits[0] == splits[1] != splits[2]
    assert 300 < np.mean([int(source) for source, _ in splits[0]]) < 700


def test_a_split_that_cannot_be_made_is_refused():
    rng, pairs = np.random.default_rng(0), [("a", "b"), ("a", "c"), ("d", "e"), ("d", "e")]
    assert [len(part) for part in text.split_pairs(pairs, 3, rng=rng)] == [2, 2]
    with pytest.raises(ValueError, match="n_test is 1, but every source occurs more"):
        text.split_pairs(pairs, 1, rng=rng)
    with pytest.raises(ValueError, match="n_test is 4, but there are 4 pairs, and one"):
        text.split_pairs(pairs, 4, rng=rng)
    with pytest.raises(ValueError, match="n_test is 0, but must be a whole number"):
        text.split_pairs(pairs, 0, rng=rng)
    with pytest.raises(TypeError, match="rng is 5, but must be a generator"):
        text.split_pairs(pairs, 2, rng=5)


def test_vocabularies_hold_the_characters_of_their_side():
    pairs = [("16+75", "91"), ("2+0", "2")]
    both = PairVocabularies.build(pairs)
    assert sorted(both.source.tokens) == sorted("1675+20")
    assert sorted(both.target.tokens) == sorted(["<eos>", "9", "1", "2"])
    sources, targets = both.encode(pairs)
    assert ["".join(both.source.decode(s)) for s in sources] == ["16+75", "2+0"]
    assert [both.answer(t) for t in targets] == ["91", "2"]
    assert both.answer([*targets[0], both.target.eos, *targets[1]]) == "91"
    np.testing.assert_array_equal(both.encode_source("16+75"), sources[0])
    with pytest.raises(UnknownTokenError, match="token 1 is the character 'x'") as caught:
        both.encode([("1x", "1")])
    assert caught.value.__notes__[-1] == "It is in '1x'."


def test_vocabularies_of_words_have_a_token_for_rare_ones():
    pairs = [("Say hello.", "Dis bonjour."), ("Say goodbye.", "Dis au revoir.")]
    both = PairVocabularies.build(pairs, tokenizer=Words(lower=True), min_count=2)
    assert both.source.tokens == ("<unk>", ".", "say")
    assert both.target.tokens == ("<eos>", "<unk>", ".", "dis")
    (source,), (target,) = both.encode([("Say yes.", "Dis oui.")])
    assert (source.tolist(), target.tolist()) == ([2, 0, 1], [3, 1, 2])
    assert both.answer([3, 1, 2, 0]) == "dis <unk>."
    with pytest.raises(ValueError, match="the targets' vocabulary has no <eos>"):
        PairVocabularies(both.source, both.source)


def test_padding_is_zero_and_outside_the_mask():
    array, mask = text.padded(LISTS[0])
    np.testing.assert_array_equal(array, [[1, 4, 5], [2, 0, 6], [3, 0, 0]])
    np.testing.assert_array_equal(mask, [[1, 1, 1], [1, 0, 1], [1, 0, 0]])
    assert (array.dtype, mask.dtype) == (np.int64, bool)
    array, mask = text.padded([np.array([0.5]), np.array([])], dtype="float32")
    assert (array.dtype, array.tolist(), mask.tolist()) == (np.float32, [[0.5, 0]], [[True, False]])
    for wrong in ([], [3], [[[1]]]):
        with pytest.raises(ValueError, match=r"each must have shape \(time,\)"):
            text.padded(wrong)


def test_batches_are_padded_time_first_and_targets_end():
    (batch,) = pair_batches(*LISTS, batch_size=3, eos=10)
    np.testing.assert_array_equal(batch.source, [[1, 4, 5], [2, 0, 6], [3, 0, 0]])
    np.testing.assert_array_equal(batch.target, [[7, 8, 10], [10, 9, 0], [0, 10, 0]])
    np.testing.assert_array_equal(batch.source_mask, [[1, 1, 1], [1, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(batch.target_mask, [[1, 1, 1], [1, 1, 0], [0, 1, 0]])
    assert [array.dtype for array in batch] == [np.int64, bool, np.int64, bool]
    assert all(array.flags.c_contiguous for array in batch)


@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("n", [1, 9, 10, 1234])
def test_every_pair_is_in_one_batch(n, seed, by_length):
    sources, targets = _random_pairs(n)
    rng = None if seed is None else np.random.default_rng(seed)
    batches = pair_batches(sources, targets, batch_size=10, eos=0, rng=rng, by_length=by_length)
    wanted = [(tuple(s.tolist()), (*t.tolist(), 0)) for s, t in zip(sources, targets, strict=True)]
    for _ in range(2):
        found = list(batches)
        assert len(found) == len(batches) == -(-n // 10)
        assert sorted(_contents(found)) == sorted(wanted)
        sizes = sorted(batch.source.shape[1] for batch in found)
        assert sizes[1:] == [10] * (len(found) - 1)
        for batch in found:
            for array, mask in (batch[:2], batch[2:]):
                assert mask[-1].any()  # no longer than the longest
                assert not array[~mask].any()
        if seed is None and not by_length:
            assert _contents(found) == wanted


@pytest.mark.parametrize("by_length", [False, True])
def test_every_time_the_order_is_a_new_one_and_the_same_with_the_same_seed(by_length):
    pairs = _random_pairs(200)
    runs = []
    for _ in range(2):
        batches = pair_batches(
            *pairs, batch_size=10, eos=0, rng=np.random.default_rng(0), by_length=by_length
        )
        runs.append([_contents(batches) for _ in range(2)])
        assert _contents(batches[:]) == runs[-1][-1]  # an index means the order of the last time
        np.testing.assert_array_equal(batches[-1].source, batches[19].source)
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[0][1]
    with pytest.raises(IndexError):
        batches[20]


def test_a_new_round_leaves_one_that_is_going_on_alone():
    batches = pair_batches(*_random_pairs(200), batch_size=10, eos=0, rng=np.random.default_rng(0))
    found = []
    for batch in batches:
        found += _contents([batch])
        _contents(batches)
    assert sorted(found) == sorted(_contents(batches))


def test_pairs_of_similar_length_need_less_padding_and_come_in_random_order():
    pairs = _random_pairs(3000)
    waste, lengths = {}, []
    for by_length in (False, True):
        batches = pair_batches(
            *pairs, batch_size=10, eos=0, rng=np.random.default_rng(0), by_length=by_length
        )
        waste[by_length] = 1 - np.mean(np.concatenate([b.source_mask.ravel() for b in batches]))
        lengths = [len(batch.source) for batch in batches]
    assert waste[False] > 0.4
    assert waste[True] < 0.05
    assert abs(np.corrcoef(lengths[1:], lengths[:-1])[0, 1]) < 0.2


@pytest.mark.parametrize(
    ("sources", "targets", "options", "message"),
    [
        ([[1]], [], {}, "there are 1 sources and 0 targets"),
        ([], [], {}, "there are 0 sources and 0 targets"),
        ([[1], []], [[1], [1]], {}, "source 1 is empty"),
        ([[1], [2]], [[1], [1, 0]], {}, "target 1 holds 0, the token id of <eos>"),
        ([[[1]]], [[1]], {}, r"source 0 has shape \(1, 1\), but must have shape \(time,\)"),
        ([[1]], [[0.5]], {}, "target 0 is float64, but must be whole numbers, the token ids"),
        ([[1]], ["ab"], {}, r"target 0 has shape \(\)"),
        ([[1]], [[1]], {"batch_size": 0}, "batch_size is 0, but must be a whole number"),
        ([[1]], [[1]], {"eos": None}, "eos is None, but must be a token id"),
        ([[1]], [[1]], {"rng": 7}, "rng is 7, but must be a generator"),
    ],
)
def test_batches_that_cannot_be_made_are_refused(sources, targets, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        pair_batches(sources, targets, **{"batch_size": 1, "eos": 0, **options})
