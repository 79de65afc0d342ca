"""What a sampler gets: conditioning, positions in time, LoRA, colour."""
