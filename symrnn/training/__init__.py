"""From a loss to a trained model: losses, optimizers, schedules, the loop, checkpoints, runs."""
