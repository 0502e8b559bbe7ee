"""The networks: what is the model."""
