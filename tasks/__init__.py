"""What a network can be asked about people: one folder a task."""
