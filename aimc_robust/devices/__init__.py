"""Device cards: how one memory device behaves, with units and source."""
