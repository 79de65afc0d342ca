"""StoryMem: multi-shot video with a memory of keyframes (arXiv 2512.19539), without a host.

Axis legend, used by every docstring of this package:

=====  =====================================================================================
``B``  batch
``T``  pixel frames of one shot, ``T = 4 * (F - 1) + 1``
``F``  latent frames of one shot, ``F = (T - 1) // 4 + 1``
``M``  memory frames that a shot sees (each is one latent frame)
``C``  channels: 3 for pixels, 16 for Wan latents, 4 for the mask
``H``  height, in pixels unless the text says latent (1/8 of pixels)
``W``  width, likewise
=====  =====================================================================================

Images are channels last (``[H, W, 3]``, ``[T, H, W, 3]``); latents are channels first
(``[B, C, F, H, W]``). Memory always comes before the shot on the time axis.

Nothing in this package imports ComfyUI.
"""
