"""What went wrong, in one line that a person can act on."""


class CrossRecError(Exception):
    """A problem that the caller can mend: where, what was seen, what was expected, the next step.

    The doors (jobs and the command line) print ``str(error)`` as one line and exit with status 1.
    """


class ConfigError(CrossRecError):
    """The settings are wrong; the message lists every problem, one a line."""


class InputError(CrossRecError):
    """A log or catalogue cannot be used as the settings say."""


class LakeError(CrossRecError):
    """A table of the lake is missing, of another version or does not fit its declaration."""


class CheckpointError(CrossRecError):
    """A checkpoint is missing, broken or made for other ids."""
