"""How is a student trained: the loop, its checkpoints and its progress."""
