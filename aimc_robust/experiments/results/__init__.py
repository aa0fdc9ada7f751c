"""Results on disk: rows, tables, completion markers, merging."""
