import subprocess
import sys

import numpy as np
import pytest

from symrnn import text
from symrnn.text import Characters, UnknownTokenError, Vocabulary, Words

NASTY = "You say “goodbye”,\r\nand I say: e\u0301 naïve Καλημέρα, 中文 🚀.\r\n\r\nDon't — stop"


def _encoded(paths, tokenizer, vocabulary, cache, **options):
    return np.array(text.encode_files(paths, tokenizer, vocabulary, cache=cache, **options))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-be", "gb18030"])
@pytest.mark.parametrize("piece_size", [1, 2, 3, 5, 1000])
def test_pieces_of_any_size_make_the_whole_text(tmp_path, encoding, piece_size):
    (tmp_path / "a.txt").write_bytes(NASTY.encode(encoding))
    pieces = list(text.read_pieces(tmp_path / "a.txt", encoding=encoding, piece_size=piece_size))
    assert "".join(pieces) == NASTY
    assert max(map(len, pieces)) <= piece_size
    assert text.read_text(tmp_path / "a.txt", encoding=encoding) == NASTY


def test_the_mark_of_some_editors_is_no_part_of_the_text(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffab".encode())
    assert [*text.read_pieces(tmp_path / "a.txt", piece_size=1)] == ["a", "b"]


def test_a_folder_stands_for_its_files_in_order(tmp_path):
    for name in ["b.txt", "a.txt", "c.md", "sub/a.txt", ".hidden.txt", ".git/x.txt", "d.bin"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"in {name}")
    names = [file.relative_to(tmp_path).as_posix() for file in text.text_files(tmp_path)]
    assert names == ["a.txt", "b.txt", "sub/a.txt"]
    assert text.read_text(tmp_path) == "in a.txt\nin b.txt\nin sub/a.txt"
    several = [tmp_path / "c.md", tmp_path / "sub"]
    assert text.read_text(several, endings=(".txt", ".md")) == "in c.md\nin sub/a.txt"


def test_a_file_with_a_line_end_gets_no_second_one(tmp_path):
    for name, content in [("1", "a\n"), ("2", "b\r\n"), ("3", "c\r"), ("4", "d")]:
        (tmp_path / f"{name}.txt").write_bytes(content.encode())
    assert text.read_text(tmp_path) == "a\nb\r\nc\rd"


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (b"", "utf-8", "a.txt is empty"),
        (b"abc\0def", "utf-8", "byte 3 is zero. It is a binary file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "utf-8", "binary file"),
        ("naïve".encode("latin-1"), "utf-8", "not written in utf-8: byte 2, which is 0xef"),
        ("naïve".encode()[:3], "utf-8", "byte 2, which is 0xc3, does not fit"),
        ("naïve".encode(), "ascii", "byte 2, which is 0xc3"),
        ("ab".encode("utf-16")[:-1], "utf-16", "byte 4, which is 0x62"),
        (b"a\x81", "cp1252", "byte 1, which is 0x81"),
        ("ab".encode("utf-16-le"), "utf-16", "not written in utf-16"),
        (b"abc", "utf-9", "'utf-9' is not a text encoding"),
        (b"abc", "hex", "'hex' is not a text encoding"),
    ],
)
def test_what_is_no_text_is_refused_with_the_place(tmp_path, content, encoding, message):
    (tmp_path / "a.txt").write_bytes(content)
    # in tiny pieces the wrong first byte of a picture comes before a zero
    for piece_size in (1000,) if b"PNG" in content else (1, 2, 1000):
        with pytest.raises(ValueError, match=message):
            list(text.read_pieces(tmp_path / "a.txt", encoding=encoding, piece_size=piece_size))


def test_a_wrong_byte_far_behind_is_found_at_its_place(tmp_path):
    (tmp_path / "a.txt").write_bytes("é".encode() * 3_000_000 + b"\xe9 end")
    with pytest.raises(ValueError, match="byte 6000000, which is 0xe9"):
        list(text.read_pieces(tmp_path / "a.txt"))


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file or folder .*none\.txt"):
        text.text_files(tmp_path / "none.txt")
    with pytest.raises(FileNotFoundError, match=r"no file in the folder .* ends with \.txt"):
        text.text_files(tmp_path)
    with pytest.raises(FileNotFoundError, match="no file was named"):
        text.text_files([])
    with pytest.raises(ValueError, match="piece_size is 0"):
        list(text.read_pieces(__file__, piece_size=0))


