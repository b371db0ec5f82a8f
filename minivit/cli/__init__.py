"""Shared by the commands: one-line errors, one style of parser, finding a trained run and its data."""

from minivit.cli.door import OUT_OF_MEMORY, run_command
from minivit.cli.parser import (
    Parser,
    add_file_options,
    called,
    entered_by,
    field,
    numbers,
    part,
    path,
    positive,
    size,
)
from minivit.cli.progress import download_bar, load_tqdm, progress_bar
from minivit.cli.sources import (
    check_classes,
    find_weights,
    load_data,
    load_data_of_run,
    load_labelled_data,
    load_model,
    report_left_out,
    report_skipped,
    resolve_backend,
    say_if_blank,
)

__all__ = [
    "OUT_OF_MEMORY", "Parser", "add_file_options", "called", "check_classes", "download_bar", "entered_by", "field",
    "find_weights", "load_data", "load_data_of_run", "load_labelled_data", "load_model", "load_tqdm", "numbers",
    "part", "path", "positive", "progress_bar", "report_left_out", "report_skipped", "resolve_backend",
    "run_command", "say_if_blank", "size",
]  # fmt: skip
