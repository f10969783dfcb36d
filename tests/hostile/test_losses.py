"""Losses that do anything: none of them is called right, and none of them changes the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import pytest

from driftproof.validation import audit
from driftproof.validation.audits.planted_losses import drawn, tally
from tests.hostile.conftest import Attack

torch = pytest.importorskip("torch")


def kl(a: Any, b: Any) -> Any:
    return (a.exp() * (a - b)).sum()


def right(student_logits: Any, teacher_logits: Any) -> Any:
    return kl(student_logits.log_softmax(-1), teacher_logits.log_softmax(-1))


def overwritten(student_logits: Any, teacher_logits: Any) -> Any:
    """Writes into what it is given: its second call must not see that."""
    out = right(student_logits, teacher_logits)
    teacher_logits.zero_()
    return out


def seeded(student_logits: Any, teacher_logits: Any) -> Any:
    torch.manual_seed(0)
    return right(student_logits, teacher_logits) * (1.0 + 0.3 * torch.rand(()))


ODD: dict[str, Callable[..., Any]] = {
    "nothing": lambda z, t: None,
    "a number": lambda z, t: 3.0,
    "an integer tensor": lambda z, t: torch.tensor(3),
    "no graph": lambda z, t: right(z, t).detach(),
    "nan": lambda z, t: right(z, t) * float("nan"),
    "infinite": lambda z, t: right(z, t) / 0.0,
    "an overflow": lambda z, t: (right(z, t) * 1e4).exp(),
    "an empty tensor": lambda z, t: z[..., :0],
    "a complex number": lambda z, t: right(z, t) * 1j,
    "an exception": lambda z, t: [].pop(),
    "seeds the process": seeded,
    "the square": lambda z, t: right(z, t) ** 2,
    "a quantised gradient": lambda z, t: right((z * 8).round() / 8 + (z - z.detach()), t),
    "rounded inside": lambda z, t: right(z.half().float(), t) + right(z, t).half().float() * 1e-2,
    "a hook that doubles": lambda z, t: right(_hooked(z), t),
    "right for five tokens": lambda z, t: right(z, t) * (1.0 if z.shape[-1] == 5 else 2.0),
    "right for one sequence": lambda z, t: right(z, t) * (1.0 if z.shape[0] == 1 else 2.0),
    "right where it is not confident": lambda z, t: kl(z.log_softmax(-1).clamp(min=-7.0), t.log_softmax(-1)),
}


def _hooked(z: Any) -> Any:
    out = z * 1.0
    out.register_hook(lambda gradient: 2.0 * gradient)
    return out


QUICK = ("nothing", "a number", "no graph", "nan", "an exception", "right for five tokens")


def misbehaving(attack: Attack, names: Sequence[str]) -> None:
    faults = []
    for name in names:
        loss = ODD[name]
        try:
            row = audit(loss, form="logits", documented="reverse_kl")
            if row.agrees is not False:
                faults.append(f"{name}: {row.agrees}, {row.verdict}")
        except (ValueError, TypeError, IndexError, RuntimeError):
            pass  # its own error, or a hypothesis that fails
    attack("losses that are not the documented one", len(names), faults)


def test_no_odd_loss_is_called_right(attack: Attack) -> None:
    misbehaving(attack, QUICK)


@pytest.mark.hostile
def test_none_of_the_odd_losses_is_called_right(attack: Attack) -> None:
    misbehaving(attack, tuple(ODD))


def test_a_loss_that_overwrites_its_arguments_is_judged_as_it_is(attack: Attack) -> None:
    row = audit(overwritten, documented="reverse_kl")
    attack("losses that write into their arguments", 1, [] if row.agrees else [row.verdict])


@pytest.mark.hostile
def test_audits_of_losses_in_threads(attack: Attack) -> None:
    """Beside a thread that draws: rows are the same, and so are its numbers."""

    def noisy(student_logits: Any, teacher_logits: Any) -> Any:
        return right(student_logits, teacher_logits) * (1.0 + 0.02 * torch.randn(()))

    losses = [right, noisy, lambda logp, teacher_logp: 0.5 * (logp - teacher_logp) ** 2]
    alone = [repr(asdict(audit(loss))) for loss in losses]
    faults: list[str] = []
    draws, over = [0], threading.Event()
    torch.manual_seed(5)
    expected = torch.randn(200_000).sum().item()

    def draw() -> None:
        while not over.wait(1e-3):
            draws[0] += 1
            torch.manual_seed(5)
            if torch.randn(200_000).sum().item() != expected:
                faults.append("other numbers were drawn")

    other = threading.Thread(target=draw)
    other.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            work = [i for _ in range(4) for i in range(len(losses))]
            for i, row in zip(work, pool.map(lambda i: repr(asdict(audit(losses[i]))), work), strict=True):
                if row != alone[i]:
                    faults.append(f"another row in a thread: {row[:300]}")
    finally:
        over.set()
        other.join()
    attack("audits of losses in threads, and draws beside them", draws[0] + len(work), faults)


@pytest.mark.hostile
def test_planted_errors_of_many_seeds(attack: Attack) -> None:
    for seed in range(100, 110):
        found = tally(drawn(seed, each=1))
        attack(f"planted errors of seed {seed}", found.planted, found.missed)
        attack(f"right losses of seed {seed}", found.right, found.refused)
