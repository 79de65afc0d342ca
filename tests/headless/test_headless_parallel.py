"""Several processes on one shot, with diffusers' own context parallelism, over gloo on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("diffusers")

PACK = Path(__file__).resolve().parents[2]
WORKER = PACK / "tests" / "helpers" / "parallel_worker.py"
# memory, shot frames, latent height and width; tokens: 24 (even), 45 and 27 (not divisible by 2)
SHAPES = [[2, 2, 4, 6], [2, 3, 6, 6], [0, 3, 6, 6]]


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> list[dict]:
    target = tmp_path_factory.mktemp("parallel") / "results.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--local-addr", "127.0.0.1"]  # the machine's own name need not resolve
    run = subprocess.run(
        [*command, "--nproc-per-node", "2", str(WORKER), str(target), json.dumps(SHAPES)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(target.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(SHAPES)), ids=[str(s) for s in SHAPES])
def test_two_processes_share_the_tokens_and_give_the_same_shot(results, index):
    found = results[index]
    assert found["tokens_here"] == (found["tokens"] + 1) // 2
    assert found["even"] == (found["tokens"] % 2 == 0)
    assert found["error"] < 1e-6


def test_a_process_ends_with_its_code_whatever_python_would_still_tidy_up():
    """As after a gloo thread that frees a tensor too late: here a handler that would abort."""
    code = (
        "import atexit, logging, os, sys\n"
        "from storymem.headless import parallel\n"
        "atexit.register(os.abort)\n"
        "logging.basicConfig(stream=sys.stderr)\n"
        "logging.warning('the film is there')\n"
        "sys.stdout.write('all of it')\n"
        "parallel.end(3)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=PACK, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (3, "all of it")
    assert "the film is there" in run.stderr
