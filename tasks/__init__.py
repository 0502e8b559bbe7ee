"""What are networks for: a folder a task, all behind one protocol."""
