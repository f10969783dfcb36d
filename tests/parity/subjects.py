"""Everything that the parity table must have a row for, and how to call it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol, final

from driftproof._capabilities import ANY, Capabilities
from driftproof.theory.laws import ElementwiseLaw
from driftproof.validation.inventory import kernels


class Subject(Protocol):
    """A public function with its kernel."""

    @property
    def kernel(self) -> Callable[..., Any]: ...

    @property
    def capabilities(self) -> Capabilities: ...

    def __call__(self, **arguments: Any) -> Any: ...


def subjects() -> Mapping[str, Subject]:
    """Public functions of theory and numerics and the kernels of every elementwise law, by name."""
    found: dict[str, Subject] = dict(kernels())
    for law in ElementwiseLaw.__subclasses__():
        home = law.__module__.removeprefix("driftproof.")
        home = "theory.laws" if home.startswith("theory.laws.") else home
        if home.startswith("theory."):
            for method in METHODS:
                if method == "score" and on_integers(law):
                    continue
                if method in TAILS and "log_tails" not in vars(law):
                    continue
                found[f"{home}.{law.__name__}.{method}"] = LawMethod.of(law, method)
    return found


def on_integers(law: type[ElementwiseLaw]) -> bool:
    """Whether a law has no score."""
    return law.score_function.__annotations__["return"] == "NoReturn"


TAILS = ("log_cdf", "log_sf")
METHODS = ("log_prob", "score", "mean", "variance", *TAILS)


@final
@dataclass(frozen=True)
class LawMethod:
    """A method of an elementwise law as a function of the point and the parameters."""

    law: type[ElementwiseLaw]
    method: str
    capabilities: Capabilities

    @classmethod
    def of(cls, law: type[ElementwiseLaw], method: str) -> LawMethod:
        """A score follows the caller; densities, tails and moments stay float32; a count is an integer."""
        names = tuple(field.name for field in fields(law))  # type: ignore[arg-type]
        discrete = method == "log_prob" and on_integers(law)
        wide = method != "score"
        return cls(
            law, method, Capabilities(ANY, kernel=True, differentiates=names if discrete else None, wide=wide)
        )

    def __call__(self, x: Any = None, **parameters: Any) -> Any:
        law = self.law(**parameters)
        return (
            getattr(law, self.method)(x)
            if self.method in ("log_prob", "score", *TAILS)
            else getattr(law, self.method)
        )

    def kernel(self, xp: Any, x: Any = None, **parameters: Any) -> Any:
        match self.method:
            case "log_prob":
                return self.law.log_density(xp, x, *parameters.values())
            case "score":
                return self.law.score_function(xp, x, *parameters.values())
            case "log_cdf":
                return self.law.log_tails(xp, x, *parameters.values())[0]
            case "log_sf":
                return self.law.log_tails(xp, x, *parameters.values())[1]
            case "mean":
                return self.law.moments(xp, *parameters.values())[0]
        return self.law.moments(xp, *parameters.values())[1]
