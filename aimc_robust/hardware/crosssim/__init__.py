"""CrossSim as a second backend."""
