"""Who may ask over HTTP, and where is listened."""
