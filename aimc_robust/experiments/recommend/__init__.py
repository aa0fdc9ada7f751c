"""Recommend a training method for a device."""
