"""What a person sees of a training: a bar, a line for each validation, and a picture of curves."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from symrnn.files import replacing
from symrnn.models.language_run import LanguageRun
from symrnn.text import Characters

REDRAW = 10.0  # seconds between two pictures, at least


def in_words(loss: float, run: LanguageRun) -> str:
    """Say a loss in nats, as perplexity, and for characters in bits."""
    bits = f", {loss / np.log(2):.3f} bits/char" if isinstance(run.tokenizer, Characters) else ""
    return f"{loss:.4f} nats, perplexity {np.exp(loss):.4g}{bits}"


class Progress:
    """Shows how a `LanguageRun` gets on; its methods are what `LanguageRun.train` calls.

    The bar counts tokens of the whole run and is there if stderr is a terminal. The lines are there
    in any case.

    Parameters
    ----------
    run
        What is trained.
    n_batches
        Steps in an epoch.
    picture
        The PNG file.
    """

    def __init__(self, run: LanguageRun, n_batches: int, picture: Path) -> None:
        self.run, self.n_batches, self.picture = run, n_batches, picture
        self.n_tokens = run.settings.batch_size * run.settings.n_steps  # of a step
        self.n_steps = run.n_steps(n_batches)
        self.drawn = -REDRAW
        self.bar: tqdm[Any] | None = None  # made with the first step: compiling is not timed
        self.started, self.first = 0.0, 0  # when, and after which step

    def each_step(self, loss: float) -> None:
        """Move the bar."""
        if self.bar is None:
            self.started, self.first = time.perf_counter(), self.run.n_done
            self.bar = tqdm(
                total=self.n_steps * self.n_tokens, initial=self.first * self.n_tokens,
                unit=" tokens", unit_scale=True, disable=None, file=sys.stderr, dynamic_ncols=True,
            )  # fmt: skip
            return
        said = f"loss {loss:.3f}"
        if self.run.losses:
            said += f", validation perplexity {np.exp(self.run.losses[-1]['validation']):.4g}"
        self.bar.set_postfix_str(said, refresh=False)
        self.bar.update(self.n_tokens)

    def each_validation(self, entry: dict[str, float]) -> None:
        """Write a line, and draw if the last picture is old."""
        step, first = int(entry["step"]), self.first
        line = (
            f"step {step} of {self.n_steps}, epoch {step / self.n_batches:.2f}: training "
            f"{entry['training']:.4f}, validation {in_words(entry['validation'], self.run)}"
        )
        if step > first:
            a_step = (time.perf_counter() - self.started) / (step - first)
            line += f", {self.n_tokens / a_step:,.0f} tokens/s"
            if step < self.n_steps and not self.run.stopped:
                line += f", {duration(a_step * (self.n_steps - step))} left"
        tqdm.write(line, file=sys.stderr)
        if time.monotonic() - self.drawn > REDRAW:
            self.draw()

    def draw(self) -> None:
        """Write the picture, if there is something to see."""
        if self.run.losses:
            from symrnn.commands.curves import curves  # slow to import, and only needed here

            try:
                figure = curves(self.run, self.n_batches)
                with replacing(self.picture) as stream:
                    figure.savefig(stream, format="png", dpi=110)
            except (OSError, ValueError) as error:  # no reason to end a training
                tqdm.write(f"{self.picture} could not be drawn: {error}", file=sys.stderr)
        self.drawn = time.monotonic()

    def close(self) -> None:
        """Leave the bar as it is, and draw the last picture."""
        if self.bar is not None:
            self.bar.close()
        self.draw()


def duration(seconds: float) -> str:
    """Say how long: 45 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
