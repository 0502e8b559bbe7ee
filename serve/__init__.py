"""How a program asks: a server of our own, and what others' servers take."""
