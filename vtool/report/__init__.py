"""Plans, observations and proofs as text and data. Pure: values in, lines out."""
