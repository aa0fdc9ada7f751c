"""Networks: by name, from a file, from user code."""
