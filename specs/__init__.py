"""What is looked at: label sets, skeletons and framings, as values that travel with weights, graphs and results.

This package imports nothing but the errors and the names of JSON's types, so that everything else can hold one of its
values.
"""
