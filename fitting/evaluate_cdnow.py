"""Judge the demo's model files on held-out customers: `python -m fitting.evaluate_cdnow`.

Law: the customers were in no fit, and the main judgement is made as of the cut-off, so its labels (the 90 days up to
1998-06-30, the last day of the data) lie wholly after everything that was fitted. What is judged is the file as it
stands, by the core that serves it.

Writes the tables between the markers of docs/cdnow-models.md and the figure docs/cdnow-calibration.svg.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from fitting.cdnow_sample import Booleans, Floats, all_histories, buys_within_horizon, is_held_out, sample
from fitting.fit_cdnow import CUT_OFF, REPEAT_BUYER, TARGET, TRAINING_DAYS
from memberstream.models.model import Model
from memberstream.models.model_file import load
from memberstream.models.plan import Plan
from memberstream.models.scorer import Indices
from memberstream.stream.demo import history, oracle

DOCS = Path(__file__).parents[1] / "docs"
N_BOOTSTRAP = 1_000
LAST_DAY = "1998-06-30"


@dataclass(frozen=True)
class Judged:
    """What a model file says of customers as of a day, and what they did.

    Attributes:
        index: (n,) cluster, as an index into the file's list; probability (n,), zeros for k-means.
        raw: (n, 16) unscaled predictors as in oracle.PREDICTORS, for profiles.
        bought: (n,) whether they bought within 90 days; all False where the data ends before that.
    """

    index: Indices
    probability: Floats
    raw: Floats
    bought: Booleans


def model_file(name: str) -> Model:
    """Return one of the demo's models."""
    return load((TARGET / f"{name}.json").read_bytes())


def judge(model: Model, day: str, sides: Iterable[bool] = (True,)) -> Judged:
    """Return the judgement of the customers on the given sides (held out: True) as of `day`."""
    as_of_ms, wanted = history.day_ms(day), set(sides)
    made = {i: d for i, d in history.documents(as_of_ms).items() if is_held_out(i) in wanted}
    plan = Plan([model])
    x, _ = plan.evaluate_many(list(made.values()), [as_of_ms] * len(made))
    scores = model.scorer.score_many(x.take(plan.inputs(model), axis=1))
    members = [all_histories()[i] for i in made]
    return Judged(
        scores.index,
        np.zeros(len(made)) if scores.probability is None else scores.probability,
        oracle.predictors((member, as_of_ms) for member in members),
        np.array([buys_within_horizon(member, as_of_ms) for member in members]),
    )


def interval(measure: Callable[[npt.NDArray[np.intp]], float], n: int, digits: int = 3) -> str:
    """Return a 95% percentile bootstrap interval of measure(row indices) over n customers, as text."""
    random = np.random.default_rng(0)
    values = [measure(random.integers(0, n, n)) for _ in range(N_BOOTSTRAP)]
    low, high = np.percentile(values, [2.5, 97.5])
    return f"{low:.{digits}f} – {high:.{digits}f}"


def auc(bought: Booleans, probability: Floats) -> float:
    """Return the area under the ROC curve."""
    return float(roc_auc_score(bought, probability))


def repeat_buyer_report() -> tuple[str, list[tuple[float, float]]]:
    """Return the section on `repeat_buyer` and the points (predicted, observed) of its ten tenths."""
    model = model_file("repeat_buyer")
    judged = judge(model, CUT_OFF)
    bought, probability = judged.bought, judged.probability
    n, base_rate = len(bought), _base_rate()
    constant = np.full(n, base_rate)
    frequency = judged.raw[:, oracle.PREDICTORS.index("frequency")]
    recency = -judged.raw[:, oracle.PREDICTORS.index("recency")]
    rows = ["| as of " + CUT_OFF + f", {n:,} held-out customers | AUC | 95% interval |", "|---|---|---|"]
    for name, values in (
        ("`repeat_buyer`", probability),
        ("recency alone", recency),
        ("number of days with a purchase alone", frequency),
    ):
        found = interval(lambda rows, v=values: auc(bought[rows], v[rows]), n)  # type: ignore[misc] # bound default
        rows.append(f"| {name} | {auc(bought, values):.3f} | {found} |")
    gain = interval(lambda r: auc(bought[r], probability[r]) - auc(bought[r], recency[r]), n)
    rows += ["", f"Gain over recency alone: {auc(bought, probability) - auc(bought, recency):.3f} ({gain}).", ""]

    rows += ["| | Brier score | log loss |", "|---|---|---|"]
    own_rate = np.full(n, bought.mean())
    for name, values in (
        ("`repeat_buyer`", probability),
        (f"always the training average, {base_rate:.3f}", constant),
        (f"always these customers' own average, {bought.mean():.3f}, known only afterwards", own_rate),
    ):
        rows.append(f"| {name} | {brier_score_loss(bought, values):.4f} | {log_loss(bought, values):.4f} |")

    slope, offset = _recalibration(probability, bought)
    rows += [
        "",
        f"Mean probability {probability.mean():.3f}, observed {bought.mean():.3f}.",
        f"A logistic regression of what happened on eta has slope {slope:.2f} and intercept {offset:.2f} "
        "(1 and 0 would be perfect).",
        "",
        "| tenth of customers by probability | predicted | observed |",
        "|---|---|---|",
    ]
    tenths = np.array_split(np.argsort(probability, kind="stable"), 10)
    points = [(float(probability[t].mean()), float(bought[t].mean())) for t in tenths]
    rows += [f"| {i} | {p:.3f} | {o:.3f} |" for i, (p, o) in enumerate(points, 1)]

    rows += ["", *_who_bought(model, judged)]
    rows += ["", "| customers, as of | n | mean probability | observed | AUC |", "|---|---|---|---|---|"]
    for side, day in [(False, CUT_OFF), *((True, day) for day in ("1997-02-01", *TRAINING_DAYS, CUT_OFF))]:
        other = judge(model, day, [side])
        rows.append(
            f"| {'held-out' if side else 'training'}, {day} | {len(other.bought):,} | {other.probability.mean():.3f} "
            f"| {other.bought.mean():.3f} | {auc(other.bought, other.probability):.3f} |"
        )
    return "\n".join(rows), points


