"""A run's own folder and its record."""
