"""What is measured, how, and against whom; results are printed, never pasted."""
