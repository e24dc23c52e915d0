"""The frozen model: loading it, what it reads, the memory splice, generation."""
