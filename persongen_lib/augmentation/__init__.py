"""Training pictures with many backgrounds: the subject of a concept's pictures in places that the model generates."""
