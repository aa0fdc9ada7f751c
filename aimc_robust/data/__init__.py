"""Images: sources, decoding, normalization, augmentation, batches."""
