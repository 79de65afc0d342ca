"""Asking a language model for a script, and again with what is wrong with its answer."""

from __future__ import annotations

import logging
from collections.abc import Callable

from .answer import AnswerError, Written, read_answer
from .request import again_request, story_request
from .wish import Wish

TRIES = 3
logger = logging.getLogger(__name__)


def write_story(wish: Wish, model: Callable[[str, int], str]) -> Written:
    """The script that a model writes; of several answers the one with the fewest faults. One that
    was written is not lost when the model fails afterwards.

    Args:
        model: answers a request; its second argument counts the tries from 0, so that a seed can be
            another one.

    Raises:
        AnswerError: when no answer is a script, with the last one.
    """
    request = prompt = story_request(wish)
    best: Written | None = None
    wrong: AnswerError | None = None
    for number in range(TRIES):
        try:
            answer = model(prompt, number)
        except (ValueError, RuntimeError) as error:  # such as memory that a longer request lacks
            if best is None:
                raise
            logger.warning("the language model stopped at try %d: %s", number + 1, error)
            break
        try:
            written = read_answer(answer, wish)
            faults = written.faults
        except AnswerError as error:
            wrong, faults = error, (str(error),)
        else:
            if best is None or len(faults) < len(best.faults):
                best = written
            if not faults:
                return written
        logger.info("answer %d of the language model: %s", number + 1, "; ".join(faults))
        prompt = again_request(request, answer, faults)
    if best is None:
        raise wrong
    return best
