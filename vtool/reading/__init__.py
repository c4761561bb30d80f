"""Text to values with their places, and several files to one document."""
