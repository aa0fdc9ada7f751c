"""The configuration of a crossbar: mapping, array size, converters."""
