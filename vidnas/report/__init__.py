"""What one sees of a run: one self-contained page."""
