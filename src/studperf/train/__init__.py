"""From a checked table to a trained and judged model."""
