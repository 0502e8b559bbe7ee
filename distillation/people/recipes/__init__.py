"""Recipes of finders."""
