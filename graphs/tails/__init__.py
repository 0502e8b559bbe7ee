"""What stands behind somebody else's graph: its outputs become the answers of a task."""
