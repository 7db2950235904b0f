"""What surrounds a call: its parent, and what the program said of it."""
