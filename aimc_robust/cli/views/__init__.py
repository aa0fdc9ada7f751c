"""What the terminal shows: progress, tables, charts."""
