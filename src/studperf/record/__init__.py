"""What a run knows about itself, on disk."""
