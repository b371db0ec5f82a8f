"""Recorded schedules and samples of diffusion Transformers."""

import re
from typing import Any

import numpy as np

from minivit.lineage import diffusion
from minivit.lineage.diffusion import Schedule
from minivit.lineage.verify import Case


def schedules(case: Case) -> dict[str, np.ndarray]:
    """Numbers of the linear and of the cosine schedule, at the recorded steps."""
    if not any(name.startswith("schedule/") for name in case.arrays):
        return {}
    total = case.config.get("diffusion_steps", 1000)
    own = Schedule.linear(total)
    at = case.input("schedule/indices") if "schedule/indices" in case.arrays else np.arange(total)
    root, other = np.sqrt(own.abar), np.sqrt(1 - own.abar)
    found = {
        "betas": own.betas,
        "alphas_cumprod": own.abar,
        "alphas_cumprod_prev": own.abar_before,
        "sqrt_alphas_cumprod": root,
        "sqrt_one_minus_alphas_cumprod": other,
        "posterior_variance": own.posterior_variance,
        "posterior_log_variance_clipped": own.posterior_log_variance,
        "posterior_mean_coef1": own.of_start,
        "posterior_mean_coef2": own.of_state,
        "fixed_large_log_variance": own.fixed_log_variance,
        "fixed_large_variance": np.exp(own.fixed_log_variance),
        "cosine_betas": Schedule.cosine(total).betas,
    }
    return {f"schedule/{name}": values[at] for name, values in found.items()}


def walks(case: Case, objective: Any) -> dict[str, np.ndarray]:
    """Single steps of DDPM and DDIM, and whole walks under guidance."""
    found: dict[str, np.ndarray] = {}
    if "ddpm_step/x_t" in case.arrays:
        found |= _single(case, objective)
    if "sample/start" in case.arrays and "sample/noises" in case.arrays:
        found |= _whole(case, objective)
    for name in case.arrays:
        if match := re.fullmatch(r"sample/space_timesteps_(\w+)", name):
            found[name] = np.array(diffusion.spaced(1000, match[1].replace("_", ",")))
    return found


def _single(case: Case, objective: Any) -> dict[str, np.ndarray]:
    x, i = case.images("ddpm_step/x_t"), case.input("ddpm_step/t")
    labels, noise = case.input("ddpm_step/y"), case.images("ddpm_step/noise")
    output, own = objective.predictor(labels)(x, i), objective.schedule
    found = {}
    for name, clip in {"": False, "clipped_": True}.items():
        mean, log_variance, x0 = diffusion.moments(own, output, x, i, clip)
        found[f"ddpm_step/{name}mean"] = mean
        found[f"ddpm_step/{name}log_variance"] = log_variance
        found[f"ddpm_step/{name}variance"] = np.exp(log_variance)
        found[f"ddpm_step/{name}pred_x0"] = x0
        found[f"ddpm_step/{name}sample"] = diffusion.ddpm_step(own, output, x, i, noise, clip)
    for name in case.arrays:
        if match := re.fullmatch(r"ddim_step/(clipped_)?eta([\d.]+)", name):
            clip, eta = bool(match[1]), float(match[2])
            found[name] = diffusion.ddim_step(own, output, x, i, noise, eta, clip)
    return {name: case.laid_out(np.array(x)) for name, x in found.items()}


def _whole(case: Case, objective: Any) -> dict[str, np.ndarray]:
    """The published sampling: three channels are guided, nothing is clipped."""
    start, labels = case.images("sample/start"), case.input("sample/y")
    predict = objective.predictor(labels)
    if "sample/cfg_scale" in case.arrays:
        channels = min(3, objective.shape[-1])
        predict = diffusion.with_guidance(predict, float(case.input("sample/cfg_scale")), channels)
    x = start if len(start) == len(labels) else np.concatenate([start, start])
    noises = case.images("sample/noises")
    steps = len(noises)
    kept = objective.schedule.respaced(diffusion.spaced(objective.config.steps, [steps]))
    path = [case.laid_out(step) for step in diffusion.walk(kept, predict, x, noises)]
    found = {"ddpm_timesteps": kept.told, "ddpm_respaced_betas": kept.betas}
    found |= {"ddpm_trajectory": np.stack(path), "ddpm_final": path[-1]}
    for name in case.arrays:
        if match := re.fullmatch(r"sample/ddim(\d+)_timesteps", name):
            found[f"ddim{match[1]}_timesteps"] = np.array(diffusion.spaced(1000, f"ddim{match[1]}"))
    strided = objective.schedule.respaced(diffusion.spaced(objective.config.steps, f"ddim{steps}"))
    path = [case.laid_out(step) for step in diffusion.walk(strided, predict, x, noises, eta=0.0)]
    found |= {"ddim_trajectory": np.stack(path), "ddim_final": path[-1], "ddim_respaced_betas": strided.betas}
    return {f"sample/{name}": x for name, x in found.items()}


STARTS = ("start", "x1", "z1", "x_start", "noise")
TIMES = ("times", "timesteps", "sigmas", "t")


def flow_walks(case: Case, objective: Any) -> dict[str, np.ndarray]:
    """Euler's way along a flow: parts `euler/`, `flow_sample/` and the like, or names that begin with `flow/euler_`,
    with a start, classes, and the end or every step."""
    found: dict[str, np.ndarray] = {}
    for part in sorted({name.rpartition("/")[0] + "/" for name in case.arrays if "grad" not in name}):
        for before in (part, f"{part}euler_", f"{part}sample_"):
            names = {name.removeprefix(before) for name in case.arrays if name.startswith(before)}
            starts = [name for name in STARTS if name in names]
            if starts and "y" in names and not names & {"noises", "x0", "eps", "x_t"}:
                found |= {f"{before}{name}": x for name, x in _along(case, objective, before, starts[0], names).items()}
        if f"{part}shift" in case.arrays and f"{part}t" in case.arrays:
            moved = diffusion.shifted(case.input(f"{part}t"), float(case.input(f"{part}shift")))
            found |= {f"{part}t_shifted": moved, f"{part}shifted_t": moved}
    return found


def _along(case: Case, objective: Any, before: str, start: str, names: set[str]) -> dict[str, np.ndarray]:
    """One walk, by its names behind `before`."""
    shift = float(case.input(f"{before}shift")) if "shift" in names else 1.0
    recorded = next((case.arrays[before + name] for name in TIMES if name in names), None)
    steps = 1 if recorded is None else len(recorded) - 1
    if "trajectory" in names:
        steps = len(case.arrays[f"{before}trajectory"])
    at = diffusion.times(steps, shift)
    predict, scales = objective.predictor(case.input(f"{before}y")), names & {"cfg_scale", "scale"}
    x = case.images(before + start)
    if scales:
        predict = diffusion.with_guidance(predict, float(case.input(before + scales.pop())), objective.shape[-1])
        x = x if len(x) == len(case.arrays[f"{before}y"]) else np.concatenate([x, x])
    path = [case.laid_out(step) for step in diffusion.euler(predict, x, at)]
    whole = at if recorded is None or len(recorded) > steps else at[:-1]
    found = dict.fromkeys(TIMES, whole) | {"trajectory": np.stack(path)}
    return found | dict.fromkeys(("final", "sample", "output", "end"), path[-1])
