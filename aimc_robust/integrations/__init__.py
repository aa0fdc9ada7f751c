"""Other frameworks: Lightning."""
