"""Parsing: which part of a person, or what garment, is each pixel."""
