"""Where are the people."""
