"""Measure speed and memory: `python -m minivit.bench`.

By default it measures a training step and inference of the named workloads, each in its own process. Peers (PyTorch,
JAX, HIPS autograd) run beside it and take turns with ours step by step, since the speed of a shared machine changes by
the minute. The result is the ratio of neighbouring steps, its quartiles the spread.
"""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minivit import cli
from minivit.backend import get_namespace
from minivit.backend.cores import available_cores
from minivit.backend.rates import copy_rate, device_matmul_rate, matmul_rate
from minivit.backend.workers import Workers
from minivit.bench import data_report, overhead, scale_report, scaling, workload
from minivit.bench.compare import Contestant, Timing, interleave, ratio
from minivit.bench.engines import ENGINES
from minivit.bench.gpu_engines import GPU_ENGINES
from minivit.bench.profile import OpTime, profile
from minivit.bench.workload import Workload
from minivit.errors import ConfigError
from minivit.models import ViTConfig
from minivit.plots import roofline

# Our own engine otherwise, to be named in --against.
VARIANTS: dict[str, dict[str, Any]] = {
    "recompute": {"recompute": True},
    "reference": {"kernels": "reference"},
    "one-worker": {"workers": 1},
}

GPU_VARIANTS: dict[str, dict[str, Any]] = {"recompute": {"recompute": True}, "no-graph": {"graph": False}}

RIVALS = {
    "numpy": [*[name for name in ENGINES if name != "minivit"], *VARIANTS],
    "cupy": [*[name for name in GPU_ENGINES if name != "minivit"], *GPU_VARIANTS],
}

EXAMPLES = """examples:
  python -m minivit.bench cifar-ti --against torch,torch-compile,jax,autograd
  python -m minivit.bench cifar-ti --training --against recompute,reference,one-worker
  python -m minivit.bench --model S/16 --image-size 224 --batch 16
  python -m minivit.bench cifar-s6 --profile --roofline roofline.png
  python -m minivit.bench cifar-s6 --scaling
  python -m minivit.bench --data --overhead
  python -m minivit.bench --ranks 1,2
  python -m minivit.bench --network hdr,ndr --gpu-tflops 300
  python -m minivit.bench --data --model B/16 --feeds 300tflops
  python -m minivit.bench --backend cupy --precision bf16 --model B/16 --batch 256 --training --against torch
"""


