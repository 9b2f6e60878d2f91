"""Self-contained HTML pages, and the charts on them."""
