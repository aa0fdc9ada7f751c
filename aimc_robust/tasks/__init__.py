"""Tasks: how a batch is unpacked, how a model is called, and what is scored; classification, regression, and others."""
