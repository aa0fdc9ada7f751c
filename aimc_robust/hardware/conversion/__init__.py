"""From a trained model to one that can be programmed, and what of it is analog."""
