"""From heatmaps to points, as modules that become part of the graph: ``tasks/pose/decoding.py`` says it on arrays."""