def repeat_boosted_report() -> str:
    """Return the section on `repeat_boosted`: each figure beside that of `repeat_buyer`, on the same customers."""
    models = [model_file("repeat_boosted"), model_file("repeat_buyer")]
    trees, logistic = (judge(model, CUT_OFF) for model in models)
    bought, n = trees.bought, len(trees.bought)
    rows = [f"| as of {CUT_OFF}, {n:,} held-out customers | AUC | Brier score | log loss | mean probability |"]
    rows.append("|---|---|---|---|---|")
    for model, judged in zip(models, (trees, logistic), strict=True):
        p = judged.probability
        figures = f"{auc(bought, p):.3f} | {brier_score_loss(bought, p):.4f} | {log_loss(bought, p):.4f}"
        rows.append(f"| `{model.name}` | {figures} | {p.mean():.3f} |")
    a, b = trees.probability, logistic.probability
    gain = interval(lambda r: auc(bought[r], a[r]) - auc(bought[r], b[r]), n)
    loss = interval(lambda r: log_loss(bought[r], b[r]) - log_loss(bought[r], a[r]), n, 4)
    slope, offset = _recalibration(a, bought)
    agree = (trees.index == logistic.index).mean()
    rows += [
        "",
        f"Observed {bought.mean():.3f}.",
        f"Gain over `repeat_buyer`: {auc(bought, a) - auc(bought, b):.3f} ({gain}) of AUC, "
        f"{log_loss(bought, b) - log_loss(bought, a):.4f} ({loss}) of log loss.",
        f"A logistic regression of what happened on the raw score has slope {slope:.2f} and intercept {offset:.2f}.",
        f"{agree:.1%} of the customers are in the same cluster under both.",
        "",
        *_who_bought(models[0], trees),
        "",
        "| customers, as of | AUC of `repeat_boosted` | of `repeat_buyer` | log loss of `repeat_boosted` "
        "| of `repeat_buyer` |",
        "|---|---|---|---|---|",
    ]
    for side, day in [(False, TRAINING_DAYS[-1]), *((True, day) for day in ("1997-02-01", *TRAINING_DAYS, CUT_OFF))]:
        both = [judge(model, day, [side]) for model in models]
        aucs = " | ".join(f"{auc(one.bought, one.probability):.3f}" for one in both)
        losses = " | ".join(f"{log_loss(one.bought, one.probability):.4f}" for one in both)
        rows.append(f"| {'held-out' if side else 'training'}, {day} | {aucs} | {losses} |")
    return "\n".join(rows)


def _who_bought(model: Model, judged: Judged) -> list[str]:
    bought = judged.bought
    rows = ["| cluster | customers | share | bought again | share of all who bought again |", "|---|---|---|---|---|"]
    for i, cluster in enumerate(model.clusters):
        of = judged.index == i
        share = bought[of].sum() / bought.sum()
        size = f"{of.sum():,} | {of.mean():.1%}"
        rows.append(f"| {cluster.id} {cluster.name} | {size} | {bought[of].mean():.1%} | {share:.1%} |")
    return rows


