"""Image encoders, which turn pictures of a concept into an adapter without any training for the concept."""
