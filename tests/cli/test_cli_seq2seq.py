"""``python -m symrnn seq2seq`` and the training behind it: what is typed, seen and resumed."""

import io
import os
import re
import signal

import numpy as np
import pytest

from symrnn.__main__ import main
from symrnn.cli import progress
from symrnn.models.language.run import LanguageRun
from symrnn.models.seq2seq.run import Seq2SeqRun
from symrnn.models.seq2seq.settings import Seq2SeqSettings
from symrnn.tasks.strings import reversal
from symrnn.text import PairVocabularies
from symrnn.training import checkpoint
from symrnn.training.checkpoint import CheckpointError

SMALL = "--hidden 12 --embed 4 --batch-size 20 --cell gru --learning-rate 0.02".split()  # noqa: SIM905
TRAIN, TEST = reversal(200, 20, rng=np.random.default_rng(1), symbols="abc", lengths=(1, 5))


def run(capsys, *arguments):
    """Run a command in this process: its exit status and what it wrote."""
    status = main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def write(path, pairs=TRAIN, separator="\t"):
    path.write_text("".join(f"{s}{separator}{t}\n" for s, t in pairs))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with pairs and a model of them."""
    folder = tmp_path_factory.mktemp("trained")
    arguments = [
        "seq2seq",
        "train",
        write(folder / "pairs.txt"),
        *SMALL,
        "--epochs",
        6,
        "--held-out",
    ]
    assert main([str(a) for a in [*arguments, 30, "--out", folder / "model"]]) == 0
    return folder


def test_training_says_how_it_goes_and_leaves_a_model_and_a_picture(tmp_path, capsys):
    pairs, out = write(tmp_path / "pairs.txt", separator="  _"), tmp_path / "model"
    options = ["--epochs", 2, "--held-out", 20, "--out", out]
    status, _, err = run(capsys, "seq2seq", "train", pairs, *SMALL, *options)
    assert status == 0
    assert "180 pairs for training, 20 for validation; 3 tokens in sources, 4 in targets;" in err
    said = re.findall(
        r"^step (\d+) of 18, epoch [\d.]+: training [\d.]+, validation [\d.]+ nats, "
        r"accuracy [\d.]+%, [\d,]+ pairs/s", err, re.MULTILINE,
    )  # fmt: skip
    assert said == ["9", "18"]
    assert (tmp_path / "model.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "model.png", "pairs.txt"]


def test_translate_answers_and_draws_what_it_looks_at(trained, capsys, monkeypatch):
    model = ["--model", trained / "model"]
    status, out, err = run(capsys, "seq2seq", "translate", "ab", "c", *model)
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == 2
    for options in ([], ["--beam", 1]):
        monkeypatch.setattr("sys.stdin", io.StringIO("ab\n\nc\n"))
        answers = run(capsys, "seq2seq", "translate", *options, *model)[1].splitlines()
        assert answers == [out.splitlines()[0], "", out.splitlines()[1]]  # line beside line
    monkeypatch.setattr("sys.stdin", io.StringIO("ab\n\naqa\n"))
    status, out_of_bad, err = run(capsys, "seq2seq", "translate", *model)
    assert (status, out_of_bad) == (2, "")
    assert "line 3 of stdin, 'aqa': token 1 is the character 'q'" in err
    assert run(capsys, "seq2seq", "translate", "ab", "c", "--beam", 1, *model)[1] == out
    _, ranked, _ = run(
        capsys,
        "seq2seq",
        "translate",
        "ab",
        "--beam",
        4,
        "--n-best",
        3,
        "--length-power",
        1,
        *model,
    )
    assert run(capsys, "seq2seq", "translate", "ab", "--n-best", 3, *model)[1].count("\n") == 3
    _, several, _ = run(capsys, "seq2seq", "translate", "ab", "c", "--n-best", 2, *model)
    assert [line for line in several.splitlines() if line[0] != " "] == ["ab", "c"]
    scores = [float(line.split()[0]) for line in ranked.splitlines()]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 3
    drawn = ["--temperature", 1.5, "--top-k", 3, "--top-p", 0.9, "--seed", 1]
    first = run(capsys, "seq2seq", "translate", "abc", *drawn, *model)
    assert run(capsys, "seq2seq", "translate", "abc", *drawn, *model) == first
    picture = trained / "map.png"
    status, _, err = run(capsys, "seq2seq", "translate", "abc", "--map", picture, *model)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert status == 0
    longer = ["seq2seq", "translate", "abcabca", *model]
    assert run(capsys, *longer)[0] == 2
    assert run(capsys, *longer, "--longest-source", 7)[0] == 0


def test_evaluate_counts_right_answers_and_shows_wrong_ones(trained, capsys):
    status, out, _ = run(capsys, "seq2seq", "evaluate", "--model", trained / "model")
    assert status == 0
    best = min(checkpoint.load(trained / "model").data["losses"], key=lambda e: e["validation"])
    share = 100 * best["accuracy"]
    assert out.startswith(
        f"validation: {best['validation']:.4f} nats, accuracy {share:.4g}% of 30 answers"
    )
    others = write(trained / "others.txt", TEST)
    _, out, _ = run(
        capsys, "seq2seq", "evaluate", others, "--show", 2, "--model", trained / "model"
    )
    assert out.startswith(f"{others}: ")
    for line in out.splitlines()[1:]:
        source, answer, right = re.match(r"  (\w+) -> (\w*), but right is (\w+)$", line).groups()
        assert right == source[::-1] != answer


@pytest.mark.slow
def test_a_task_needs_no_file(tmp_path, capsys):
    out = tmp_path / "model"
    few = ["--batch-size", 500, "--hidden", 4, "--epochs", 0.1]
    assert run(capsys, "seq2seq", "train", "--task", "sorting", *few, "--out", out)[0] == 0
    assert run(capsys, "seq2seq", "resume", "--model", out, "--epochs", 0.2)[0] == 0
    assert int(checkpoint.load(out).arrays["step"]) == 2


@pytest.mark.slow
def test_words_in_small_letters_and_rare_ones(tmp_path, capsys):
    pairs = [("Wie geht es dir ?", "How are you ?"), ("Es geht gut .", "I am fine .")] * 20
    pairs.append(("Wie spät ist es ?", "What time is it ?"))
    file, out = write(tmp_path / "pairs.txt", pairs), tmp_path / "model"
    options = ["--level", "word", "--lower", "--min-count", 2, "--epochs", 8, "--held-out", 1]
    status, _, err = run(capsys, "seq2seq", "train", file, *SMALL, *options, "--out", out)
    assert status == 0, err
    _, answer, _ = run(
        capsys,
        "seq2seq",
        "translate",
        "Es geht unglaublich gut.",
        "--model",
        out,
        "--longest-source",
        9,
    )
    assert "<unk>" not in answer


@pytest.fixture(scope="module", params=["given", pytest.param("sampled", marks=pytest.mark.slow)])
def two(request, tmp_path_factory):
    """Two runs of the same settings, one of them trained to its end; and a file of its start."""
    settings = Seq2SeqSettings(
        n_embed=3, n_hidden=4, batch_size=32, epochs=3, cell="elman", dropout=0.2,
        sampling_probability=0.5 if request.param == "sampled" else 0.0,
        validate_every=4, by_length=True,
        attention="dot" if request.param == "sampled" else "none",
    )  # fmt: skip
    start = tmp_path_factory.mktemp("start") / "model"
    both = PairVocabularies.build(TRAIN)
    expected, other = Seq2SeqRun(settings, both), Seq2SeqRun(settings, both)

    def stop(loss):
        raise InterruptedError

    for which in (expected, other):
        with pytest.raises(InterruptedError):
            which.train(TRAIN, TEST, path=start, each_step=stop)
    expected.restore(checkpoint.load(start))
    expected.train(TRAIN, TEST)
    return expected, other, start


def bits(run):
    values = [v.get_value() for v in run.changing]
    states = [getattr(v, "bit_generator", None) for v in values]
    losses = [{k: v for k, v in entry.items() if k != "seconds"} for entry in run.losses]
    return [str(s.state) if s else v.tobytes() for s, v in zip(states, values, strict=True)], losses


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("stop", [1, 7, 11])
def test_a_run_stopped_at_any_step_resumes_bit_for_bit(two, tmp_path, stop):
    expected, run, start = two
    run.restore(checkpoint.load(start))
    count = [0]

    def press(loss):
        count[0] += 1
        if count[0] == stop:
            os.kill(os.getpid(), signal.SIGINT)

    assert run.train(TRAIN, TEST, path=tmp_path / "model", each_step=press).interrupted
    run.restore(checkpoint.load(tmp_path / "model"))
    assert run.n_done == stop
    run.train(TRAIN, TEST)
    assert run.n_done == 21
    assert bits(run) == bits(expected)


def test_the_sampling_probability_grows_linearly(two):
    expected, *_ = two
    assert float(expected.sampling_probability.get_value()) == pytest.approx(
        expected.settings.sampling_probability * 20 / 21
    )


def test_a_model_of_another_kind_is_refused(trained):
    with pytest.raises(CheckpointError, match="it is a 'symrnn sequence to sequence 2'"):
        LanguageRun.load(trained / "model")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train", "give a file with pairs, or --task with one of addition, copying, dates"),
        ("train pairs.txt --task dates", "give a file with pairs, or --task"),
        ("train none.txt", "none.txt"),
        ("train bad.txt", "bad.txt, line 3: 'no pair here' has 0 separators"),
        ("train plain.txt", "plain.txt, line 1: 'no pair here' has neither a tab nor an undersc"),
        ("train hole.txt", "hole.txt, line 2: 'c\\t' has an empty source or target"),
        ("train empty.txt", "empty.txt is empty"),
        ("train latin.txt", "latin.txt is not written in utf-8: byte 3"),
        ("train pairs.txt --out model", "model exists: resume it (seq2seq resume --model mode"),
        ("train pairs.txt --held-out 999", "999"),
        ("train pairs.txt --held-out 0", "--held-out is 0, but must be a whole number"),
        ("train pairs.txt --hidden 0", "--hidden is 0, but must be a whole number"),
        ("train pairs.txt --hidden 7 --bidirectional", "--hidden is 7, but must be even"),
        ("train pairs.txt --sampling-probability 2", "--sampling-probability is 2.0, but m"),
        ("train pairs.txt --bidirectional --reverse", "a bidirectional encoder reads both ways"),
        ("resume", "seq2seq.safetensors does not exist"),
        ("resume others.txt --model model --epochs 9", "are not those that the training began wi"),
        ("translate abq --model model", "token 2 is the character 'q' (U+0071 LATIN SMALL LETTER"),
        ("translate abcabc --model model", "'abcabc' has 6 tokens, but at most 5 are allowed"),
        ("translate a --beam 0 --model model", "--beam is 0, but must be a whole number"),
        ("translate a --beam 2 --n-best 3 --model model", "--n-best is 3, but --beam keeps only 2"),
        ("translate a --beam 2 --length-power inf --model model", "--length-power is inf"),
        ("translate ab abq --model model", "It is in 'abq'."),
        ("evaluate queer.txt --model model", "It is in 'aqa'."),
        ("translate a --length-power 2 --model model", "belong to --beam W, which does"),
        ("translate a --n-best 2 --seed 1 --model model", "belong to --beam W, which does"),
        ("translate a --beam 2 --seed 1 --model model", "--beam does not sample"),
        ("translate a --temperature 0 --model model", "--temperature is 0.0, but must be above 0"),
        ("translate a --top-p 2 --model model", "--top-p is 2.0, but must be above 0"),
        ("translate a --top-k 9 --model model", "--top-k is 9, but must be a whole number, from"),
        ("translate a --map model --model model", "model is read by this command: give another"),
        ("train pairs.txt -o pairs.txt --force", "pairs.txt is read by this command: give another"),
        ("evaluate --show -1 --model model", "--show is -1, but must be a whole number"),
        ("resume model.safetensors --model model", "is given as a text; a model is given with --"),
        ("translate a --model pairs.txt", "pairs.txt is not a safetensors file"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said_in_one_line(trained, capsys, monkeypatch, command, message):
    monkeypatch.chdir(trained)
    (trained / "bad.txt").write_text("a\tb\nb\tc\nno pair here\n")
    (trained / "queer.txt").write_text("a\tb\naqa\tb\n")
    (trained / "plain.txt").write_text("no pair here\n")
    (trained / "hole.txt").write_text("a\tb\nc\t\n")
    (trained / "empty.txt").write_text("")
    (trained / "latin.txt").write_bytes("sch\xf6n\tnice\n".encode("latin-1"))
    write(trained / "others.txt", TRAIN[1:])
    status, out, err = run(capsys, "seq2seq", *command.split())
    assert (status, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("python -m symrnn: error: ")
    assert message in line


def test_sources_longer_than_those_of_the_training_are_validated_too(tmp_path, capsys):
    pairs, longer = (
        write(tmp_path / "pairs.txt"),
        write(tmp_path / "longer.txt", [("abcabcab", "b")]),
    )
    options = ["--validation", longer, "--epochs", 0.2, "--out", tmp_path / "model"]
    status, _, err = run(capsys, "seq2seq", "train", pairs, *SMALL, *options)
    assert (status, "validation" in err) == (0, True)


def test_validation_sources_that_are_training_sources_too_are_counted(tmp_path, capsys):
    pairs, others = (
        write(tmp_path / "pairs.txt"),
        write(tmp_path / "others.txt", [*TRAIN[:3], *TEST]),
    )
    options = ["--validation", others, "--epochs", 0.2, "--out", tmp_path / "model"]
    _, _, err = run(capsys, "seq2seq", "train", pairs, *SMALL, *options)
    assert f"3 of 23 sources in {others} are also in the training pairs" in err


def test_a_run_that_was_not_trained_answers_and_learns_its_lengths_later():
    both = PairVocabularies.build(TRAIN)
    settings = Seq2SeqSettings(n_embed=2, n_hidden=4, cell="gru", epochs=0.1)
    untrained = Seq2SeqRun(settings, both)
    assert untrained.translator().translate(["abcabc"])[0].source == list("abcabc")
    untrained.train(TRAIN, TEST)
    assert untrained.translator().longest_source == 5
    with pytest.raises(ValueError, match="at most 5 are allowed"):
        untrained.translator().translate(["abcabc"])


def test_what_stops_before_anything_is_saved_promises_nothing(tmp_path, capsys, monkeypatch):
    def stopped(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Seq2SeqRun, "train", stopped)
    pairs, out = write(tmp_path / "pairs.txt"), tmp_path / "model"
    status, _, err = run(capsys, "seq2seq", "train", pairs, *SMALL, "--out", out)
    assert status == 130
    assert err.endswith("stopped before anything was saved\n")
    out.write_bytes(b"an older model")
    assert "nothing" not in run(capsys, "seq2seq", "train", pairs, *SMALL, "--out", out)[2]
    _, _, err = run(capsys, "seq2seq", "train", pairs, *SMALL, "--out", out, "--force")
    assert err.endswith("stopped before anything was saved\n")


def test_without_a_terminal_there_is_a_line_now_and_then(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "SAY", 0.0)
    pairs, out = write(tmp_path / "pairs.txt"), tmp_path / "model"
    _, _, err = run(capsys, "seq2seq", "train", pairs, *SMALL, "--epochs", 1, "--out", out)
    assert re.search(r"^compiled, and the first step done, in [\d.]+ ", err, re.MULTILINE)
    assert re.search(r"^step 4 of 9: loss [\d.]+, \d+ s left$", err, re.MULTILINE)


@pytest.mark.parametrize("command", ["", "train", "resume", "evaluate", "translate"])
def test_help_fits_and_names_defaults(capsys, command):
    with pytest.raises(SystemExit) as ended:
        main(["seq2seq", *command.split(), "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(len(line) <= 100 for line in out.splitlines())
    if command == "train":
        for name in ("cell", "learning-rate", "hidden", "epochs", "batch-size", "attention", "out"):
            assert re.search(rf"--{name} [^-]*?\(default: ", out, re.DOTALL), name
