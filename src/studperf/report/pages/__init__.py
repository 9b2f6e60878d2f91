"""Pages from templates: each needs nothing but a browser, or is Markdown."""
