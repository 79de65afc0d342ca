"""Two shots without the loop."""

from __future__ import annotations

from helpers.workflow_files import Builder

from .parts import NEGATIVE, add_models, model_note, negative_note


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
    experts = {}
    for noise in ("high", "low"):
        patched = columns[1].add(
            "StoryMemM2VModelPatch",
            title=f"M2V Model Patch, {noise} noise",
            model=parts[f"model_{noise}"],
            memory_frames=(conditioning, "memory_frames"),
        )
        experts[f"model_{noise}"] = (patched, "MODEL")
    sigmas = columns[1].add("StoryMemSigmas", model=experts["model_high"])
    sampler = columns[1].add("StoryMemSampler")
    columns.append(graph.column(2560, width=320))
    guider = columns[2].add(
        "StoryMemM2VGuider",
        title="M2V Guider: both experts in one run",
        positive=(conditioning, "positive"),
        negative=(conditioning, "negative"),
        **experts,
    )
    sampled = columns[2].add(
        "SamplerCustomAdvanced",
        noise=(conditioning, "noise"),
        guider=(guider, "GUIDER"),
        sampler=(sampler, "SAMPLER"),
        sigmas=(sigmas, "SIGMAS"),
        latent_image=(conditioning, "latent"),
    )
    graph.group(
        "4  Shot 2, every part visible", [node for c in columns for node in c.nodes], "#6b8e23"
    )

    column = graph.column(2960, width=420)
    trim = column.add(
        "TrimVideoLatent",
        title="Take the memory frames off",
        samples=(sampled, "output"),
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
        "joins memory and shot, *M2V Model Patch* gives the memory its negative positions, the "
        "stock *SamplerCustomAdvanced* samples, and *Trim Video Latent* takes the memory off "
        "again.\n\n"
        "*M2V Guider* gives both experts to one sampler, so that its multistep history carries "
        "over at the switch, as in *M2V Sampler*. *StoryMem Sampler* and *StoryMem Sigmas* are the "
        "released recipe; any other sampler and schedule fit there, too.",
    )
    graph.note((940, -560), (1040, 420), "Model files", model_note(t2v=False))
    negative_note(graph, (2020, -560))
    return graph.file()


GRAPHS = {"storymem_two_shots": two_shots_graph}
