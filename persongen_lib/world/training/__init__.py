"""Training, export and measurement of the embedded models."""
