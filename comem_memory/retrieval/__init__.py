"""How items are found: retrieval keys and the embedders that make them."""
