"""What files that a user names are: read only when they are regular, known by their first bytes."""
