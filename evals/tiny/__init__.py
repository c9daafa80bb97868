"""How loupe-tiny is trained on phantoms, and how it is judged."""
