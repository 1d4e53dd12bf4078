"""``python -m symrnn lm``: what is typed and seen, and what cannot be used."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from symrnn.__main__ import main
from symrnn.training import checkpoint

SMALL = "--hidden 6 --embed 4 --batch-size 4 --steps 10 --validate-every 10".split()  # noqa: SIM905
TEXT = "You say goodbye, and I say hello!\n" * 40


def run(capsys, *arguments):
    """Run a command in this process: its exit status and what it wrote."""
    status = main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a text, a model of its characters and one of its words."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(TEXT)
    options = [
        "train",
        folder / "text.txt",
        *SMALL,
        "--learning-rate",
        "0.02",
        "--schedule",
        "constant",
    ]
    words = ["--level", "word", "--lower", "--line-ends", "eos", "--split", ".6,.2,.2"]
    for name, more in (("char", ["--epochs", "2"]), ("word", ["--epochs", "4", *words])):
        arguments = ["lm", *options, *more, "--out", folder / f"{name}.safetensors"]
        assert main([str(a) for a in arguments]) == 0
    return folder


def test_training_leaves_a_model_and_a_picture_and_says_how_it_goes(text, capsys, monkeypatch):
    monkeypatch.chdir(text.parent)
    status, out, err = run(capsys, "lm", "train", "text.txt", *SMALL, "--epochs", 1)
    assert (status, out) == (0, "")
    assert "1,224 tokens for training, 136 for validation; vocabulary of 18;" in err
    said = re.findall(
        r"^step (\d+) of 31, epoch [\d.]+: training [\d.]+, validation ([\d.]+) nats, perplexity "
        r"([\d.]+), ([\d.]+) bits/char, [\d,]+ tokens/s(?:, \d+ s left)?$", err, re.M,
    )  # fmt: skip
    assert [int(step) for step, *_ in said] == [8, 16, 24, 31]
    for _, loss, perplexity, bits in said:
        assert float(perplexity) == pytest.approx(np.exp(float(loss)), rel=1e-3)
        assert float(bits) == pytest.approx(float(loss) / np.log(2), abs=1e-3)
    assert (text.parent / "model.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in text.parent.iterdir()) == [
        "model.png", "model.safetensors", "model.tokens", "text.txt",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_stopped_training_is_resumed_where_its_text_is_now(text, capsys):
    whole, out = text.with_name("whole"), text.with_name("out.safetensors")
    options = ["lm", "train", text, *SMALL, "--epochs", 2, "--out"]
    assert run(capsys, *options, whole)[0] == 0
    status, _, err = run(capsys, *options, out, "--minutes", 1e-9)
    assert status == 0
    assert f"stopped at step 1 of 62; to resume: python -m symrnn lm resume --model {out}" in err
    moved = text.rename(text.with_name("moved.txt"))
    status, _, err = run(capsys, "lm", "resume", "--model", out)
    assert (status, err) == (2, f"python -m symrnn: error: there is no file or folder {text}\n")
    assert run(capsys, "lm", "resume", moved, "--model", out)[0] == 0
    same_bits(whole, out)
    status, _, err = run(capsys, "lm", "resume", "--model", out)
    assert status == 0
    assert err == f"{out} is trained to its end, 62 steps; to train more: --epochs N\n"
    assert run(capsys, "lm", "resume", "--model", out, "--epochs", 3)[0] == 0
    assert int(checkpoint.load(out).arrays["step"]) == 93
    moved.write_text(TEXT.replace("hello", "hallo", 1))
    status, _, err = run(capsys, "lm", "resume", "--model", out, "--epochs", 4)
    assert status == 2
    assert "are not those that the training began with" in err


def test_what_lies_beside_a_model_is_never_overwritten_unasked(text, capsys):
    folder = text.parent
    (folder / "mine.png").write_bytes(b"a picture of mine")
    for out, said in (
        ("mine.safetensors", "mine.png exists"),
        ("m.png", "would be in the way of the picture"),
        ("m.tokens", "would be in the way of"),
        (".", "is a folder"),
    ):
        status, _, err = run(capsys, "lm", "train", text, *SMALL, "--out", folder / out)
        assert status == 2
        assert said in err
    assert (folder / "mine.png").read_bytes() == b"a picture of mine"
    assert sorted(p.name for p in folder.iterdir()) == ["mine.png", text.name]


def test_a_folder_another_encoding_few_words_two_layers_and_variational_dropout(tmp_path, capsys):
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, verse in (("a.txt", "Das ist schön, sagte sie. "), ("b.txt", "Über uns geht er. ")):
        (folder / name).write_bytes((verse * 30).encode("latin-1"))
    (folder / "no_text.png").write_bytes(b"\0")
    out = tmp_path / "out"
    text = ["--encoding", "latin-1", "--level", "word", "--vocab-size", 11, "--lower"]
    net = ["--layers", 2, "--variational", "--cell", "gru", "--tied", "--embed", 6]
    status, _, err = run(
        capsys, "lm", "train", folder, *SMALL, *text, *net, "--epochs", 1, "--out", out
    )
    assert status == 0, err
    assert "324 tokens for training, 36 for validation; vocabulary of 11;" in err
    saved = checkpoint.load(out)
    assert {"<unk>", "schön"} < set(saved.data["vocabulary"]["tokens"])
    assert saved.data["settings"]["variational"]
    assert sum(name.endswith("W_h") and "best" not in name for name in saved.arrays) >= 2


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_nan_names_what_helps_and_leaves_the_file(text, capsys):
    out = text.with_name("out")
    options = [
        "--learning-rate",
        1e30,
        "--schedule",
        "constant",
        "--optimizer",
        "gradient_descent",
        "--clip",
        1e30,
    ]
    status, _, err = run(capsys, "lm", "train", text, *SMALL, *options, "--out", out)
    assert status == 2
    assert re.search(
        r"error: the loss is (nan|inf) after step \d+: train again with a lower --learning-rate ",
        err,
    )
    assert all(np.isfinite(array).all() for array in checkpoint.load(out).arrays.values())


def test_a_picture_that_cannot_be_drawn_does_not_end_a_training(text, capsys, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("symrnn.cli.curves.curves", full)
    out = text.with_name("lr0.003")  # what is after the last dot belongs to the name
    status, _, err = run(capsys, "lm", "train", text, *SMALL, "--epochs", 1, "--out", out)
    assert status == 0
    assert "lr0.003.png could not be drawn: no space left on device" in err
    assert int(checkpoint.load(out).arrays["step"]) == 31


def test_a_training_that_was_stopped_early_goes_on_with_more_patience(text, capsys):
    out = text.with_name("out")
    options = ["--learning-rate", 3, "--schedule", "constant", "--epochs", 9, "--patience", 1]
    assert run(capsys, "lm", "train", text, *SMALL, *options, "--out", out)[0] == 0
    first = int(checkpoint.load(out).arrays["step"])
    assert first < 9 * 31
    status, _, err = run(capsys, "lm", "resume", "--model", out, "--epochs", 20)
    assert status == 0
    assert f"was stopped early at step {first}" in err
    assert (
        run(capsys, "lm", "resume", "--model", out, "--patience", 3, "--learning-rate", 0.01)[0]
        == 0
    )
    saved = checkpoint.load(out)
    assert int(saved.arrays["step"]) > first
    assert saved.data["losses"][-1]["learning_rate"] == pytest.approx(0.01)


@pytest.mark.slow
def test_another_split_of_the_same_files_is_refused(text, capsys):
    other = text.with_name("other.txt")
    other.write_text(TEXT)
    out = text.with_name("out")
    options = [*SMALL, "--epochs", 2, "--minutes", 1e-9, "--out", out]
    assert run(capsys, "lm", "train", text, other, *options)[0] == 0
    status, _, err = run(capsys, "lm", "resume", text, "--validation", other, "--model", out)
    assert status == 2
    assert "are not those that the training began with" in err
    assert run(capsys, "lm", "resume", text, other, "--model", out)[0] == 0


def same_bits(path, other):
    a, b = checkpoint.load(path), checkpoint.load(other)
    assert (a.generators, list(a.arrays)) == (b.generators, list(b.arrays))
    for name in a.arrays:
        assert a.arrays[name].tobytes() == b.arrays[name].tobytes(), name
    for entry in (*a.data["losses"], *b.data["losses"]):
        entry["seconds"] = 0
    assert a.data["losses"] == b.data["losses"]


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "symrnn", "lm", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def wait_for(path, n_steps, process):
    """Wait until so many steps are in the file."""
    while process.poll() is None:
        try:
            if int(checkpoint.load(path).arrays["step"]) >= n_steps:
                return
        except checkpoint.CheckpointError:
            assert not path.exists()
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_killed_and_then_interrupted_it_ends_with_the_weights_of_an_undisturbed_run(text, capsys):
    whole, out = text.with_name("whole"), text.with_name("out")
    options = ["train", text, *SMALL, "--epochs", 6, "--schedule", "plateau", "--out"]
    killed = start(*options, out, "--save-every", 0)
    wait_for(out, 33, killed)
    killed.kill()
    killed.communicate()
    first = int(checkpoint.load(out).arrays["step"])
    assert 33 <= first < 186
    pressed = start("resume", "--model", out, "--save-every", 0)
    wait_for(out, first + 5, pressed)
    pressed.send_signal(signal.SIGINT)
    said, _ = pressed.communicate()
    assert pressed.returncode == 130, said
    done = int(checkpoint.load(out).arrays["step"])
    assert f"stopped at step {done} of 186; to resume: python -m symrnn lm resume --mod" in said
    assert "Traceback" not in said
    assert first < done < 186
    assert run(capsys, "lm", "resume", "--model", out)[0] == 0
    assert run(capsys, "lm", *options, whole)[0] == 0
    same_bits(whole, out)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_kill_9_at_20_random_moments_and_the_weights_are_those_of_an_undisturbed_run(text, capsys):
    whole, out = text.with_name("whole"), text.with_name("out")
    options = ["train", text, *SMALL, "--epochs", 100, "--schedule", "plateau", "--out"]
    assert run(capsys, "lm", *options, whole)[0] == 0
    moments, n_killed, steps = random.Random(1), 0, [0]
    for k in range(20):
        goes_on = out.exists()
        process = start(*(["resume", "--model"] if goes_on else options), out, "--save-every", 0)
        if k % 2:  # in training itself
            wait_for(out, steps[-1] + 1, process)
            time.sleep(moments.uniform(0, 0.5))
        else:  # at any moment, also while it is loading or compiling
            wait_for(out, 0, process)
            time.sleep(moments.uniform(0, 5))
        process.kill()
        process.communicate()
        n_killed += process.returncode == -signal.SIGKILL
        steps.append(int(checkpoint.load(out).arrays["step"]))
    assert n_killed >= 15
    assert steps == sorted(steps)
    assert len(set(steps)) > 10
    assert run(capsys, "lm", "resume", "--model", out)[0] == 0
    same_bits(whole, out)


@pytest.mark.slow
def test_the_process_that_compiled_computes_the_same_bits_as_those_that_load(text, monkeypatch):
    cold = text.with_name("cold")
    monkeypatch.setenv("PYTENSOR_FLAGS", f"base_compiledir={cold}")
    whole, out = text.with_name("whole"), text.with_name("out")
    options = ["train", text, *SMALL, "--epochs", 2, "--out"]
    for arguments in (  # the first compiles, the others load
        [*options, whole],
        [*options, out, "--minutes", 1e-9],
        ["resume", "--model", out],
    ):
        process = start(*arguments)
        said, _ = process.communicate()
        assert process.returncode == 0, said
    same_bits(whole, out)


@pytest.mark.slow
@pytest.mark.numba
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_text_of_one_gigabyte_trains_in_less_than_1500_megabytes(tmp_path):
    text, out = tmp_path / "big.txt", tmp_path / "model"
    with text.open("w") as stream:
        for _ in range(1000):
            stream.write(TEXT * (10**6 // len(TEXT) + 1))
    assert text.stat().st_size > 10**9
    few = ["--validate-every", 20, "--validation-tokens", 100_000, "--minutes", 0.05]
    process = start("train", text, "--hidden", 32, "--embed", 16, *few, "--out", out)
    peak = 0
    while process.poll() is None:
        found = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{process.pid}/status").read_text())
        peak = int(found[1]) if found else peak  # in kB
        time.sleep(0.05)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert len(checkpoint.load(out).data["losses"]) >= 1
    print(f"peak memory {peak / 1000:.0f} MB")
    assert 100_000 < peak < 1_500_000


def test_evaluate_says_loss_perplexity_tokens_and_unknown_ones(trained, capsys):
    model = trained / "char.safetensors"
    status, out, err = run(capsys, "lm", "evaluate", "--model", model)
    assert (status, err) == (0, "")
    best = min(e["validation"] for e in checkpoint.load(model).data["losses"])
    assert out.startswith(f"validation: {best:.4f} nats, perplexity {np.exp(best):.4g}, ")
    assert out.endswith(" bits/char; 136 tokens, 0% <unk>\n")
    other = trained / "other.txt"
    other.write_text("I say goodbye and you say yes.\n" * 9)
    model = trained / "word.safetensors"
    _, out, _ = run(capsys, "lm", "evaluate", other, "--model", model)
    assert out.startswith(f"{other}: ")
    assert out.endswith("; 81 tokens, 22% <unk>\n")  # yes and the full stop
    assert "bits/char" not in out
    _, out, _ = run(capsys, "lm", "evaluate", "--model", model)
    assert [line.split(":")[0] for line in out.splitlines()] == ["validation", "test"]


def test_generate_continues_a_prompt_and_the_same_seed_writes_the_same(trained, capsys):
    model = ["--model", trained / "char.safetensors"]

    def write(*options):
        status, out, err = run(capsys, "lm", "generate", "You say", *model, *options)
        assert (status, err) == (0, "")
        assert out.startswith("You say")
        return out

    assert len(write("--length", 30)) == 7 + 30 + 1
    drawn = ["--length", 40, "--temperature", 0.8, "--top-k", 5, "--top-p", 0.9]
    assert write(*drawn, "--seed", 1) == write(*drawn, "--seed", 1) != write(*drawn, "--seed", 2)
    assert write("--greedy", "-n", 9) == write("--beam", 1, "--length", 9)
    assert len(write("--beam", 3, "--length", 20)) == 7 + 20 + 1
    assert len(write()) == 7 + 500 + 1
    status, out, _ = run(capsys, "lm", "generate", "--model", trained / "word.safetensors")
    assert status == 0
    assert len(out.split()) > 20


def test_next_shows_the_probable_tokens_and_those_of_a_prompt_that_are_not_known(trained, capsys):
    model = ["--model", trained / "word.safetensors"]
    status, out, err = run(capsys, "lm", "next", "you say", "-k", 3, *model)
    assert (status, err) == (0, "")
    p, tokens = zip(*(line.split() for line in out.splitlines()), strict=True)
    assert len(tokens) == 3
    assert sorted(map(float, p), reverse=True) == list(map(float, p))
    assert set(tokens) <= set(tokens_of(trained / "word.safetensors"))
    _, out, err = run(capsys, "lm", "next", "you said yes", *model)
    assert err == "not in the vocabulary, so read as <unk>: said yes\n"
    model = ["--model", trained / "char.safetensors"]
    _, out, _ = run(capsys, "lm", "next", "hello!", "-k", 18, *model)
    assert re.search(r"^  0\.\d{4}  '\\n'$", out, re.M)


def tokens_of(path):
    return checkpoint.load(path).data["vocabulary"]["tokens"]


BAD = {
    "binary.bin": b"abc\0def",
    "empty.txt": b"",
    "latin.txt": "Das ist schön, sagte sie. ".encode("latin-1") * 99,
    "short.txt": b"You say",
    "greek.txt": "Ἄνδρα μοι ἔννεπε, Μοῦσα ".encode() * 99,
}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train none.txt", "there is no file or folder none.txt"),
        ("train empty.txt", "empty.txt is empty"),
        (
            "train binary.bin",
            "binary.bin is not text in utf-8: byte 3 is zero. It is a binary file",
        ),
        ("train latin.txt", "latin.txt is not written in utf-8: byte 11, which is 0xf6,"),
        ("train text.txt --encoding klingon", "'klingon' is not a text encoding"),
        ("train short.txt", "tokens in 16 batch streams give 0 steps each, fewer than --steps, 64"),
        (
            "train text.txt --batch-size 4 --steps 200",
            "the text for validation is too short: 136 tok",
        ),
        ("train text.txt --out char.safetensors", "char.safetensors exists: resume it"),
        ("train text.txt -o text.txt --force", "text.txt is read by this command"),
        ("train text.txt --out text.txt/model", "text.txt/model cannot be written"),
        ("train text.txt --hidden 0", "--hidden is 0, but must be a whole number"),
        ("train text.txt --dropout 1", "--dropout is 1.0, but must be in [0, 1)"),
        (
            "train text.txt --learning-rate -1",
            "--learning-rate is -1.0, but must be a positive number",
        ),
        ("train text.txt --epochs 0", "--epochs is 0.0, but must be a positive number"),
        ("train text.txt --tied", "--hidden is 256 and --embed 64, but with tied weights"),
        (
            "train --split .5,.6 text.txt",
            "--split is (0.5, 0.6), but must have two or three",
        ),
        ("train text.txt --split 1", "--split is (1.0,), but must have two or three"),
        ("train text.txt --seed -1", "--seed is -1"),
        (
            "train text.txt --vocab-size 1",
            "--vocab-size is 1, but must be a whole number, at least 2",
        ),
        (
            "train text.txt --level word --min-count 0",
            "--min-count is 0, but must be a whole number, at least 1",
        ),
        ("train text.txt --minutes 0", "--minutes is 0.0, but must be a positive number"),
        ("train text.txt --patience 0", "--patience is 0"),
        ("resume", "model.safetensors does not exist"),
        ("resume --model damaged", "damaged is not a safetensors file, or damaged"),
        ("resume greek.txt --model char.safetensors --epochs 9", "are not those that the train"),
        ("evaluate greek.txt --model char.safetensors", "character 'Ἄ' (U+1F0C GREEK CAPITAL"),
        ("evaluate short.txt --model char.safetensors", "7 tokens in 1 batch streams give 6 steps"),
        ("evaluate --model text.txt", "text.txt is not a safetensors file"),
        ("generate Q --model char.safetensors", "token 0 is the character 'Q'"),
        ("evaluate char.safetensors", "is given as a text; a model is given with --model"),
        ("generate --temperature 0 --model char.safetensors", "temperature is 0.0, but must be"),
        ("generate --temperature -1 --model char.safetensors", "temperature is -1.0, but must be"),
        ("generate --top-p 0 --model char.safetensors", "--top-p is 0.0, but must be above 0"),
        ("generate --top-p 1.5 --model char.safetensors", "--top-p is 1.5, but must be above 0"),
        (
            "generate --top-k 99 --model char.safetensors",
            "--top-k is 99, but must be a whole number, from 1 to",
        ),
        (
            "generate --length 0 --model char.safetensors",
            "--length is 0, but must be a whole number",
        ),
        ("generate --beam 0 --model char.safetensors", "--beam is 0, but must be a whole number"),
        ("generate --seed -1 --model char.safetensors", "seed is -1"),
        ("generate --greedy --top-k 3 --model char.safetensors", "--greedy and --beam do not sam"),
        (
            "generate --greedy --beam 3 --model char.safetensors",
            "--greedy and --beam do not sample",
        ),
        (
            "next hello -k 0 --model char.safetensors",
            "-k is 0, but must be a whole number, from 1 to 18",
        ),
        (
            "next hello -k 19 --model char.safetensors",
            "-k is 19, but must be a whole number, from 1 to 18",
        ),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(trained, capsys, monkeypatch, command, message):
    monkeypatch.chdir(trained)
    for name, content in BAD.items():
        (trained / name).write_bytes(content)
    whole = (trained / "char.safetensors").read_bytes()
    (trained / "damaged").write_bytes(whole[: len(whole) // 2])
    status, out, err = run(capsys, "lm", *command.split())
    assert (status, out) == (2, "")
    *before, line = err.splitlines()
    assert all(said.startswith("reading ") for said in before)
    assert line.startswith("python -m symrnn: error: ")
    assert message in line
    assert (trained / "char.safetensors").read_bytes() == whole


@pytest.mark.parametrize("command", ["", "lm", "lm train", "lm next", "lm train a --cell rnn"])
def test_a_command_that_lacks_something_is_told_so_in_one_line(capsys, command):
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(r"python -m symrnn.*: error: .*\(--help shows all options\)$", line)


@pytest.mark.parametrize("command", ["lm", "lm train", "lm resume", "lm generate", "lm next"])
def test_help_names_every_default_and_has_examples(capsys, command):
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(len(line) <= 100 for line in out.splitlines())
    if command == "lm train":
        for name in (
            "learning-rate",
            "hidden",
            "epochs",
            "batch-size",
            "split",
            "level",
            "out",
            "encoding",
        ):
            assert re.search(rf"--{name} [^-]*?\(default: ", out, re.DOTALL), name
    if command in ("lm", "lm train"):
        assert 'lm next "some of them looks like"' in out


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_second_ctrl_c_stops_at_once_and_says_how_to_resume(text, capsys, monkeypatch):
    out = text.with_name("out")

    def press_twice(self, validation, *, quick=False):
        if not quick:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return 1.0

    monkeypatch.setattr("symrnn.models.language.run.LanguageRun.validate", press_twice)
    status, _, err = run(capsys, "lm", "train", text, *SMALL, "--epochs", 1, "--out", out)
    assert status == 130
    assert "stopped at once; what was saved last is whole; to resume: python -m symrnn lm" in err
    assert int(checkpoint.load(out).arrays["step"]) == 0


def test_force_overwrites(trained, text, capsys):
    out = text.with_name("out")
    out.write_bytes(b"another")
    arguments = ["lm", "train", text, *SMALL, "--epochs", 1, "--minutes", 1e-9, "--out", out]
    assert run(capsys, *arguments)[0] == 2
    assert run(capsys, *arguments, "--force")[0] == 0
    assert tokens_of(out)
