"""Figures that several reports and commands share."""
