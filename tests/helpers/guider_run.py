"""A run of the guider of two experts: the host's parts are watched and nothing is computed."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from helpers.bare_wan import bare_wan, prompt

BOUNDARY = 0.5
SIGMAS = (1.0, 0.8, 0.4, 0.2, 0.0)
MOVED: list = []  # every .to of a tensor below: its shape and where to


class Watched(torch.Tensor):
    """A tensor that notes where it is moved to: here there is one device only."""

    def to(self, *args, **kwargs):
        MOVED.append((tuple(self.shape), args))
        return super().to(*args, **kwargs)


def watched(tensor) -> Watched:
    return torch.as_tensor(tensor).as_subclass(Watched)


class Sampler:
    """Asks the model at sigmas of its own and notes what it was given."""

    def __init__(self, asks=SIGMAS[:-1], options=None, *, function=None):
        self.asks, self.options = asks, options or (lambda options: options)
        self.sampler_function = function

    def sample(self, model, sigmas, extra_args, callback, noise, latent, mask, disable):
        self.given = SimpleNamespace(
            sigmas=sigmas.tolist(), callback=callback, noise=noise, latent=latent, mask=mask,
            disable=disable, seed=extra_args["seed"],
        )  # fmt: skip
        x = noise.as_subclass(torch.Tensor)
        for sigma in self.asks:
            options = self.options(extra_args["model_options"])
            arguments = {} if options is None else {"model_options": options}
            x = model(x, torch.tensor([sigma]), seed=extra_args["seed"], **arguments)
        return x


class Run:
    """One guider over two experts, whose calls of the host's parts are noted in ``events``."""

    def __init__(self, host, monkeypatch, boundary=BOUNDARY):
        import comfy.sampler_helpers
        import comfy.samplers

        self.events: list = []
        self.high, self.low = bare_wan(), bare_wan()
        module = host.pack("nodes.sampling.expert_guider")
        self.guider = module.TwoExpertGuider(self.high, self.low, boundary)
        self.guider.set_conds(prompt(), prompt())
        self.guider.set_cfg(3.0, 2.0)
        self.latent = torch.zeros(1, 16, 2, 4, 6)
        helpers, samplers = comfy.sampler_helpers, comfy.samplers

        def prepare(model, shape, conds, model_options=None):
            self.note("prepare", model.model, tuple(shape), conds, model_options)
            more = SimpleNamespace(of=self.name(model.model), is_multigpu_base_clone=False)
            return model.model, conds, [more]

        def process(inner, noise, conds, device, latent, mask, seed, latent_shapes=None):
            self.note("process", inner, noise, conds, device, latent, mask, seed, latent_shapes)
            return {name: [*parts, {"for": self.name(inner)}] for name, parts in conds.items()}

        def predict(inner, x, timestep, uncond, cond, cfg, model_options=None, seed=None):
            made_for = {part[-1]["for"] for part in (cond, uncond)}
            shapes = getattr(inner, "latent_shapes", None)  # older hosts have none
            self.note("predict", inner, float(timestep), cfg, model_options, seed, shapes, made_for)
            return x * 0.5

        def cast(options, device=None, dtype=None):
            self.casts.append((options, device, dtype))

        self.casts: list = []
        monkeypatch.setattr(helpers, "prepare_sampling", prepare)
        monkeypatch.setattr(samplers, "process_conds", process)
        monkeypatch.setattr(samplers, "sampling_function", predict)
        monkeypatch.setattr(samplers, "cast_to_load_options", cast)
        monkeypatch.setattr(
            helpers, "cleanup_models", lambda conds, models: self.note("free", conds, models)
        )
        for model in (self.high, self.low):
            for what in ("pre_run", "cleanup"):
                note = lambda m=model, w=what: self.note(w, m.model)  # noqa: E731
                monkeypatch.setattr(model, what, note)

    def name(self, inner) -> str:
        return "high" if inner is self.high.model else "low"

    def note(self, what, first, *rest):
        first = self.name(first) if isinstance(first, torch.nn.Module) else first
        self.events.append((what, first, *rest))

    def sample(self, sampler=None, sigmas=SIGMAS, *args, latent=None, mask=None, **kwargs):
        self.events.clear()
        self.casts.clear()
        MOVED.clear()
        self.sampler = sampler or Sampler()
        noise = watched(torch.ones(self.latent.shape, dtype=torch.float64))
        latent = watched(self.latent if latent is None else latent)
        return self.guider.sample(
            noise, latent, self.sampler, watched(torch.tensor(sigmas)), mask, *args, **kwargs
        )

    def order(self) -> list[tuple]:
        """What happened, in order, by expert and sigma."""
        short = []
        for what, first, *rest in self.events:
            if what == "free":
                short.append((what, first["positive"][-1].get("for")))
            else:
                short.append((what, first, rest[0]) if what == "predict" else (what, first))
        return short

    def of(self, what: str, expert: str) -> list[tuple]:
        return [tuple(rest) for kind, name, *rest in self.events if (kind, name) == (what, expert)]
