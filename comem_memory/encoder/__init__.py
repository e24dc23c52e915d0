"""An item becomes 8 vectors: laid out, read by the frozen model with a LoRA, condensed by a Q-Former."""
