"""What can't be represented, by name: why, and the nearest thing that works."""

from __future__ import annotations

#: Any model at all can be tried so, and be compared with a computed one later.
LIST = "its predictions as a list: memberstream clusters upload (docs/lists.md)"
_SOFTMAX = "LogisticRegression, which tells more than two classes apart by itself"
_OTHER = "a model file has no such scorer"
_BOOSTED = "HistGradientBoostingClassifier"
_NO_TREES = ("its trees aren't read", f"{_BOOSTED}; or {LIST}")
_TREES = ("CatBoostRanker", "LGBMRanker", "XGBRanker", "Booster")

#: estimator → (why, what to use)
ESTIMATORS: dict[str, tuple[str, str]] = dict.fromkeys(_TREES, _NO_TREES) | {
    "AdaBoostClassifier": ("its trees vote with weights", f"{_BOOSTED}; or {LIST}"),
    "BaggingClassifier": ("several models vote", f"RandomForestClassifier; or {LIST}"),
    "IsolationForest": ("it says how soon a member is alone, not where it belongs", f"GaussianMixture; or {LIST}"),
    "OneVsRestClassifier": ("its probabilities are no softmax", _SOFTMAX),
    "OneVsOneClassifier": ("it votes, which gives no probability", _SOFTMAX),
    "CalibratedClassifierCV": (
        "it maps a model's output once more",
        f"the LogisticRegression itself, whose probabilities need no calibration as a rule; or {LIST}",
    ),
    "SGDClassifier": (_OTHER, 'LogisticRegression; solver="saga" is the one for many rows'),
    "BayesianGaussianMixture": (_OTHER, "GaussianMixture"),
    "BisectingKMeans": ("it walks a tree of splits, not to the nearest centroid", "KMeans"),
    "VotingClassifier": ("several models vote", f"one of them; or {LIST}"),
    "StackingClassifier": ("one model reads others", f"one of them; or {LIST}"),
}
DEFAULT_ESTIMATOR = (_OTHER, f"LogisticRegression, {_BOOSTED}, KMeans or GaussianMixture; or {LIST}")

#: step → (why, what to use)
STEPS: dict[str, tuple[str, str]] = {
    "KNNImputer": ("what it fills depends on other members", "SimpleImputer"),
    "IterativeImputer": ("what it fills comes from models of its own", "SimpleImputer"),
    "TargetEncoder": ("a model file encodes a category in columns of its own", "OneHotEncoder"),
    "KBinsDiscretizer": (
        "its edges can't be a step",
        '`"transforms": [{"bins": [its edges]}]` in the predictor, and the fit on that column',
    ),
    "QuantileTransformer": ("it interpolates between the ranks of training", "np.log1p, RobustScaler"),
    "PowerTransformer": ("a model file has no powers", "np.log1p, np.sqrt, np.log"),
    "SplineTransformer": ("a model file has no splines", "PolynomialFeatures(2)"),
    "Normalizer": ("it divides a row by its own length", "StandardScaler"),
    "CountVectorizer": ("a model file reads no words from texts", f"categories and a OneHotEncoder; or {LIST}"),
    "TfidfVectorizer": ("a model file reads no words from texts", f"categories and a OneHotEncoder; or {LIST}"),
    "KernelPCA": ("its components are no sums of columns", f"PCA; or {LIST}"),
}