def parser() -> cli.Parser:
    """The options."""
    p = cli.Parser("bench", "[WORKLOAD ...] [options]", description=__doc__, epilog=EXAMPLES)
    p.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"{', '.join(workload.WORKLOADS)} (default: first)")
    add = p.add_argument_group("what to time").add_argument
    add("--model", metavar="NAME", help="variant and patch size, such as Ti/4 or B/16, instead of a workload")
    add("--image-size", type=cli.positive, metavar="N", help="pixels, with --model (default: 224)")
    add("--batch", type=cli.positive, metavar="N", help="images per step (default: the workload's; 16 with --model)")
    add("--training", action="store_true", help="training steps only")
    add("--inference", action="store_true", help="inference only")
    add(
        "--against",
        metavar="ENGINES",
        default="",
        help=f"one or more of: {', '.join(RIVALS['numpy'])}; on a GPU: {', '.join(RIVALS['cupy'])}",
    )
    add("--rounds", type=cli.positive, default=9, metavar="N", help="turns of every engine (default: 9)")
    add("--backend", choices=("numpy", "cupy"), default="numpy", help="cupy: everything on the GPU (default: numpy)")
    add(
        "--precision",
        choices=("float32", "tf32", "bf16"),
        default="float32",
        help="of products, on the GPU, everywhere",
    )
    add = p.add_argument_group("options of our engine").add_argument
    add("--workers", type=cli.positive, metavar="N", help="threads (default: suited to cores and batch)")
    add(
        "--accumulate",
        type=cli.positive,
        metavar="N",
        help="pieces of each worker's share (default: 2,048 tokens each)",
    )
    add("--recompute", action="store_true", help="compute blocks again in the backward pass: less memory")
    add("--kernels", choices=("fused", "reference"), default="fused", help="reference: readable ops only")
    add = p.add_argument_group("other measurements (instead)").add_argument
    add("--profile", action="store_true", help="time of each op of a training step, forward and backward")
    add("--roofline", type=Path, metavar="FILE", help="the same as a picture, under what the machine can do")
    add("--scaling", action="store_true", help="time and memory over batch, depth, width, tokens, workers")
    data_report.add_options(add)
    add("--overhead", action="store_true", help="of the engine per op; import time")
    scale_report.add_options(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    options = engine_options(args)
    loads = choose(args.workloads, args.model, args.image_size, args.batch)
    rivals = [name for name in args.against.split(",") if name]
    for name in rivals:
        if name not in RIVALS[args.backend]:
            raise ConfigError(f'--against: unknown engine "{name}"; expected one of {", ".join(RIVALS[args.backend])}')
    if args.data or args.feeds:
        data_report.check(args.feeds, args.data, args.model)
    if args.profile or args.roofline:
        check_profile(args.recompute, args.roofline, len(loads))
    for load in loads:
        if args.profile or args.roofline:
            report_profile(load, args.roofline, options)
        if args.scaling:
            report_scaling(load, args.rounds, options)
    for line in scale_report.lines(args, loads, options):
        print(line, flush=True)
    if args.data:
        for line in data_report.lines(args.feeds, loads[0] if args.model else None):
            print(line, flush=True)
    if args.overhead:
        report_overhead()
    if args.profile or args.roofline or args.scaling or args.data or args.overhead or scale_report.asked(args):
        return 0
    for load in loads:
        for training in (True, False):
            if (args.training if training else args.inference) or args.training == args.inference:
                report_speed(load, training, rivals, options, args.rounds, args.backend)
    return 0


def engine_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of our engine. Raises ConfigError for options that the backend lacks, BackendError without a GPU."""
    if args.backend == "numpy":
        if args.precision != "float32":
            raise ConfigError("--precision needs --backend cupy; NumPy's products are float32")
        return {name: getattr(args, name) for name in ("workers", "accumulate", "recompute", "kernels")}
    get_namespace("cupy")
    only_cpu = ("profile", "roofline", "scaling", "data", "overhead", "workers", "ranks")
    if given := [name for name in only_cpu if getattr(args, name)]:
        raise ConfigError(f"--{given[0]} measures NumPy: give it without --backend cupy")
    if args.kernels != "fused":
        raise ConfigError("--kernels reference is not timed on a GPU: see the images/s of minivit.train with it")
    return {name: getattr(args, name) for name in ("accumulate", "recompute", "precision")}


def choose(names: Sequence[str], model: str | None, image_size: int | None, batch: int | None) -> list[Workload]:
    """The workloads that the options ask for."""
    if model is None:
        if image_size:
            raise ConfigError("--image-size needs --model; the named workloads have their own")
        loads = [workload.find(name) for name in names or list(workload.WORKLOADS)[:1]]
    elif names:
        raise ConfigError("give workloads by name or --model, not both")
    else:
        config = ViTConfig.variant(model, **({"image_size": image_size} if image_size else {}))
        if config.stem is not None:
            raise ConfigError(f"--model {model}: hybrids cannot be measured, because their rivals have no ResNet stem")
        loads = [Workload(model, config, 16)]
    return [dataclasses.replace(load, batch=batch) if batch else load for load in loads]


def check_profile(recompute: bool, picture: Path | None, loads: int) -> None:
    """Raise ConfigError before any measurement for a request that cannot be met."""
    if recompute:
        raise ConfigError("--profile measures an ordinary step: leave out --recompute")
    if picture and (loads > 1 or picture.suffix.lower() != ".png" or not picture.resolve().parent.is_dir()):
        raise ConfigError(f"--roofline {picture}: expected one workload, and a .png file in a folder that exists")


def report_speed(
    load: Workload, training: bool, rivals: Sequence[str], options: Mapping[str, Any], rounds: int, backend: str
) -> None:
    """Time, rate, memory, and the ratio to every rival."""
    variants = GPU_VARIANTS if backend == "cupy" else VARIANTS
    theirs = {"precision": options["precision"]} if backend == "cupy" else {}
    contestants = {"minivit": Contestant("minivit", load, training, options, backend)}
    for name in rivals:
        engine = "minivit" if name in variants else name
        how = {**options, **variants[name]} if name in variants else theirs
        contestants[name] = Contestant(engine, load, training, how, backend)
    rate = best_rate(backend, options)
    timings = interleave(contestants, rounds)
    rate = max(rate, best_rate(backend, options))
    work = load.gflop(training)
    what = "training step" if training else "inference"
    print(
        f"\n{load.name} {what}: batch {load.batch}, {load.model.num_tokens} tokens, {work:.0f} GFLOP in matrix "
        f"products; {machine(backend, options)}, {rate:.0f} GFLOP/s at best"
    )
    print(f"{'':14}{'ms':>9}{'images/s':>10}{'GFLOP/s':>9}{'of best':>9}{'peak MB':>9}   minivit's time / its time")
    for name, timing in timings.items():
        ours = contestants[name].engine == "minivit"  # leaves out what the head does not see
        done = load.gflop(training, class_row_only=ours)
        print(_speed_row(name, load, done, rate, timing) + _ratio_text(timings["minivit"], timing), flush=True)


def best_rate(backend: str, options: Mapping[str, Any]) -> float:
    """GFLOP/s of a large matrix product."""
    return device_matmul_rate(get_namespace("cupy"), options["precision"]) if backend == "cupy" else matmul_rate()


def machine(backend: str, options: Mapping[str, Any]) -> str:
    """The machine used for the measurement."""
    if backend == "numpy":
        return f"{available_cores()} cores"
    runtime = get_namespace("cupy").cuda.runtime
    properties = runtime.getDeviceProperties(runtime.getDevice())
    return f"{properties['name'].decode()}, {options['precision']}"


def _speed_row(name: str, load: Workload, work: float, rate: float, t: Timing) -> str:
    speed = work / t.median
    times = f"{name:14}{1e3 * t.median:9.1f}{load.batch / t.median:10.1f}"
    return f"{times}{speed:9.0f}{speed / rate:9.0%}{t.peak_memory:9.0f}"


def _ratio_text(ours: Timing, theirs: Timing) -> str:
    if ours is theirs:
        return ""
    median, low, high = ratio(ours, theirs)
    return f"   {median:.2f}  (half of {len(ours.seconds)} rounds in {low:.2f} .. {high:.2f})"


def report_profile(load: Workload, picture: Path | None, options: Mapping[str, Any]) -> None:
    """Time of each op, and a picture of their rates."""
    ops, seconds = profile(load, **options)
    peak = matmul_rate()
    with Workers(options["workers"] or available_cores()) as workers:
        bandwidth = copy_rate(workers)
    print(f"\n{load.name} training step: {1e3 * seconds:.0f} ms; {peak:.0f} GFLOP/s and {bandwidth:.0f} GB/s at best")
    print(f"{'op':16}{'calls':>7}{'forward ms':>12}{'backward ms':>13}{'share':>7}{'GFLOP/s':>9}{'GB/s':>7}")
    rest = seconds
    for name, op in ops.items():
        time = op.forward + op.backward
        rest -= time
        if time > 0.002 * seconds:
            print(
                f"{name:16}{op.calls:7.0f}{1e3 * op.forward:12.1f}{1e3 * op.backward:13.1f}{time / seconds:7.1%}"
                f"{op.flop / time / 1e9:9.0f}{op.bytes / time / 1e9:7.0f}"
            )
    print(f"{'optimiser, rest':16}{'':7}{1e3 * rest:25.1f}{rest / seconds:7.1%}")
    if picture:
        roofline(_points(ops), peak, bandwidth, f"{load.name}, training step, batch {load.batch}", picture)
        print(f"wrote {picture}")


def _points(ops: Mapping[str, OpTime]) -> dict[str, tuple[float, float, float]]:
    """Of the ops that compute: FLOP per byte, GFLOP/s, and seconds."""
    return {
        name: (op.flop / op.bytes, op.flop / (op.forward + op.backward) / 1e9, op.forward + op.backward)
        for name, op in ops.items()
        if op.flop
    }


def report_scaling(base: Workload, rounds: int, options: Mapping[str, Any]) -> None:
    """Tables of time and memory over size."""
    for sweep in scaling.sweeps(base, rounds, options):
        print(f"\n{base.name} training step, batch {base.batch} unless varied")
        print(f"{sweep.what:>8}{'ms':>10}{'peak MB':>9}   growth of work and of time since the row above")
        for value, timing, work, time in sweep.rows():
            growth = "" if timing is next(iter(sweep.results.values())) else f"   {work:6.2f} {time:6.2f}"
            print(f"{value:8}{1e3 * timing.median:10.1f}{timing.peak_memory:9.0f}{growth}", flush=True)


def report_overhead() -> None:
    """The engine's own overhead."""
    print("per op on 4 numbers, forward and backward: with the engine, the op alone, difference (us)")
    for name, (engine, alone) in overhead.op_overhead().items():
        print(f"  {name:10}{engine:8.2f}{alone:8.2f}{engine - alone:8.2f}")
    for statement, seconds in overhead.import_time().items():
        print(f"{statement}: {seconds:.3f} s")


if __name__ == "__main__":
    cli.run_command(main)
