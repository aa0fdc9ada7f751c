"""CrossSim as a backend: our card, mapping and converters as its parameters, its cores in the place of our arrays."""
