"""What was decided: from a checked topology to a plan in which nothing is left to choose."""
