"""Training methods: SGD, SAM, RWP, m-RWP, and their ramps."""
