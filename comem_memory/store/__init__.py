"""Where memories are kept: the contract, Chroma, the packing of vectors, pictures, portable folders."""
