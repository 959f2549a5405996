"""The forms of the micro-world's text-to-image models, one file per family."""
