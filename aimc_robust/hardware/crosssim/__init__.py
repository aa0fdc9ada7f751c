"""CrossSim as a second backend: parameters, devices and layers."""
