"""Training of memory-to-video experts: ``python -m storymem train`` (paper 3.3, 4.1).

Rectified flow on groups of clips, LoRA or all weights, on diffusers, peft and accelerate.
"""
