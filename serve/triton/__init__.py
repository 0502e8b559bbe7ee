"""Triton's model repositories."""
