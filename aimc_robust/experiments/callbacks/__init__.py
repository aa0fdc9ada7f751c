"""Callbacks that are notified while an experiment runs: progress, TensorBoard."""
