"""Every error that Kinoray raises on purpose.

KinorayError
├── ConfigError       a recipe, a site or a command line says something that cannot be
├── DataError         a manifest, a label map or too many of its videos are unusable
│   └── DecodeError   one video cannot be read
├── CheckpointError   a checkpoint is missing, damaged or belongs to another model
├── ResourceError     the machine, the cluster or a server lacks what the work needs
│   └── HungWorkerError  a worker does not come to an exchange that the others wait in
├── DivergenceError   the loss is no longer a number
└── UserCodeError     a callback or a metric of the user's failed

A message reads ``where: what, got value; what would be right  [who set it]``. Jobs print it without a traceback.
"""


class KinorayError(Exception):
    """Base of all errors that name something a user can mend.

    Attributes:
        at_work: work had begun when it was raised; before that, the input was wrong.
    """

    at_work = False


class ConfigError(KinorayError):
    """A recipe, a site or a command line says something that cannot be."""


class DataError(KinorayError):
    """A manifest, a label map, or too many of its videos are unusable."""


class DecodeError(DataError):
    """One video cannot be read.

    Attributes:
        reason: a short word for tables and counters: ``missing``, ``denied``, ``empty``, ``unreadable``,
            ``unavailable`` (the store does not give it now), ``no_video``, ``damaged``, ``slow`` (over its time),
            ``index`` (its packet index is of another file).
    """

    def __init__(self, message: str, reason: str = "damaged") -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["DecodeError"], tuple[str, str]]:
        return type(self), (str(self), self.reason)


class CheckpointError(KinorayError):
    """A checkpoint is missing, damaged, or belongs to another model."""


class ResourceError(KinorayError):
    """The machine, the cluster or a server lacks what the work needs."""


class HungWorkerError(ResourceError):
    """A worker does not come to an exchange that the others wait in. Another try may go well."""

    at_work = True


class DivergenceError(KinorayError):
    """The loss is no longer a number.

    Attributes:
        step: optimizer steps done before the one that has no loss.
        videos: ids of its global batch; the first worker alone knows them.
    """

    at_work = True

    def __init__(self, message: str, step: int = 0, videos: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.step, self.videos = step, videos

    def __reduce__(self) -> tuple[type["DivergenceError"], tuple[str, int, tuple[str, ...]]]:
        return type(self), (str(self), self.step, self.videos)


class UserCodeError(KinorayError):
    """A callback or a metric of the user's failed; the first line names it, the rest are its frames."""

    at_work = True
