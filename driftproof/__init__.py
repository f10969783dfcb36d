"""driftproof: theorems about diffusion, distillation and alignment, checked; the same code on your GPU.

``theory`` says what is true, ``numerics`` how it is computed, ``backends`` where it runs and
``validation`` whether it holds.  Importing this package, ``theory`` or ``numerics`` never imports
torch.
"""

from pathlib import Path as _Path

from ._gradients import check_gradients
from ._logging import set_verbosity
from ._namespace import UnmetHypothesis
from ._tracing import check_values

__all__ = ["UnmetHypothesis", "__version__", "check_gradients", "check_values", "set_verbosity"]
__version__ = "0.1.0"

if not (_Path(__file__).parent / "theory").is_dir():  # a checkout without symbolic links
    __path__.append(str(_Path(__file__).resolve().parent.parent))
