"""Where trials run: in this process, in local worker processes, on a Ray cluster."""
