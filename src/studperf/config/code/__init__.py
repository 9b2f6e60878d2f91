"""Code that a configuration names: its signature, and what is wrong with a user's own."""
