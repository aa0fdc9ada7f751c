"""Run the trials of a comparison: train, evaluate, store rows."""
