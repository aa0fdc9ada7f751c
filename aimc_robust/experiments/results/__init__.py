"""Results on disk: rows, tables, merging."""
