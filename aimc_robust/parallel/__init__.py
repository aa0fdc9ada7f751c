"""Worker processes and CPU cores of this machine."""
