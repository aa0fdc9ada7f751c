"""What is estimated from data: converter ranges, BatchNorm statistics."""
