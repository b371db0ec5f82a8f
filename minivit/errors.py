"""Errors whose message is one line meant for a person; the commands print that line and exit with status 2."""


class MinivitError(Exception):
    """Something outside the program is wrong (a file, an option, a device), and the message says what to do."""


class BackendError(MinivitError):
    """The requested array library or device cannot be used."""


class DataError(MinivitError):
    """A data set, archive or image is missing, damaged or of the wrong kind."""


class ConfigError(MinivitError, ValueError):
    """Options that do not fit together, such as a patch size that does not divide the image."""


class CheckpointError(MinivitError):
    """A checkpoint or run folder is missing, damaged or belongs to another model."""


class NonFiniteError(MinivitError):
    """Training met a value that is NaN or infinite."""
