"""Views of a study: its page and charts, its live table, its archive."""
