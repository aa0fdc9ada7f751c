"""Targets: the conditions that a trained model is evaluated under."""
