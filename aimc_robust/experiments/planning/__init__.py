"""What a comparison will cost, before it runs."""
