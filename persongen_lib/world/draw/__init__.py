"""The renderer: scenes, subjects, contexts and accessories."""
