"""The pipeline of torch and its recipe."""

import json
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from driftproof import UnmetHypothesis
from driftproof.backends.torch.csdm import CSDMPipeline, batched_fista, main
from driftproof.backends.torch.csdm.config import RECIPES
from driftproof.backends.torch.csdm.data import SketchData, drawdown, effective_sparsity, load
from driftproof.backends.torch.csdm.pipeline import DecoderConfig, PipelineConfig
from driftproof.backends.torch.kit.entry import SMOKE
from driftproof.backends.torch.kit.recipe import RecipeError
from driftproof.backends.torch.score_models.networks import NetworkRecipe
from driftproof.numerics.sensing import NotConverged, cosine_basis, gaussian_sketch, solve

SMALL = NetworkRecipe(width=8, depth=1)


def pipeline(m: int = 4, d: int = 8, basis: bool = False, **decoder) -> CSDMPipeline:
    sketch = torch.tensor(gaussian_sketch(m, d, 0), dtype=torch.float32)
    turn = torch.tensor(cosine_basis(d), dtype=torch.float32) if basis else None
    config = PipelineConfig(SMALL, 1.5, DecoderConfig(**decoder))
    return CSDMPipeline.untrained(sketch, torch.zeros(m), turn, config)


def test_batched_fista_is_the_solver_of_numerics() -> None:
    rng = np.random.default_rng(0)
    A, y = gaussian_sketch(8, 16, 1), rng.standard_normal((50, 8))
    ours = batched_fista(torch.tensor(A), torch.tensor(y), 0.2, tolerance=1e-9).x
    np.testing.assert_allclose(ours.numpy(), solve(A, y, 0.2, tolerance=1e-9).x, atol=1e-6)
    boxed = batched_fista(torch.tensor(A), torch.tensor(y), 0.2, low=0.0, high=0.3).x
    assert float(boxed.min()) >= 0.0 and float(boxed.max()) <= 0.3


@pytest.mark.slow
def test_compiled_steps_agree() -> None:
    rng = np.random.default_rng(0)
    A, y = (torch.tensor(v) for v in (gaussian_sketch(8, 16, 1), rng.standard_normal((50, 8))))
    lam = torch.linspace(0.1, 0.5, 50, dtype=torch.float64)
    for penalty in (0.2, 0.3, lam):
        eager = batched_fista(A, y, penalty, tolerance=1e-9)
        compiled = batched_fista(A, y, penalty, tolerance=1e-9, compile=True)
        torch.testing.assert_close(compiled.x, eager.x, atol=1e-6, rtol=0.0)


def test_a_call_is_repeatable_and_leaves_global_state_alone() -> None:
    pipe = pipeline()
    before = torch.random.get_rng_state()
    first = pipe(batch_size=3, num_inference_steps=20, generator=torch.Generator().manual_seed(1))
    again = pipe(batch_size=3, num_inference_steps=20, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first.samples, again.samples)
    assert first.samples.shape == (3, 8) and first.latents.shape == (3, 4)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_untrained_latents_are_standard_normal() -> None:
    """Mean and variance of 4000 x 4 latents within 6 standard errors (2e-9 each); steps are short beside them."""
    u = pipeline()(batch_size=4000, num_inference_steps=100, generator=0).latents
    assert abs(float(u.mean())) < 6.0 / math.sqrt(16_000)
    # Standard normal data: the sampler's own recursion adds h^2/(...) of order 0.03 h.
    assert abs(float(u.var()) - 1.0) < 6.0 * math.sqrt(2.0 / 16_000) + 2.4 / 100


@pytest.mark.parametrize("basis", [False, True])
def test_saved_and_loaded_is_the_same(tmp_path, basis: bool) -> None:
    pipe = pipeline(basis=basis, factor=0.3, refit=True)
    pipe.save_pretrained(tmp_path / "made")
    again = CSDMPipeline.from_pretrained(tmp_path / "made")
    assert again.config == pipe.config
    draws = [p(batch_size=2, num_inference_steps=15, generator=3).samples for p in (pipe, again)]
    assert torch.equal(*draws)
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == ["config.json", "model.safetensors"]
    json.loads((tmp_path / "made" / "config.json").read_text())  # and no Infinity in it
    with pytest.raises(FileNotFoundError):
        CSDMPipeline.from_pretrained(tmp_path)
    (tmp_path / "made" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="format"):
        CSDMPipeline.from_pretrained(tmp_path / "made")


def test_full_dimension_without_a_decoder() -> None:
    pipe = pipeline(m=8, factor=0.0)
    out = pipe(batch_size=3, num_inference_steps=10, generator=0)
    want = torch.linalg.solve(pipe.latents.sketch, pipe.latents.measurements(out.latents).T).T
    torch.testing.assert_close(out.samples, want)


def test_wrong_calls_are_refused_with_the_number() -> None:
    pipe = pipeline()
    with pytest.raises(TypeError, match="rng"):
        pipe()
    with pytest.raises(UnmetHypothesis, match="batch_size = 0"):
        pipe(batch_size=0, generator=0)
    with pytest.raises(UnmetHypothesis, match="at most 11540 steps"):
        pipe(num_inference_steps=20_000, generator=0)
    with pytest.raises(UnmetHypothesis, match="m = 4, d = 8"):
        pipeline(factor=0.0)
    with pytest.raises(UnmetHypothesis, match="low = 0"):
        pipeline(basis=True, low=0.0)
    with pytest.raises(UnmetHypothesis, match="factor = -1"):
        DecoderConfig(factor=-1.0)
    with pytest.raises(NotConverged, match="gap"):
        pipeline(factor=1e-4, max_iterations=2)(num_inference_steps=10, generator=0)


def test_stress_windows_fall_and_share_no_day() -> None:
    pytest.importorskip("arch")
    data = load(SketchData("stress", window=32))
    level = drawdown(data.train).min()
    assert (drawdown(data.held_out) >= level).all()
    assert data.dimension == 32 and data.side == 0 and data.block == 32
    whole = load(SketchData("stress", window=32, share=1.0))
    assert len(data.train) == pytest.approx(len(whole.train) / 3.0, abs=2.0)
    with pytest.raises(UnmetHypothesis, match="share = 0"):
        SketchData("stress", share=0.0)


def test_effective_sparsity() -> None:
    rows = np.array([[1.0, 1.0, 1.0, 1.0], [2.0, 0.0, 0.0, 0.0]])
    assert effective_sparsity(rows, 0.5) == 2  # two of four, one of one
    assert effective_sparsity(rows, 0.99) == 3


def test_recipes_are_checked() -> None:
    paths = RECIPES.packaged()
    assert [path.stem for path in paths] == ["digits", "stress"]
    for path in paths:
        for smoke in (False, True):
            recipe, tables = RECIPES.load(path, smoke)
            assert recipe.name == path.stem and "smoke" not in tables


def test_wrong_recipes(tmp_path) -> None:
    text = RECIPES.packaged()[0].read_text()
    wrong = {
        'name = "digits"\nheld': (
            'name = "faces"\nheld',
            r"data\.name: expected one of 'stress' or 'digits'",
        ),
        'kind = "mlp"': ('kind = "conv"', "measurements are no images"),
        'basis = "none"': ('basis = "cosine"', "basis is none beside bounds"),
        "energies = [0.9, 0.95, 0.99]": ("energies = [1.0]", r"energies\.0: expected < 1"),
        "seeds = [0]": ("seeds = []", "seeds: expected >= 1 items"),
        "dimensions = [24, 32, 40, 48, 56]": ("dimensions = [0]", r"dimensions\.0: expected > 0"),
    }
    for old, (new, match) in wrong.items():
        assert old in text
        (tmp_path / "wrong.toml").write_text(text.replace(old, new))
        with pytest.raises(RecipeError, match=match):
            RECIPES.load(tmp_path / "wrong.toml", False)


