"""What is shown of a study: its page, its live table, its archive."""
