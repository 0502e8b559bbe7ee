"""Where a person's joints are: one box in, one point and score a joint out."""
