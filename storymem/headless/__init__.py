"""The method without ComfyUI: ``python -m storymem run story.json --out DIR`` on diffusers' Wan2.2.

Story, bank, selection, conditioning, positions and continuity are the library's own; this package
holds only what ComfyUI does in the other road: loading models, sampling, and the loop over shots.
diffusers, transformers, peft and accelerate are imported where they are used.
"""
