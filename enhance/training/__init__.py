"""Recipe, data loading, loop, validation, checkpoints."""
