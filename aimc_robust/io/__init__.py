"""Files: atomic writes, rows as JSON Lines, TOML."""
