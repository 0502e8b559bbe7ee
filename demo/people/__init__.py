"""Who is in a frame: detectors, a tracker, crops for the network, and labels that keep still in time."""
