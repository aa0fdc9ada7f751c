"""Files: atomic writes, rows, TOML."""
