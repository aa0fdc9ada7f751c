"""Laws of a device card, one per file: errors of programming and reading, drift, stuck cells."""
