"""Analog layers: forward passes through arrays and converters."""
