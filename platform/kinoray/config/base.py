"""The frozen base of every configuration class."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Immutable, typed settings of one part; unknown keys are errors.

    A subclass sits beside what it configures and has a ``build`` method that calls a plain constructor with flat
    keyword arguments, so that the part itself is usable without any configuration.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )
