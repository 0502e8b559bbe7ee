"""How does a person see it: sources, the threaded pipeline, the overlay, sinks; photographs in, label maps out."""