@pytest.mark.slow
def test_smoke_run_writes_a_report(tmp_path) -> None:
    main(RECIPES.packaged()[0], True, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["paper"] == "csdm" and report["summary"] == SMOKE
    labels = [row[0] for row in report["tables"][0]["rows"]]
    assert labels == ["training rows", "m = 32", "full dimension, decoded", "full dimension"]
    assert all(figure["svg"].startswith("<svg") for figure in report["figures"])
    main(RECIPES.packaged()[0], True, tmp_path)  # from its checkpoints: the same numbers
    again = json.loads((tmp_path / "report.json").read_text())
    assert again["tables"] == report["tables"]


def test_the_benchmark_compares_equal_gaps() -> None:
    from driftproof.validation.benchmarks import fista

    A, y, lam = fista._problems(16, 32, 3, 30)
    theirs = fista._lasso(A, y, lam)()
    ours = batched_fista(torch.tensor(A), torch.tensor(y), lam, tolerance=fista.TOLERANCE).x
    assert theirs.dtype == np.float32
    # Stopped in float32, measured in float64: a few roundings above the goal at most.
    goal = fista.TOLERANCE + 1e-6
    assert fista._gaps(theirs, A, y, lam).max() <= goal
    assert fista._gaps(ours.numpy(), A, y, lam).max() <= goal


def test_rows_of_zeros_need_no_coefficient() -> None:
    assert effective_sparsity(np.zeros((2, 3)), 0.9) == 0
    assert effective_sparsity(np.array([[0.0, 0.0], [1.0, 0.0]]), 0.9) == 1
    for rows, energy in ((np.zeros((0, 3)), 0.9), (np.eye(3), 1.0)):
        with pytest.raises(UnmetHypothesis, match="energy"):
            effective_sparsity(rows, energy)


@pytest.mark.parametrize(
    "wrong", [{"held_out": 0.0}, {"held_out": math.nan}, {"window": 600}, {"share": 0.0}]
)
def test_data_that_cannot_be_split(wrong: dict[str, float]) -> None:
    with pytest.raises(UnmetHypothesis, match=next(iter(wrong))):
        SketchData("stress", **wrong)


def test_a_pipeline_is_called_as_those_of_diffusers() -> None:
    pipe, seen = pipeline(), []
    given = {"batch_size": 3, "num_inference_steps": 8, "generator": 0}
    plain = pipe(**given)
    samples, latents = pipe(**given, return_dict=False, output_type="np")
    np.testing.assert_array_equal(samples, plain.samples.numpy())
    assert torch.equal(latents, plain.latents)
    assert torch.equal(pipe(**given, output_type="latent").samples, plain.latents)

    def watch(made, i, time, tensors):
        seen.append((i, time, tensors["latents"].shape))
        return {} if i < 7 else {"latents": 0.0 * tensors["latents"]}

    ended = pipe(**given, callback_on_step_end=watch)
    assert [entry[0] for entry in seen] == list(range(8)) and seen[0][1] == pipe.config.horizon
    assert not ended.latents.any()
    assert torch.equal(pipe(**given, callback_on_step_end=lambda *_: None).latents, plain.latents)
    start = torch.zeros(3, 4)
    begun = [pipe(**given, latents=start).latents for _ in range(2)]
    assert torch.equal(*begun) and not torch.equal(begun[0], plain.latents)
    with pytest.raises(UnmetHypothesis, match=r"latents have shape \(3, 4\)"):
        pipe(**given, latents=start[:2])
    with pytest.raises(UnmetHypothesis, match="output_type = 'pil'"):
        pipe(**given, output_type="pil")


def test_a_pipeline_is_cast_in_place() -> None:
    pipe = pipeline(basis=True)
    assert pipe.to(torch.float64) is pipe
    assert (pipe.dtype, pipe.device.type) == (torch.float64, "cpu")
    assert pipe(num_inference_steps=5, generator=0).samples.dtype == torch.float64
    assert pipe.to("cpu", torch.float32)(num_inference_steps=5, generator=0).samples.dtype == torch.float32
    with pytest.raises(UnmetHypothesis, match=r"dtype = torch\.bfloat16"):
        pipe.to(torch.bfloat16)


@pytest.mark.parametrize("bounds", [(-math.inf, math.inf), (0.0, math.inf), (-0.1, 0.2)])
@pytest.mark.parametrize("each", [False, True])
def test_blocks_take_the_steps_of_the_whole_batch(
    bounds: tuple[float, float], each: bool, monkeypatch
) -> None:
    from array_api_compat import torch as xp

    from driftproof.backends.torch.csdm import fista
    from driftproof.numerics.sensing.fista import advance

    monkeypatch.setattr(fista, "_CACHED", 40)  # several blocks, the last one smaller
    made = torch.Generator().manual_seed(0)
    A, y, x = (
        torch.randn(*shape, dtype=torch.float64, generator=made) for shape in ((6, 10), (11, 6), (11, 10))
    )
    lam = 0.1 + torch.rand(11, 1, dtype=torch.float64, generator=made) if each else 0.3
    given = (x, x, torch.ones(11, 1, dtype=torch.float64), A, y, lam, 0.03, *bounds)
    for restart in (False, True):
        for got, want in zip(
            fista._eager(xp, *given, restart, 25), advance(xp, *given, restart, 25), strict=True
        ):
            torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)
