"""Monte Carlo over simulated chips, error attribution, loss prediction, equivalent noise."""
