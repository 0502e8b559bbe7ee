"""One file per command: it parses, calls one function, shows what came back, sets the exit code."""
