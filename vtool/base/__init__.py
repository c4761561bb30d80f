"""What every room may use: units, records, rooms, progress."""
