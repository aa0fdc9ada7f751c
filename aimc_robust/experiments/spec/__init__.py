"""Specs: TOML files read, merged and validated."""
