"""The report of a recommendation."""
