"""What changes the weights of a model, and reading it from files."""