def buying_style_report() -> str:
    """Return the section on `buying_style`: medians on the natural scale, and what the clusters did next."""
    model = model_file("buying_style")
    judged = judge(model, CUT_OFF)
    column = {name: np.expm1(judged.raw[:, i]) for i, name in enumerate(oracle.PREDICTORS)}
    shown = ("frequency", "recency", "units_per_purchase", "price_per_cd", "spend")
    rows = [
        "| cluster | customers | share | days with a purchase | days since the last | CDs per purchase "
        "| dollars per CD | dollars in all | bought again within 90 days |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for i, cluster in enumerate(model.clusters):
        of = judged.index == i
        medians = " | ".join(f"{np.median(column[name][of]):.3g}" for name in shown)
        size = f"{of.sum():,} | {of.mean():.1%}"
        rows.append(f"| {cluster.id} {cluster.name} | {size} | {medians} | {judged.bought[of].mean():.1%} |")
    return "\n".join(rows)


def sizes_report() -> str:
    """Return the cluster sizes of all models over all customers: when each bought last, and on the last day."""
    histories = all_histories()
    last_purchase = {member_id: history.purchases[-1][0] for member_id, history in histories.items()}
    names = (*oracle.MODELS, oracle.BOOSTED)
    at_last_purchase = oracle.recompute_all(histories, last_purchase, names)
    rows = ["| model | cluster | as of the last purchase | as of 1998-06-30 |", "|---|---|---|---|"]
    for name in names:
        model = model_file(name)
        judged = judge(model, LAST_DAY, [True, False])
        for i, cluster in enumerate(model.clusters):
            then = sum(clusters[name] == cluster.id for clusters in at_last_purchase.values())
            rows.append(f"| `{name}` | {cluster.id} {cluster.name} | {then:,} | {(judged.index == i).sum():,} |")
    return "\n".join(rows)


def _base_rate() -> float:
    """Return the share of training rows with a purchase in the 90 days after, a constant to compare with."""
    frequency = [predictor for predictor in REPEAT_BUYER if predictor["name"] == "frequency"]
    return float(sample(frequency, ["frequency"], TRAINING_DAYS, held_out=False).bought.mean())


def _recalibration(probability: Floats, bought: Booleans) -> tuple[float, float]:
    eta = np.log(probability / (1 - probability))[:, None]
    fitted = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10).fit(eta, bought)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def figure(points: list[tuple[float, float]]) -> str:
    """Return an SVG: predicted against observed share of the ten tenths, with the diagonal."""
    side, left, top, most = 320.0, 60.0, 20.0, 0.7

    def at(predicted: float, observed: float) -> tuple[float, float]:
        return left + side * predicted / most, top + side * (1 - observed / most)

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 420 400" font-family="sans-serif" font-size="12">',
        "<title>Calibration of repeat_buyer on held-out customers as of 1998-04-01</title>",
        '<rect width="420" height="400" fill="white"/>',
    ]
    for tick in range(0, 8):
        value = tick / 10
        (x, bottom), (_, y) = at(value, 0), at(0, value)
        parts.append(f'<path d="M{x:.1f} {top}V{bottom:.1f}M{left} {y:.1f}H{left + side}" stroke="#ddd" fill="none"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16:.1f}" text-anchor="middle">{value:.1f}</text>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.1f}</text>')
    (x0, y0), (x1, y1) = at(0, 0), at(most, most)
    parts.append(f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" stroke="#666" stroke-dasharray="4 4" fill="none"/>')
    placed = [at(*point) for point in points]
    line = "L".join(f"{x:.1f} {y:.1f}" for x, y in placed)
    parts.append(f'<path d="M{line}" stroke="#0b6e99" stroke-width="2" fill="none"/>')
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#0b6e99"/>' for x, y in placed]
    parts.append(f'<text x="{left + side / 2}" y="385" text-anchor="middle">mean probability of a tenth</text>')
    middle = top + side / 2
    place = f'x="18" y="{middle}" transform="rotate(-90 18 {middle})"'
    parts.append(f'<text {place} text-anchor="middle">share that bought again</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def main() -> None:
    repeat_buyer, points = repeat_buyer_report()
    sections = {
        "repeat_buyer": repeat_buyer,
        "repeat_boosted": repeat_boosted_report(),
        "buying_style": buying_style_report(),
        "sizes": sizes_report(),
    }
    path = DOCS / "cdnow-models.md"
    text = path.read_text(encoding="utf-8")
    for name, section in sections.items():
        marked = re.compile(f"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not marked.search(text):
            raise SystemExit(f"docs/cdnow-models.md: expected the markers <!-- {name} --> and <!-- end -->")
        text = marked.sub(lambda match, s=section: f"{match[1]}\n{s}\n\n{match[2]}", text)  # type: ignore[misc] # bound default
    path.write_text(text, encoding="utf-8", newline="\n")
    (DOCS / "cdnow-calibration.svg").write_text(figure(points), encoding="utf-8", newline="\n")
    print("\n\n".join(sections.values()))


if __name__ == "__main__":
    main()
