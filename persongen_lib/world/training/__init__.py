"""Training of the micro-world's models, from rendered pictures to the folders in data/models."""
