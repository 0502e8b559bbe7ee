"""How does a checkpoint become an engine: export, type, compile, describe."""
