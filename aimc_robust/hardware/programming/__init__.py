"""Programming: weights to device states, and the states of one chip."""
