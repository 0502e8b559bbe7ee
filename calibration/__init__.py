"""Which int8 ranges: choose the calibration set, collect ranges, place Q/DQ, check the graph."""
