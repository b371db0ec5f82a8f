"""Measure speed and memory: `python -m minivit.bench`.

Peers (PyTorch, JAX, HIPS autograd) run in processes of their own, their steps in turns with ours, since the speed of a
shared machine changes by the minute: the ratio of neighbouring steps is the result, its quartiles the spread.
"""

from collections.abc import Sequence

from minivit import cli
from minivit.bench import workload
from minivit.bench.compare import Timing, interleave, ratio
from minivit.bench.engines import ENGINES
from minivit.bench.workload import Workload
from minivit.doctor import matmul_rate
from minivit.errors import ConfigError


def parser() -> cli.Parser:
    p = cli.Parser("bench", "[WORKLOAD ...] [options]", description=__doc__)
    p.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(workload.WORKLOADS))
    p.add_argument(
        "--against",
        metavar="ENGINES",
        default="",
        help="torch, torch-compile, jax, autograd: one or several, with commas",
    )
    p.add_argument("--training", action="store_true", help="time training steps only")
    p.add_argument("--inference", action="store_true", help="time inference only")
    p.add_argument("--rounds", type=cli.positive, default=9, metavar="N")
    p.add_argument("--workers", type=cli.positive, metavar="N")
    p.add_argument("--accumulate", type=cli.positive, metavar="N")
    p.add_argument("--kernels", default="fused")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    engines = ["minivit", *[n for n in args.against.split(",") if n]]
    for name in engines:
        if name not in ENGINES:
            raise ConfigError(f'--against: unknown engine "{name}"')
    options = {
        k: v for k, v in dict(workers=args.workers, accumulate=args.accumulate, kernels=args.kernels).items() if v
    }
    for name in args.workloads or ["cifar-ti"]:
        load = workload.find(name)
        for training in [True] * (args.training or not args.inference) + [False] * (
            args.inference or not args.training
        ):
            report(load, training, interleave(engines, load, training, args.rounds, **options))
    return 0


def report(load: Workload, training: bool, timings: dict[str, Timing]) -> None:
    rate = matmul_rate()
    work = load.gflop(training)
    print(
        f"\n{load.name} {'training' if training else 'inference'}, batch {load.batch}, {work:.0f} GFLOP; matmul {rate:.0f} GFLOP/s"
    )
    ours = timings["minivit"]
    for name, t in timings.items():
        line = f"{name:<14} {t.median * 1e3:8.1f} ms {load.batch / t.median:9.1f} images/s {work / t.median:6.0f} GFLOP/s ({work / t.median / rate:.0%}) {t.peak_memory:8.0f} MB"
        if name != "minivit":
            line += "   ratio {:.2f} [{:.2f} .. {:.2f}]".format(*ratio(ours, t))
        print(line, flush=True)


if __name__ == "__main__":
    cli.run_command(main)
