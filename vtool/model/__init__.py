"""What the user wrote, as frozen pydantic types."""
