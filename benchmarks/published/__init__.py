"""The published tables and figures that the specs reproduce, shown in reports beside the measured values."""
