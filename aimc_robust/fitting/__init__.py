"""Fit a device card to measurements, and verify that simulated cells follow a card."""