@pytest.mark.parametrize("tokenizer", [Characters(lower=True), Words(line_ends="eos")])
def test_encoded_files_hold_the_tokens_of_the_whole(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_bytes(NASTY.encode())
    (tmp_path / "b.txt").write_bytes(NASTY.encode())
    whole = tokenizer.tokenize(NASTY + "\n" + NASTY)
    counts = text.count_tokens(text.read_pieces(tmp_path, piece_size=3), tokenizer)
    vocabulary = Vocabulary.build(counts)
    assert vocabulary == Vocabulary.build(whole)
    assert vocabulary.counts.tolist() == Vocabulary.build(whole).counts.tolist()
    tokens = text.encode_files(tmp_path, tokenizer, vocabulary, cache=tmp_path / "cache")
    assert isinstance(tokens, np.memmap)
    assert not tokens.flags.writeable
    assert tokens.dtype == vocabulary.dtype == np.uint8
    np.testing.assert_array_equal(tokens, vocabulary.encode(whole))
    (file,) = (tmp_path / "cache").iterdir()
    np.testing.assert_array_equal(np.load(file), tokens)


def test_the_file_of_tokens_is_found_again_and_only_for_the_same(tmp_path):
    file, cache = tmp_path / "a.txt", tmp_path / "cache"
    file.write_text("a b a")
    vocabulary = Vocabulary.build(["a", "b"])
    _encoded(file, Words(), vocabulary, cache)
    (first,) = cache.iterdir()
    made = first.stat().st_mtime_ns
    (tmp_path / "moved.txt").write_text("a b a")
    assert _encoded(tmp_path / "moved.txt", Words(), vocabulary, cache).tolist() == [1, 2, 1]
    assert [f.stat().st_mtime_ns for f in cache.iterdir()] == [made]
    file.write_text("b a a")  # as long as before
    assert _encoded(file, Words(), vocabulary, cache).tolist() == [2, 1, 1]
    assert _encoded(file, Words(lower=True), vocabulary, cache).tolist() == [2, 1, 1]
    assert _encoded(file, Words(), Vocabulary(["b", "a"]), cache).tolist() == [0, 1, 1]
    assert len(list(cache.iterdir())) == 4


def test_a_damaged_file_of_tokens_is_made_anew(tmp_path):
    (tmp_path / "a.txt").write_text("a b a" * 100)
    arguments = tmp_path / "a.txt", Characters(), Vocabulary.build("ab "), tmp_path / "cache"
    whole = _encoded(*arguments)
    (file,) = (tmp_path / "cache").iterdir()
    for damaged in (b"", b"nothing", file.read_bytes()[:-1]):
        file.write_bytes(damaged)
        np.testing.assert_array_equal(_encoded(*arguments), whole)


def test_a_failure_leaves_no_file_behind(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a b " * 1_000_000 + b"c")
    with pytest.raises(UnknownTokenError, match="token 2000000 is the character 'c'") as error:
        _encoded(tmp_path / "a.txt", Words(), Vocabulary(["a", "b"]), tmp_path / "cache")
    assert error.value.position == 2_000_000
    (tmp_path / "blank.txt").write_text("  \n")
    with pytest.raises(ValueError, match=r"there is no token in .*blank\.txt"):
        _encoded(tmp_path / "blank.txt", Words(), Vocabulary(["a"]), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_topics_of_python_are_a_good_piece_of_english():
    topics = text.python_topics()
    assert len(topics) > 200_000
    counts = text.count_tokens([topics], Words(lower=True, punctuation="drop"))
    assert {"the", "is", "a", "to", "of"} <= {word for word, _ in counts.most_common(8)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Characters", "Words"])
def test_a_large_file_is_encoded_in_little_memory(tmp_path, kind):
    piece = text.python_topics() + NASTY + "\n"
    with (tmp_path / "large.txt").open("w", encoding="utf-8", newline="") as stream:
        for _ in range(100_000_000 // len(piece)):
            stream.write(piece)
    script = f"""
import pathlib, resource, sys, time
from symrnn import text
start = time.perf_counter()
tokenizer = text.{kind}()
counts = text.count_tokens(text.read_pieces({str(tmp_path)!r}), tokenizer)
vocabulary = text.Vocabulary.build(counts, max_size=10_000)
counted = time.perf_counter()
cache = {str(tmp_path / "cache")!r}
tokens = text.encode_files({str(tmp_path)!r}, tokenizer, vocabulary, cache=cache)
encoded = time.perf_counter()
batches = text.streams(text.split(tokens)[0], batch_size=32, n_steps=64)
print(len(tokens), len(batches), sum(int(t[-1, 0]) for _, t in (batches[0], batches[-1])))
print(f"{{counted - start:.1f}} s to count, {{encoded - counted:.1f}} s to encode")
status = pathlib.Path("/proc/self/status")
if status.exists():  # Linux; ru_maxrss begins there with what the process that started this one had
    print(next(line.split()[1] for line in status.open() if line.startswith("VmHWM:")))
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    print(out.stdout)
    peak = int(out.stdout.split()[-1]) * (1 if sys.platform == "darwin" else 1024)
    assert peak < 300e6
