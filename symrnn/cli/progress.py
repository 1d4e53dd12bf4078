"""What is seen of a training: a progress bar, a line for each validation, a picture of curves."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from symrnn._files import replacing
from symrnn.training.run import TrainingRun

REDRAW = 10.0  # seconds between two pictures, at least
SAY = 30.0  # seconds without a word, at most, where there is no bar


class Progress:
    """Shows the progress of a `TrainingRun`; its methods are what `TrainingRun.train` calls.

    The bar counts tokens, or pairs, of the whole run and is shown if stderr is a terminal; else
    there is a line every half a minute. There is a line for each validation in any case.

    Parameters
    ----------
    run
        The training.
    n_batches
        Steps of an epoch.
    picture
        The PNG file.
    n_units, unit
        How much a step reads, and of what.
    describe
        Says a validation in words.
    """

    def __init__(
        self,
        run: TrainingRun,
        n_batches: int,
        *,
        picture: Path,
        n_units: int,
        unit: str,
        describe: Callable[[dict[str, float]], str],
    ) -> None:
        self.run, self.n_batches, self.picture = run, n_batches, picture
        self.n_units, self.unit, self.describe = n_units, unit, describe
        self.n_steps = run.total_steps(n_batches)
        self.drawn = -REDRAW
        self.bar: tqdm[Any] | None = None  # made with the first step: compiling is not timed
        self.made = time.perf_counter()
        self.started, self.first = 0.0, 0  # when, and after which step
        self.last_line = 0.0  # when the last line was printed

    def each_step(self, loss: float) -> None:
        """Move the bar."""
        if self.bar is None:
            self.started, self.first = time.perf_counter(), self.run.n_done
            self.say(f"compiled, and the first step done, in {duration(self.started - self.made)}")
            self.bar = tqdm(
                total=self.n_steps * self.n_units, initial=self.first * self.n_units,
                unit=f" {self.unit}", unit_scale=True, disable=None, file=sys.stderr,
                dynamic_ncols=True,
            )  # fmt: skip
            return
        text = f"loss {loss:.3f}"
        if self.run.losses:
            text += f", validation perplexity {np.exp(self.run.losses[-1]['validation']):.4g}"
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(self.n_units)
        if self.bar.disable and time.perf_counter() - self.last_line > SAY:
            step = self.run.n_done
            a_step = (time.perf_counter() - self.started) / max(1, step - self.first)
            left = duration(a_step * (self.n_steps - step))
            self.say(f"step {step} of {self.n_steps}: {text}, {left} left")

    def each_validation(self, entry: dict[str, float]) -> None:
        """Write a line, and draw if the last picture is old."""
        step, first = int(entry["step"]), self.first
        line = (
            f"step {step} of {self.n_steps}, epoch {step / self.n_batches:.2f}: training "
            f"{entry['training']:.4f}, validation {self.describe(entry)}"
        )
        if step > first:
            a_step = (time.perf_counter() - self.started) / (step - first)
            line += f", {self.n_units / a_step:,.0f} {self.unit}/s"
            if step < self.n_steps and not self.run.stopped:
                line += f", {duration(a_step * (self.n_steps - step))} left"
        self.say(line)
        if time.monotonic() - self.drawn > REDRAW:
            self.draw()

    def say(self, line: str) -> None:
        """Write a line above the bar."""
        tqdm.write(line, file=sys.stderr)
        self.last_line = time.perf_counter()

    def draw(self) -> None:
        """Write the picture, if there is something to see."""
        if self.run.losses:
            from symrnn.cli.curves import curves  # slow to import, and only needed here

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


def say(text: str) -> None:
    """Tell the user something that is not a result."""
    print(text, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Say how long: 45 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
