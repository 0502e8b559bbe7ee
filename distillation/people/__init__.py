"""Training of finders: boxes that a detector or a person drew, mosaics of their images, losses and the run."""
