"""Recommend a training method for a device: measure, propose, sweep, judge."""
