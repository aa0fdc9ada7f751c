"""How a loss reacts to weight perturbations: sharpness, curvature, loss landscapes, training diagnostics."""
