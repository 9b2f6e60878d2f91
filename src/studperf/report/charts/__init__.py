"""The charts of pages, as inline SVG."""
