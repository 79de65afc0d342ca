"""A whole story without a host: every shot that is not finished yet, then the story video."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from ..files.disk import check_out, explain_write_errors, remove_unfinished
from ..files.hashing import digest_of
from ..files.images import read_picture
from ..files.messages import counted, reason_of
from ..files.video import DEFAULT_CRF, FRAME_RATE, as_rate
from ..film.cutting_room import check_options
from ..film.earlier_films import begin_film, find_film, notices_of
from ..film.folder_lock import StoryClaim
from ..film.head import head_of
from ..film.masters import FOLDER as MASTERS
from ..film.output import BANK_FOLDER, StoryExport
from ..film.passes import PASS
from ..film.promote import with_promotions
from ..film.repair import repair_folder
from ..film.restore import keep_other
from ..film.shot_files import find_edits
from ..loop.begin import bank_after, begin_shot
from ..loop.disk_space import check_disk, estimate_bytes
from ..loop.opening import with_opening
from ..loop.opening_clip import OpeningClip
from ..loop.passes import FILM
from ..loop.plan import Loop, LoopSettings, Step
from ..loop.regeneration import find_regenerations, regeneration_lines
from ..loop.shot_memory import WINDOW
from ..loop.shot_store import ShotResult, ShotStore
from ..loop.shots import finish_shot, list_steps, lock_warnings, summarise_steps, way_of
from ..memory.bank import MemoryBank
from ..memory.picture import Picture
from ..memory.policies import memory_warnings
from ..sampling.conditioning import check_size
from ..sampling.continuity import ShotPlan
from ..sampling.methods import METHODS
from ..sampling.recipe import Recipe
from ..sampling.request import SIZE_RULES, ShotRequest
from ..script.captions import split_captions
from ..script.fields import MAX_SEED
from ..script.story import Story
from ..selection.even import SELECTIONS, SEMANTIC
from .body import describe_body
from .clock import start_clock
from .earlier_sampler import keep_sampler
from .engine import Engine
from .heard import Heard
from .judges import SelectionModels
from .memory_choice import choose_for_shot
from .method import chooses_memory, method_of_run
from .opening import remember_opening
from .portrait import remove_portrait, save_portrait
from .remember import remember_shot
from .shot_inputs import NOTHING, inputs_of, request_of
from .shot_loras import StoryLoras
from .step_checks import check_steps

STORE_FOLDER = ".shots"  # finished shots by content, below the output folder
STORY_VIDEO = "story"  # .mp4
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunSettings:
    """What is made of a story, apart from models and sampling."""

    out: Path
    width: int = 832
    height: int = 480
    length: int = 81  # of shots whose script says none
    size_rule: str = "exact"
    seed: int = 0  # base; a shot uses base + its index, or its own
    lora_strength: float = 1.0  # of shots whose script says none
    method: str = METHODS[0]
    reconstruct: str = ""  # text of Memento's identity frame; empty for none
    selection: str = SELECTIONS[0]
    threshold: float = 0.9
    max_keyframes: int = 3
    start_image: Path | None = None  # begins the first shot
    has_memory: bool = True  # whether shots remember each other
    fps: float = FRAME_RATE
    crf: int = DEFAULT_CRF
    resume: bool = False
    loop: LoopSettings = field(default_factory=LoopSettings)

    @property
    def of_pass(self) -> RunSettings:
        """With the size that shots of its pass have."""
        if self.loop.draft is None:
            return self
        width, height = self.loop.draft.size_of(self.width, self.height)
        return replace(self, width=width, height=height)

    def check(self) -> None:
        """Raise ValueError for a value out of its range, or an ``out`` that cannot be a folder."""
        check_size(self.width, self.height, self.length)
        if self.size_rule not in SIZE_RULES:
            raise ValueError(
                f"size_rule must be one of {', '.join(SIZE_RULES)}, but it is {self.size_rule!r}"
            )
        as_rate(self.fps)
        for name in ("threshold", "lora_strength"):
            if not math.isfinite(value := getattr(self, name)):
                raise ValueError(f"{name} must be a number, but it is {value}")
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed must be between 0 and {MAX_SEED}, but it is {self.seed}")
        if self.max_keyframes < 1:
            raise ValueError(f"max_keyframes must be 1 or more, but it is {self.max_keyframes}")
        try:
            there = next(path for path in (self.out, *self.out.absolute().parents) if path.exists())
        except OSError as error:
            reason = reason_of(error)
            raise ValueError(f"--out cannot be a folder: {reason}; choose another") from error
        if not there.is_dir():
            raise ValueError(f"--out is {self.out}, but {there} is a file; choose a folder")


class ShotFailed(RuntimeError):
    """A shot could not be made; those before it are finished and kept."""


class StoryRun:
    """One run over a story. ``progress(step, done, total)`` is told about sampling steps."""

    def __init__(
        self,
        story: Story,
        settings: RunSettings,
        engine: Engine,
        models: SelectionModels,
        bank: MemoryBank,
        references: Mapping[str, Path],
        start_images: Mapping[int, torch.Tensor] | None = None,
        progress: Callable[[Step, int, int], None] | None = None,
        may_keep_sampler: bool = False,  # nobody chose one: finished shots decide
        end_images: Mapping[int, Picture] | None = None,
        heard: Heard | None = None,
        loras: Path | None = None,  # folder of the files that the script's LoRAs mean
        opening: OpeningClip | None = None,
    ):
        settings.check()
        is_remembered = opening is not None and opening.is_remembered
        is_judged = settings.selection == SEMANTIC or is_remembered or bank.policy == "relevant"
        self._is_judged = settings.has_memory and is_judged
        if self._is_judged:
            models.check()
        self.settings, self.engine, self.models = settings, engine, models
        self.method = method_of_run(settings, engine.files)
        self.has_choice = chooses_memory(settings, engine.files)
        self.progress, self.heard = progress, heard or Heard()
        check_options(self.heard.video_options(settings.fps, settings.crf))
        self._may_keep_sampler = may_keep_sampler
        self.start_pixels = (
            read_picture(settings.start_image).float()[None] / 255 if settings.start_image else None
        )
        self._judging = None
        self._claim: StoryClaim | None = None  # from the plan to the end of the run
        embedder, store = None, ShotStore(settings.out / STORE_FOLDER)
        body = self._describe_body(engine.recipe)
        if is_remembered:
            bank = remember_opening(opening, bank, store, body, self._judges)
        if bank.policy == "relevant":  # its first use tells whether it reads texts
            embedder = self._judges()[0]
            embedder.embed_text("a picture")
            bank = replace(bank, embedder=embedder.full_name)
        self._loras = StoryLoras(story, loras, engine)
        self.loop = Loop(
            story,
            settings.loop,
            bank,
            body,
            store,
            {name: read_picture(path) for name, path in references.items()},
            start_images or {},
            embedder,
            end_images=end_images or {},
            sound_frames=self.heard.frames,
            loras=self._loras.files,
            opening=opening,
        )

    def plan(self) -> list[Step]:
        """The shots of the run, finished or to be made; checks what can be checked beforehand.

        Raises:
            ValueError: for a folder with another run's shots, that another process works in, or
                that cannot be written, a disk that is too full, shots too short to continue, and
                weights of another kind.
        """
        out = self.settings.out
        repair_folder(out, self.loop.story, self.loop.store)
        self.loop, promoted = with_promotions(self.loop, out)
        self.loop = with_opening(self.loop)
        film = find_film(out, self.loop.story)
        manifest = film.manifest
        if manifest["shots"] and not self.settings.resume:
            finished = counted(len(manifest["shots"]), "finished shot")
            raise ValueError(
                f"{out} already holds {finished}; pass --resume to go on with it (only what "
                "changed is regenerated), or choose another --out"
            )
        made, found = self.settings.loop.pass_name, manifest.get(PASS, FILM)
        if manifest["shots"] and made != found:
            raise ValueError(f"{out} holds a {found}, and not a {made}; choose another --out")
        edits = find_edits(out, self.loop.story, self.loop.store)
        self.loop = replace(self.loop, edits=edits)
        kept = []
        if manifest["shots"] and self._may_keep_sampler:
            self.loop, kept = keep_sampler(self.loop, self.engine, self._describe_body, film.known)
        steps = list_steps(self.loop, film.known)
        made = self.settings.of_pass
        kept += self._loras.check(steps, has_t2v=self.engine.files.t2v is not None)
        check_steps(self, steps)
        self.clock = start_clock(self.loop, steps, made, self.engine, film.shots)
        todo = any(step.record is None for step in steps)
        if todo and self._is_judged:
            self._judges()
        check_out(out, "the story")
        undecided = sum(step.is_undecided for step in steps)
        size = (made.width, made.height, made.length)
        needed = estimate_bytes(steps, *size, self.heard.codec)
        disk = check_disk(self.loop.store, needed, undecided=undecided)
        logger.info(
            "%s: %s%s%s",
            _name_of(self.loop), summarise_steps(steps), disk, self.clock.tell(),
        )  # fmt: skip
        self._claim = StoryClaim(out, digest_of([way_of(self.loop, steps), self.settings.fps]))
        for folder in (out, out / BANK_FOLDER, out / MASTERS):
            remove_unfinished(folder)
        self.loop.store.remove_unfinished()
        notices = notices_of(film, out, self.loop.story, has_title_folder=False)
        notices += kept + lock_warnings(self.loop, steps)
        found = find_regenerations(self.loop, steps)
        for line in regeneration_lines([one for one in found if one.is_edited], steps):
            logger.info("%s", line)
        notices += regeneration_lines([one for one in found if not one.is_edited], steps)
        bank = self.loop.bank
        notices += memory_warnings(bank.max_frames, bank.sink, bank.policy)
        if todo and self._judging is not None and self.settings.selection == SEMANTIC:
            notices += filter(None, [self._judging[0].threshold_note(self.settings.threshold)])
        if todo and self.has_choice and bank.policy != WINDOW:
            notices.append(
                f"--policy is {bank.policy}, but Memento's keyframe query chooses the memory; "
                "leave --policy away, or pass --method storymem"
            )
        for notice in notices:
            logger.warning("%s", notice)
        with explain_write_errors("the story", out):
            keep_other(out, self.loop.story)
            begin_film(out, self.loop.story, steps)
            promoted.keep(out, self.loop.story, self.loop.store)
        return steps

    def run(self, steps: list[Step]) -> Path:
        """Make the missing shots, one after the other, and the story video; its path.

        Raises:
            ShotFailed: naming the shot; a later run with resume goes on there.
        """
        todo = [step.plan for step in steps if step.record is None]
        try:
            if todo:
                self.engine.encode_texts(self._texts(todo))
            return self._make_all(steps)
        except ValueError as error:
            raise ShotFailed(str(error)) from error
        finally:
            if self._claim:
                self._claim.release()

    def _texts(self, todo: list[ShotPlan]) -> list[str]:
        """All that is encoded for these shots."""
        prompts = [self.prompt_of(plan) for plan in todo]
        texts = []
        for prompt, plan in zip(prompts, todo, strict=True):
            texts += [prompt, plan.shot.negative]
        if self.settings.reconstruct:
            texts += [self.settings.reconstruct, NOTHING]
        if self.has_choice:
            texts += [split_captions(prompt)[0] for prompt in prompts]
        return texts

    def _make_all(self, steps: list[Step]) -> Path:
        out, story = self.settings.out, self.loop.story
        options = self.heard.video_options(self.settings.fps, self.settings.crf)
        how = {"head": head_of(self.loop), "sound": self.heard.sound}
        shown = StoryExport(out, story, self.loop.settings, options, STORY_VIDEO, **how)
        before: ShotResult | None = None
        for step in steps:
            if step.record is None:
                try:
                    self._make(step, before)
                except (ValueError, RuntimeError, OSError) as error:
                    raise ShotFailed(f"{step.plan.shot} failed: {error}") from error
            before = step.result
            shown.export_missing([step])
        bank = bank_after(self.loop, steps[-1]) if before else None
        return shown.finish(steps, {}, bank)

    # --- one shot ----------------------------------------------------------------------------

    def _make(self, step: Step, before: ShotResult | None) -> None:
        begun = begin_shot(self.loop, step, before)
        step.begin(begun)
        if step.record is not None:  # found now that it is known what it sees
            return
        bank = begun.bank
        if self.has_choice:
            prompt = self.prompt_of(step.plan)
            bank = choose_for_shot(self.engine, self.settings, bank, step.plan, prompt)
        request = self._request(step, bank, begun.given)
        self.clock.begin(step, len(request.memory))
        frames = self._sample(step, request)
        if self.settings.has_memory:
            bank = remember_shot(self.settings, self._judging, step.plan, frames, bank)
        work = self.clock.finish(step, frames.shape)
        step.record, step.result = finish_shot(
            self.loop, step, frames, bank, crf=self.settings.crf, work=work,
            length=self.settings.length, master=self.heard.video_options(16, 0).master,
        )  # fmt: skip
        logger.info("finished %s%s", step.plan.shot, self.clock.tell())

    def _judges(self) -> tuple:
        """What looks at finished frames, embedder and scorer, loaded when first asked for."""
        if self._judging is None:
            self._judging = self.models.load(self.engine.placement.device)
        return self._judging

    def prompt_of(self, plan: ShotPlan) -> str:
        """What is encoded for a shot."""
        return self.loop.story.encoded(plan.prompt)

    def _request(self, step: Step, bank: MemoryBank, previous: torch.Tensor | None) -> ShotRequest:
        """What is asked of the models for a shot that sees ``bank``."""
        own = self.loop.start_images.get(step.plan.shot.index)
        start = self.start_pixels if own is None else own[None].float() / 255
        return request_of(
            self.settings, step.plan, bank, self.method, previous=previous, start=start
        )

    def _sample(self, step: Step, request: ShotRequest) -> torch.Tensor:
        """Frames ``[T, H, W, 3]`` of the shot, repeated ones included."""
        engine, plan = self.engine, step.plan
        kind, inputs = inputs_of(
            engine, plan, request, self.method, self.prompt_of(plan), self.settings.reconstruct
        )
        engine.vae.free()
        portraits: list[torch.Tensor] = []
        strength = plan.shot.lora_strength
        latents = engine.sample(
            kind,
            inputs,
            lora_strength=self.settings.lora_strength if strength is None else strength,
            loras=self._loras.of(plan.shot),
            is_cut=request.is_cut,
            on_step=lambda done, total: self.progress and self.progress(step, done, total),
            on_identity=portraits.append,
        )
        frames = engine.vae.decode(latents)
        if portraits:
            save_portrait(self.settings.out, plan.shot, engine.vae.decode(portraits[0])[0])
        else:
            remove_portrait(self.settings.out, plan.shot)
        engine.vae.free()
        return frames

    def length_of(self, step: Step) -> int:
        """Frames of a shot, repeated ones included."""
        length = step.plan.shot.length or self.settings.length
        return step.plan.draft.length_of(length) if step.plan.draft else length

    def _describe_body(self, recipe: Recipe) -> str:
        settings = self.settings.of_pass
        return describe_body(settings, self.engine, self.models, self.start_pixels, recipe)


def _name_of(loop: Loop) -> str:
    """The story, and which pass of it is made before the film."""
    made = loop.settings.pass_name
    return loop.story.name if made == FILM else f"{loop.story.name}, {made}"
