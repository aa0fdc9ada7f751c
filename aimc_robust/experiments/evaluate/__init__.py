"""Evaluate trained weights on devices."""
