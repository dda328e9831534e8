"""The loop, its state, checkpoints, evaluation and generation."""
