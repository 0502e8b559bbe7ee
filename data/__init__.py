"""What are the images: LIP's layout and its variants, synthetic people, letterboxing."""
