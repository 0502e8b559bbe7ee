"""How do frames become label maps: one protocol, the CPU runtime, PyTorch as the reference."""
