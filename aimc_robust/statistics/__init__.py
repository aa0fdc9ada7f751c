"""Estimates, intervals and hypothesis tests (imports no torch)."""
