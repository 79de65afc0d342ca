"""Networks that judge and embed frames, and where their weights come from."""
