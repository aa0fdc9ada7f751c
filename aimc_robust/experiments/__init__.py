"""Experiments on disk: compare, evaluate and recommend, with their specs, execution and results."""
