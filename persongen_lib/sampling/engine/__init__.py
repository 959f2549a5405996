"""The sampling loop and what strategies ask of it."""
