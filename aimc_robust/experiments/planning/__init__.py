"""Estimate the cost of a comparison before it runs."""
