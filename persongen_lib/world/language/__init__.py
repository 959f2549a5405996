"""Captions, their vocabulary and tokenizers."""
