"""Crossbars: from trained weights to programmed chips."""
