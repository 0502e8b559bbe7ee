"""What an answer means: joints and, later, classes and framing, as values that travel with weights and graphs."""
