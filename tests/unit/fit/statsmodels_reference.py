"""Inference metrics of one window by statsmodels: an implementation that shares nothing with ours.

Reads lines of `x_1,...,x_n;y_1,...,y_n` from standard input (numbers as float.hex writes them) and prints for each line
`name=value` pairs. With --store it writes the cases of stored_inference.inc instead:
    /usr/bin/python3 tests/unit/fit/statsmodels_reference.py --store > tests/unit/fit/stored_inference.inc
"""
import sys

import numpy as np
import statsmodels
import statsmodels.api as sm
from scipy.stats import t
from statsmodels.stats.stattools import durbin_watson


def quantile(df):
    # scipy's own t.ppf (1.10) is off by up to 5e-10, which is also what conf_int and summary_frame are off by; its cdf is
    # good to the last digits, so Newton's method on that mends it.
    value = t.ppf(0.975, df)
    for _ in range(3):
        value -= (t.cdf(value, df) - 0.975) / t.pdf(value, df)
    return value


def reference(x, y):
    # Centred and scaled inside, as ordinary least squares on raw x loses digits that are not at issue here; statsmodels
    # does the statistics on that basis, and t tests of linear combinations give the raw coefficients.
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    m, h = x.mean(), np.abs(x - x.mean()).max()
    level = y[len(y) // 2]
    basis = lambda v: np.column_stack([np.ones_like(v), (v - m) / h, ((v - m) / h) ** 2])
    fit = sm.OLS(y - level, basis(x)).fit(method="qr")
    raw = {  # rows of the change of basis
        "coef0": [1, -m / h, (m / h) ** 2],
        "coef1": [0, 1 / h, -2 * m / h**2],
        "coef2": [0, 0, 1 / h**2],
        "slope_end": [0, 1 / h, 2 * (x[-1] - m) / h**2],
    }
    tests = {name: fit.t_test(np.array([row])) for name, row in raw.items()}
    out = {name: test.effect[0] for name, test in tests.items()}
    out["coef0"] += level
    for k in "012":
        out["se_coef" + k] = tests["coef" + k].sd.item()
    for k in "12":
        out["t_coef" + k] = tests["coef" + k].tvalue.item()
        out["p_coef" + k] = float(tests["coef" + k].pvalue)
    out["sigma"] = np.sqrt(fit.mse_resid)
    out["r2_adj"] = fit.rsquared_adj
    out["f_stat"] = fit.fvalue
    out["durbin_watson"] = durbin_watson(fit.resid)
    ahead = fit.get_prediction(basis(np.array([x[-1], x[-1] + 1])))
    half = quantile(fit.df_resid) * ahead.se_obs
    out["pi_lower"], out["forecast_lower"] = ahead.predicted_mean - half + level
    out["pi_upper"], out["forecast_upper"] = ahead.predicted_mean + half + level
    out["forecast"] = ahead.predicted_mean[1] + level
    earlier = sm.OLS(y[:-1] - level, basis(x[:-1])).fit(method="qr")  # the forecast that the earlier rows made
    out["forecast_error"] = y[-1] - level - earlier.predict(basis(x[-1:]))[0]
    out["n_obs"] = fit.nobs
    return out


def stored_cases():
    # Digits written out, so that every program reads the same numbers: no generator is part of the definition.
    prices = "1.16056 1.16057 1.16051 1.16054 1.16053 1.16065 1.16076 1.16085 1.16087 1.16076 1.16075 1.16076 1.16077 1.16084 1.16079 1.16077 1.16075 1.16073 1.16073 1.16081".split()
    returns = "0.0012 -0.0007 0.0003 0.0021 -0.0014 0.0005 -0.0001 0.0009 -0.0018 0.0011".split()
    latency = "0.25 0.25 0.31 0.25 5.88".split()
    four = "3.5 1.25 -2.0 7.75".split()
    for name, digits in (("prices", prices), ("returns", returns), ("latency", latency), ("four", four)):
        y = [float(d) for d in digits]
        yield name, digits, reference(range(len(y)), y)


def store():
    print(f"// Written by statsmodels_reference.py --store with statsmodels {statsmodels.__version__}, numpy {np.__version__}.")
    for name, digits, out in stored_cases():
        values = ", ".join(f'{{"{k}", {float(v)!r}}}' for k, v in out.items())
        print(f'{{"{name}", {{{", ".join(digits)}}}, {{{values}}}}},')


def main():
    if sys.argv[1:] == ["--store"]:
        store()
        return
    for line in sys.stdin:
        x, y = ([float.fromhex(v) for v in part.split(",")] for part in line.strip().split(";"))
        print(" ".join(f"{k}={float(v)!r}" for k, v in reference(x, y).items()))


main()
