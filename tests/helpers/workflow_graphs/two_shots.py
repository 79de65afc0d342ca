"""Two shots without the loop."""

from __future__ import annotations

from helpers.workflow_files import Builder

from .parts import NEGATIVE, add_models, model_note


def two_shots_graph(info: dict) -> dict:
    """Two shots without the loop, every part visible, on the composable road."""
    graph = Builder(info, "storymem_two_shots")
    parts = add_models(graph)
    column = graph.column(420)
    negative = column.add(
        "CLIPTextEncode", title="Negative prompt", rows=10, clip=parts["clip"], text=NEGATIVE
    )
    bank = column.add("StoryMemMemoryBank", title="Memory Bank (empty at first)")
    embedder = column.add("StoryMemLoadEmbedder", embedder="no_weights")
    graph.group("2  Common to both shots", column.nodes, "#8a6d3b")

    first_column = graph.column(840, width=380)
    prompt = first_column.add(
        "CLIPTextEncode",
        title="Prompt of shot 1",
        rows=8,
        clip=parts["clip"],
        text=(
            "A young woman with short copper hair, round glasses and a mustard raincoat walks "
            "along a wet pier at dawn, a small grey terrier at her heels. Wide shot, slow "
            "dolly forward."
        ),
    )
    first = first_column.add(
        "StoryMemM2VSampler",
        title="Shot 1 (text alone)",
        model_high=parts["model_high"],
        model_low=parts["model_low"],
        positive=(prompt, "CONDITIONING"),
        negative=(negative, "CONDITIONING"),
        vae=parts["vae"],
        bank=(bank, "bank"),
    )
    column = graph.column(1280, width=360)
    decode = column.add("VAEDecode", samples=(first, "samples"), vae=parts["vae"])
    select = column.add(
        "StoryMemKeyframeSelect",
        frames=(decode, "IMAGE"),
        embedder=(embedder, "embedder"),
        bank=(bank, "bank"),
    )
    remember = column.add("StoryMemRemember", bank=(bank, "bank"), keyframes=(select, "keyframes"))
    column.add("StoryMemPreviewMemoryBank", bank=(remember, "bank"))
    graph.group("3  Shot 1 and what it leaves in memory", [*first_column.nodes, *column.nodes])

    columns = [graph.column(1720, width=400)]
    prompt = columns[0].add(
        "CLIPTextEncode",
        title="Prompt of shot 2",
        rows=8,
        clip=parts["clip"],
        text=(
            "The young woman stops beside an old green rowing boat and crouches to untie the "
            "rope; the terrier jumps in first. Medium shot."
        ),
    )
    conditioning = columns[0].add(
        "StoryMemM2VConditioning",
        title="M2V Conditioning (continues shot 1: MI2V)",
        positive=(prompt, "CONDITIONING"),
        negative=(negative, "CONDITIONING"),
        vae=parts["vae"],
        bank=(remember, "bank"),
        previous_frames=(decode, "IMAGE"),
        seed=1,
        continuity="last_frame",
    )
    columns.append(graph.column(2180, width=320))
    experts = []
    for noise in ("high", "low"):
        shifted = columns[1].add(
            "ModelSamplingSD3",
            title=f"Shift 4, {noise} noise",
            model=parts[f"model_{noise}"],
            shift=4.0,
        )
        patched = columns[1].add(
            "StoryMemM2VModelPatch",
            title=f"M2V Model Patch, {noise} noise",
            model=(shifted, "MODEL"),
            memory_frames=(conditioning, "memory_frames"),
        )
        experts.append((patched, "MODEL"))
    scheduler = columns[1].add(
        "BasicScheduler", model=experts[0], scheduler="simple", steps=40, denoise=1.0
    )
    split = columns[1].add(
        "SplitSigmas",
        title="13 of 40 steps by the high-noise expert",
        sigmas=(scheduler, "SIGMAS"),
        step=13,
    )
    euler = columns[1].add("KSamplerSelect", sampler_name="euler")
    columns.append(graph.column(2560, width=320))
    guiders = [
        (
            columns[2].add(
                "CFGGuider",
                title=f"Guider, {noise} noise",
                model=expert,
                positive=(conditioning, "positive"),
                negative=(conditioning, "negative"),
                cfg=3.5,
            ),
            "GUIDER",
        )
        for noise, expert in zip(("high", "low"), experts, strict=True)
    ]
    high = columns[2].add(
        "SamplerCustomAdvanced",
        title="High-noise steps",
        noise=(conditioning, "noise"),
        guider=guiders[0],
        sampler=(euler, "SAMPLER"),
        sigmas=(split, "high_sigmas"),
        latent_image=(conditioning, "latent"),
    )
    silence = columns[2].add("DisableNoise")
    low = columns[2].add(
        "SamplerCustomAdvanced",
        title="Low-noise steps",
        noise=(silence, "NOISE"),
        guider=guiders[1],
        sampler=(euler, "SAMPLER"),
        sigmas=(split, "low_sigmas"),
        latent_image=(high, "output"),
    )
    graph.group(
        "4  Shot 2, every part visible", [node for c in columns for node in c.nodes], "#6b8e23"
    )

    column = graph.column(2960, width=420)
    trim = column.add(
        "TrimVideoLatent",
        title="Take the memory frames off",
        samples=(low, "output"),
        trim_amount=(conditioning, "memory_frames"),
    )
    second = column.add("VAEDecode", samples=(trim, "LATENT"), vae=parts["vae"])
    rest = column.add(
        "ImageFromBatch",
        title="Take the repeated first frame off",
        image=(second, "IMAGE"),
        batch_index=1,
        length=4096,
    )
    both = column.add(
        "BatchImagesNode",
        title="Shot 1, then shot 2",
        **{"images.image0": (decode, "IMAGE"), "images.image1": (rest, "IMAGE")},
    )
    video = column.add("CreateVideo", images=(both, "IMAGE"), fps=16.0)
    column.add("SaveVideo", video=(video, "VIDEO"), filename_prefix="storymem/two_shots")
    graph.group("5  The film", column.nodes, "#a1309b")
    graph.note(
        (0, -560),
        (900, 420),
        "StoryMem: two shots, no loop",
        "# StoryMem: two shots, no loop\n\n"
        "The same method with every part on the table. Shot 1 uses the easy road, *M2V Sampler*, "
        "which does all of group 4 by itself. Shot 2 uses the composable road: *M2V Conditioning* "
        "joins memory and shot, *M2V Model Patch* gives the memory its negative positions, stock "
        "nodes sample, and *Trim Video Latent* takes the memory off again.\n\n"
        "The stock samplers run one expert after the other, so they start a new history at "
        "the switch: use euler here, which has none. *M2V Sampler* switches inside one run and "
        "works with any sampler.",
    )
    graph.note((940, -560), (1040, 420), "Model files", model_note(t2v=False))
    return graph.file()


GRAPHS = {"storymem_two_shots": two_shots_graph}
