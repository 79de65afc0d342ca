"""What the pack knows of ComfyUI."""
