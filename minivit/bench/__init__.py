"""Speed and memory, measured: `python -m minivit.bench --help`. No other part of minivit imports this one."""
