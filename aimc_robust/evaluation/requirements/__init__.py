"""Device requirements: the largest errors with which a model still loses no more than a given drop."""
