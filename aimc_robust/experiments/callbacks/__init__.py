"""What is notified while an experiment runs: progress, TensorBoard."""
