"""Solvers of sparse problems beside other people's, on numpy and torch, and on wrong input."""

import math
import pickle

import mpmath
import numpy as np
import pytest

from driftproof import UnmetHypothesis
from driftproof.numerics.sensing import (
    NotConverged,
    bpdn,
    cosine_basis,
    debias,
    duality_gap,
    gaussian_sketch,
    haar_basis,
    lipschitz,
    objective,
    omp,
    orthogonal_sketch,
    prox,
    rademacher_sketch,
    solve,
)

RNG = np.random.default_rng(0)
A = gaussian_sketch(20, 40, 0)
X = np.zeros((6, 40))
for row in X:
    row[RNG.choice(40, 4, replace=False)] = RNG.uniform(1.0, 3.0, 4) * RNG.choice([-1.0, 1.0], 4)
Y = X @ A.T + 0.05 * RNG.standard_normal((6, 20))
LAM = 0.15


def test_lasso_of_scikit_learn() -> None:
    from sklearn.linear_model import Lasso

    found = solve(A, Y, LAM, tolerance=1e-14, max_iterations=50_000).x
    for y, ours in zip(Y, found, strict=True):
        theirs = Lasso(alpha=LAM / 20, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(A, y).coef_
        np.testing.assert_allclose(ours, theirs, atol=1e-7)


def test_positive_lasso_of_scikit_learn() -> None:
    from sklearn.linear_model import Lasso

    found = solve(A, Y, LAM, low=0.0, tolerance=1e-14, max_iterations=50_000).x
    for y, ours in zip(Y, found, strict=True):
        model = Lasso(alpha=LAM / 20, fit_intercept=False, tol=1e-14, max_iter=100_000, positive=True)
        np.testing.assert_allclose(ours, model.fit(A, y).coef_, atol=1e-7)


def test_the_goal_is_that_of_scikit_learn() -> None:
    """At equal tolerance both stop within it: objectives differ by less than the common bound."""
    from sklearn.linear_model import Lasso

    for tolerance in (1e-2, 1e-4, 1e-6):
        ours = solve(A, Y, LAM, tolerance=tolerance)
        for y, x, gap in zip(Y, ours.x, ours.gap, strict=True):
            model = Lasso(alpha=LAM / 20, fit_intercept=False, tol=tolerance, max_iter=100_000).fit(A, y)
            goal = tolerance * float(y @ y)
            assert gap <= goal and float(duality_gap(model.coef_, A, y, LAM)) <= 1.01 * goal
            assert abs(float(objective(x, A, y, LAM) - objective(model.coef_, A, y, LAM))) <= goal


def test_orthogonal_matching_pursuit_of_scikit_learn() -> None:
    from sklearn.linear_model import orthogonal_mp

    for s in (1, 4, 9):
        theirs = orthogonal_mp(A / np.linalg.norm(A, axis=0), Y.T, n_nonzero_coefs=s).T
        np.testing.assert_allclose(omp(A, Y, s), theirs / np.linalg.norm(A, axis=0), atol=1e-9)


def test_box_by_scipy() -> None:
    from scipy.optimize import lsq_linear

    # With bounds [0, 1] the penalty is linear: |Ax - y|^2/2 + lam sum(x), least squares with a shifted target.
    square = gaussian_sketch(40, 30, 3)
    y = square @ RNG.uniform(-0.5, 1.5, 30)
    shift = LAM * np.linalg.lstsq(square.T, np.ones(30), rcond=None)[0]
    theirs = lsq_linear(square, y - shift, (0.0, 1.0), method="bvls", tol=1e-14).x
    ours = solve(square, y, LAM, low=0.0, high=1.0, tolerance=1e-14, max_iterations=50_000).x
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_cvxpy() -> None:
    import cvxpy

    x = cvxpy.Variable(40)
    cvxpy.Problem(cvxpy.Minimize(0.5 * cvxpy.sum_squares(A @ x - Y[0]) + LAM * cvxpy.norm1(x))).solve()
    np.testing.assert_allclose(solve(A, Y[0], LAM, tolerance=1e-12).x, x.value, atol=1e-9)


@pytest.mark.slow(ci=True)
def test_denoising_of_cvxpy() -> None:
    import cvxpy

    for y, radius in ((Y[0], 0.3), (Y[1], 1.5), (Y[2], 0.02)):
        x = cvxpy.Variable(40)
        ball = [cvxpy.norm2(A @ x - y) <= radius]
        least = cvxpy.Problem(cvxpy.Minimize(cvxpy.norm1(x)), ball).solve()
        found = bpdn(A, y, radius)
        np.testing.assert_allclose(found.x, x.value, atol=1e-5)
        assert found.residual == pytest.approx(radius, abs=1e-6)
        assert float(np.abs(found.x).sum()) == pytest.approx(least, rel=1e-6)
        assert abs(found.gap) < 1e-6 * least


@pytest.mark.parametrize(
    ("sketch", "y", "radius", "says"),
    [
        (A, Y[0], 0.0, "radius > 0"),
        (A, Y[0], -1.0, "radius > 0"),
        (A, Y[0], math.nan, "radius > 0"),
        (A, Y[0], 1e3, "radius < |y|"),
        (A, np.zeros(20), 1.0, "radius < |y|"),
        (A, Y[0], 1e-9, "can tell"),
        (A, Y, 0.1, "one signal"),
        (np.ones((2, 1)), np.array([1.0, 3.0]), 1.4, "distance"),  # the distance is the root of 2
    ],
)
def test_balls_without_an_answer(sketch, y, radius: float, says: str) -> None:
    with pytest.raises(UnmetHypothesis) as error:
        bpdn(sketch, y, radius)
    assert says in str(error.value)


def test_a_ball_that_just_touches_the_range() -> None:
    found = bpdn(np.ones((2, 1)), np.array([1.0, 3.0]), 1.5)
    assert found.x.item() == pytest.approx(2.0 - math.sqrt(0.125), abs=1e-9)  # 2 (x - 2)^2 + 2 = 2.25


def test_a_ball_that_almost_holds_zero() -> None:
    size = float(np.linalg.norm(Y[0]))
    found = bpdn(A, Y[0], size * (1.0 - 1e-9))
    assert np.count_nonzero(found.x) == 1 and np.abs(found.x).max() < 1e-8
    assert 0.0 < found.lam <= np.abs(A.T @ Y[0]).max()


@pytest.mark.slow(ci=True)
def test_denoising_is_the_same_on_torch() -> None:
    torch = pytest.importorskip("torch")
    found = bpdn(torch.tensor(A), torch.tensor(Y[0]), 0.3)
    assert found.x.dtype == torch.float64
    np.testing.assert_allclose(found.x.numpy(), bpdn(A, Y[0], 0.3).x, atol=1e-8)


def test_pylops() -> None:
    import pylops

    theirs = pylops.optimization.sparsity.fista(
        pylops.MatrixMult(A), Y[0], niter=20_000, eps=2.0 * LAM, tol=1e-14
    )[0]
    np.testing.assert_allclose(solve(A, Y[0], LAM, tolerance=1e-12).x, theirs, atol=1e-8)


def test_a_batch_is_its_rows() -> None:
    """Rows leave the batch when they are done: their answers do not depend on who else is in it."""
    lam = np.linspace(0.05, 0.6, 6)
    together = solve(A, Y, lam, tolerance=1e-9)
    for y, each, x, gap in zip(Y, lam, together.x, together.gap, strict=True):
        alone = solve(A, y, float(each), tolerance=1e-9)
        np.testing.assert_allclose(x, alone.x, atol=1e-4)
        assert gap <= 1e-9 * float(y @ y)
    stacked = solve(A, Y.reshape(2, 3, 20), lam.reshape(2, 3), tolerance=1e-9)
    np.testing.assert_array_equal(stacked.x.reshape(6, 40), together.x)
    assert stacked.gap.shape == (2, 3)


def test_torch_takes_the_same_path() -> None:
    torch = pytest.importorskip("torch")
    ours = solve(A, Y, LAM, low=0.0, high=2.0, tolerance=1e-9)
    theirs = solve(torch.tensor(A), torch.tensor(Y), LAM, low=0.0, high=2.0, tolerance=1e-9)
    assert theirs.steps == ours.steps
    np.testing.assert_allclose(theirs.x.numpy(), ours.x, atol=1e-9)
    single = solve(torch.tensor(A).float(), torch.tensor(Y).float(), LAM, tolerance=1e-5)
    assert single.x.dtype == torch.float32
    np.testing.assert_allclose(single.x.numpy(), solve(A, Y, LAM).x, atol=0.05)


def test_array_api_strict() -> None:
    strict = pytest.importorskip("array_api_strict")
    got = solve(strict.asarray(A), strict.asarray(Y), LAM, tolerance=1e-6)
    np.testing.assert_array_equal(np.asarray(got.x), solve(A, Y, LAM, tolerance=1e-6).x)
    rows = strict.asarray(Y)
    np.testing.assert_allclose(np.asarray(omp(strict.asarray(A), rows, 3)), omp(A, Y, 3), atol=1e-12)
    made = orthogonal_sketch(3, 8, 0, like=rows)
    np.testing.assert_array_equal(np.asarray(made), orthogonal_sketch(3, 8, 0))


def test_sketches_follow_the_generator_and_the_array() -> None:
    torch = pytest.importorskip("torch")
    for make in (gaussian_sketch, rademacher_sketch, orthogonal_sketch):
        like = torch.zeros(1, dtype=torch.float64)
        np.testing.assert_array_equal(make(3, 5, 7, like=like).numpy(), make(3, 5, 7))
        drawn = make(3, 5, torch.Generator().manual_seed(0), like=like.float())
        assert drawn.dtype == torch.float32 and drawn.shape == (3, 5)
        with pytest.raises(UnmetHypothesis, match="m = 0"):
            make(0, 5, 0)
        with pytest.raises(TypeError):
            make(3, 5, None)


def test_start_at_the_solution_takes_no_step() -> None:
    found = solve(A, Y, LAM, tolerance=1e-9)
    again = solve(A, Y, LAM, tolerance=1e-9, start=found.x)
    assert again.steps == 0
    np.testing.assert_array_equal(again.x, found.x)
    assert solve(A, np.zeros(20), LAM).x.tolist() == [0.0] * 40


REFUSED = {
    "lambda 0": (lambda: solve(A, Y, 0.0), "lambda = 0.0"),
    "one lambda negative": (lambda: solve(A, Y, np.array([1.0, 1.0, 1.0, -2.0, 1.0, 1.0])), "lambda = -2.0"),
    "lambdas missing": (lambda: solve(A, Y, np.ones(3)), "lambda (3,)"),
    "zero column": (lambda: solve(A * (np.arange(40) > 1), Y, LAM), "2 of 40 columns"),
    "shapes": (lambda: solve(A, Y[:, :5], LAM), "(20, 40), (6, 5)"),
    "bounds without 0": (lambda: solve(A, Y, LAM, low=0.5), "low = 0.5"),
    "tolerance 0": (lambda: solve(A, Y, LAM, tolerance=0.0), "tolerance = 0.0"),
    "no steps": (lambda: solve(A, Y, LAM, max_iterations=0), "max_iterations = 0"),
    "no problems": (lambda: solve(A, Y[:0], LAM), "(0, 20)"),
    "NaN": (lambda: solve(A, Y * math.nan, LAM), "120 NaN"),
    "infinite": (lambda: solve(A, np.full(20, math.inf), LAM), "infinite"),
    "matching pursuit of s > m": (lambda: omp(A, Y, 21), "s = 21, m = 20"),
    "matching pursuit of nothing": (lambda: omp(A, Y, 0), "s = 0"),
    "unmeasured coordinate": (lambda: omp(A * (np.arange(40) > 0), Y, 2), "1 of 40 columns"),
    "support of s > m": (lambda: debias(A, Y, np.ones((6, 40))), "s = 40, m = 20"),
    "support of other data": (lambda: debias(A, Y, np.ones(40)), "(40,)"),
    "prox of bounds without 0": (lambda: prox(Y, 0.1, 1.0, 2.0), "low = 1.0"),
    "negative threshold": (lambda: prox(Y, -0.1), "tau = -0.1"),
    "infinite sketch": (lambda: lipschitz(np.full((2, 2), math.inf)), "infinite"),
    "orthogonal with m > d": (lambda: orthogonal_sketch(9, 8, 0), "m = 9, d = 8"),
    "Haar of 6": (lambda: haar_basis(6), "d = 6"),
    "cosine of 0": (lambda: cosine_basis(0), "d = 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_input_is_refused_with_the_number(name: str) -> None:
    call, number = REFUSED[name]
    with pytest.raises(UnmetHypothesis) as refused:
        call()
    assert number in str(refused.value)


def test_not_converged_says_how_far_it_got() -> None:
    with pytest.raises(NotConverged) as stopped:
        solve(A, Y, 1e-3, tolerance=1e-12, max_iterations=30)
    error = stopped.value
    assert error.problems == 6 and error.steps == 30 and error.gap > 1e-12
    assert f"relative duality gap {error.gap:.3g} > 1e-12" in str(error)
    reached = duality_gap(error.best.x, A, Y, 1e-3)
    np.testing.assert_allclose(error.best.gap, reached, rtol=1e-9)
    assert error.best.x.shape == (6, 40)


def test_errors_pickle() -> None:
    with pytest.raises(NotConverged) as stopped:
        solve(A, Y[0], 1e-3, tolerance=1e-12, max_iterations=2)
    again = pickle.loads(pickle.dumps(stopped.value))
    assert str(again) == str(stopped.value) and again.gap == stopped.value.gap


def test_matching_pursuit_of_nothing_left() -> None:
    """Asked for more columns than the data have: the rest gets coefficients of 0, not NaN."""
    y = 2.0 * A[:, 3]
    found = omp(A, y, 5)
    want = np.zeros(40)
    want[3] = 2.0
    np.testing.assert_allclose(found, want, atol=1e-12)
    assert omp(A, np.zeros(20), 3).tolist() == [0.0] * 40


def test_dependent_columns() -> None:
    """Matching pursuit passes them over; least squares on them is refused."""
    twins = np.random.default_rng(0).standard_normal((4, 6))
    twins[:, 1], twins[:, 2] = 3.3 * twins[:, 0], 0.7 * twins[:, 0]
    largest = np.argmax(np.abs(twins[:, 0] @ (twins / np.linalg.norm(twins, axis=0))))
    assert largest in (0, 1, 2)
    for s in (2, 3, 4):
        found = omp(twins, 2.0 * twins[:, 0], s)
        assert np.count_nonzero(found[:3]) == 1
        assert np.allclose(twins @ found, 2.0 * twins[:, 0], atol=1e-13)
    assert np.count_nonzero(omp(np.ones((2, 3)), np.ones(2), 2)) == 1  # one direction is all there is
    with pytest.raises(UnmetHypothesis, match="least eigenvalue"):
        debias(twins, twins[:, 3], np.array([1.0, 1.0, 0.0, 0.0, 0.0, 0.0]))
    assert debias(twins, np.zeros((0, 4)), np.zeros((0, 6))).shape == (0, 6)


def test_measurements_whose_squares_are_lost() -> None:
    y = np.array([3.0, 0.5, -2.0])
    for scale in (1e-200, 1e200):
        with pytest.raises(UnmetHypothesis, match="scale the problem"):
            solve(np.eye(3), scale * y, scale)
    assert not solve(np.eye(3), np.zeros(3), 1.0).x.any()
    with pytest.raises(UnmetHypothesis, match="lambda is finite"):
        solve(np.eye(3), y, math.inf)


def test_where_to_start() -> None:
    y = np.array([3.0, 0.5, -2.0])
    assert solve(np.eye(3), y, 1.0, start=np.array([2.0, 0.0, -1.0])).steps == 0
    with pytest.raises(UnmetHypothesis, match="start"):
        solve(np.eye(3), y, 1.0, start=np.zeros(2))
    with pytest.raises(TypeError, match="one dtype"):
        solve(np.eye(3), y, 1.0, start=np.zeros(3, dtype=np.float32))


@pytest.mark.parametrize("share", [1e-2, 1e-4, 1e-6])
def test_tiny_penalties_are_solved_to_the_value_not_to_the_data(share: float) -> None:
    """At a gap of 1e-8 |y|^2 the objective may be several times its optimum, and was said to have converged."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((30, 20))
    y = A @ (rng.standard_normal(20) * (rng.random(20) < 0.3)) + 1e-7 * rng.standard_normal(30)
    lam = share * float(np.max(np.abs(A.T @ y)))
    found = solve(A, y, lam, max_iterations=50_000)
    value = float(objective(found.x, A, y, lam))
    exact = solve(A, y, lam, tolerance=1e-9, max_iterations=200_000)
    least = float(objective(exact.x, A, y, lam)) - float(exact.gap)
    assert value <= least * (1.0 + 2e-8)
    assert float(found.gap) <= 1e-8 * value
    loose = solve(A, y, lam, tolerance=1e-8, relative_to="data").x
    assert float(objective(loose, A, y, lam)) >= value * (1.0 - 1e-8)


def test_the_gap_does_not_cancel() -> None:
    """The gap as primal less dual, at fifty digits, where both agree in ten of theirs; with bounds too."""
    rng = np.random.default_rng(1)
    A, y, x = rng.standard_normal((12, 8)), rng.standard_normal(12), rng.standard_normal(8)
    for low, high in ((-np.inf, np.inf), (0.0, np.inf), (-0.5, 0.7)):
        for near in (1.0, 1e-6):
            at = np.clip(x, low, high)
            target = A @ at + near * y
            lam = 1e-6 * float(np.max(np.abs(A.T @ target)))
            found = float(duality_gap(at, A, target, lam, low, high))
            with mpmath.workdps(50):
                a, b, v = (
                    mpmath.matrix(A.tolist()),
                    mpmath.matrix(target.tolist()),
                    mpmath.matrix(at.tolist()),
                )
                r = b - a * v
                g = [mpmath.fdot(a[:, i], r) for i in range(8)]
                worst = max(
                    [
                        mpmath.mpf(lam),
                        *([*g] if np.isinf(high) else []),
                        *([-w for w in g] if np.isinf(low) else []),
                    ]
                )
                s = lam / worst
                dual = sum(s * p * (q - s * p / 2) for p, q in zip(r, b, strict=True))
                if np.isfinite(high):
                    dual -= high * sum(max(s * w - lam, 0) for w in g)
                if np.isfinite(low):
                    dual += low * sum(max(-s * w - lam, 0) for w in g)
                want = sum(p * p for p in r) / 2 + lam * sum(abs(w) for w in v) - dual
            # What is left is the rounding of the residual, relative to the numbers that it is a difference of.
            weight = np.sum(np.abs(target - A @ at)) + np.sum(np.abs(A) @ np.abs(at))
            left = 2.0**-50 * float(np.linalg.norm(target)) * weight
            assert abs(found - float(want)) <= 1e-12 * float(want) + left


def test_single_precision_accepts_its_own_default() -> None:
    rng = np.random.default_rng(2)
    A = rng.standard_normal((20, 12))
    y, single = A @ np.eye(12)[0], np.float32
    found = solve(A.astype(single), y.astype(single), 0.1)
    assert found.x.dtype == single
    assert np.max(np.abs(found.x - solve(A, y, 0.1).x)) < 1e-2
    with pytest.raises(UnmetHypothesis, match="relative_to is"):
        solve(A, y, 0.1, relative_to="objective")
