"""Models of dialogues, and their responses."""
