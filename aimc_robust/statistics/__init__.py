"""Estimates, intervals and tests. No torch."""
