"""What each figure says to look for, and what it does not show."""

RANGE = "Bars and bands are 95 % intervals over pre-training runs (over draws where there is one run)."

BASE = (
    "Loss of the unmodified checkpoints on held-out pre-training text: thin lines are single runs, the bold "
    f"line their mean. {RANGE} It says nothing about how the checkpoints take a change."
)

_NOISE = {
    True: "How much noise of one strength costs: loss after noise minus loss before, on the same tokens. "
    "Rising lines are progressive sensitivity. ",
    False: "Loss after noise of one strength (dashed: before). A line that turns up means that more "
    "pre-training made the noisy model worse. ",
}
_FINE_TUNING = {
    True: "Forgetting at one fixed rate: pre-training loss after fine-tuning minus before. ",
    False: "Pre-training loss after fine-tuning at one fixed rate (dashed: before). A fixed rate is not the "
    "rate one would choose; see the tuned rate above. ",
}
_RUNS = "Bars are 95 % intervals over pre-training runs; one run has none, as nothing here is drawn by chance."

_DIRECT = {
    True: "What a change of one strength costs: loss after minus before, on the same tokens. ",
    False: "Loss after a change of one strength (dashed: before). A line that turns up means that more pre-training "
    "made the changed model worse. ",
}
_STARTS = {"noise": _NOISE, "fine-tune": _FINE_TUNING}
_CONFOUND = {
    "init": " The noise has one absolute size, so shrinking or growing weights alone bend these lines.",
    "relative": " The noise follows each tensor's own size, so weight growth cannot cause these lines.",
}


def modified(modification: str, scaling: str | None, *, paired: bool) -> str:
    """For sensitivity (`paired`) and modified loss."""
    start = _STARTS.get(modification, _DIRECT)[paired]
    bars = RANGE if modification in _STARTS else _RUNS
    return f"{start}{bars}{_CONFOUND.get(scaling or '', '')}"


HEAT = (
    "Mean over runs; darker is lower. Frames mark the rate chosen on validation task loss (over runs, the rate of the "
    "grid nearest to their geometric mean); an empty cell diverged in some run or is not measured. The colour range "
    "ends at the 85th percentile, so that a few large losses do not flatten the rest."
)

TUNED_TASK = (
    "Every checkpoint at its own best rate, chosen on validation and shown on test. Solid or dashed: the "
    "best rate of the grid; dotted: the optimum interpolated between rates. Where the two part, the grid is "
    "too coarse to decide. It rises where more pre-training made the task harder to learn."
)


TUNED_PRETRAINING = (
    "What is left of pre-training at those same rates. It rises where keeping what was known costs more at "
    "larger budgets, though the rate is tuned. It does not hold the amount learned fixed: a checkpoint may "
    "forget more because it learns more."
)

TUNED_REUSED = " The second colour is the rate tuned once, at the middle budget of each run, and reused everywhere."

TUNED_MANY = " Of so many ladders only the means are drawn; runs, interpolated and reused rates are in the tables."

TUNED_RATE = (
    "The rate that learns the task best at each budget (geometric mean over runs). A falling line offsets "
    "rising sensitivity: where it falls fast enough, nothing turns up at the tuned rate."
)

DISTANCE = (
    "L2 norm of the change of all weights. A flat line means that a fixed rate is a modification of fixed "
    "size, as noise of fixed strength is. It does not say in which direction the weights went."
)

ADAPTATION = (
    "Mean over fine-tuning steps of the training loss before each update, in the unit of the other losses: the lower, "
    "the sooner the task was learned. Lines by fixed rate, and the rate tuned on validation. Bars are 95 % intervals "
    "over pre-training runs."
)

AGAINST_DISTANCE = (
    "The loss at each distance from the pre-trained weights; a point is a rate. Where later checkpoints lie above "
    "earlier ones at one distance, the same move costs them more. Bars are 95 % intervals of the loss over runs."
)

WAYS_TASK = (
    "Every checkpoint at the tuned rate of each way of fine-tuning. A way that lies above plain pays for what it keeps."
)

WAYS_PRETRAINING = (
    "What is left of pre-training at those rates. A way that moves the lowest point to the right delays the turn. It "
    "does not hold the amount learned fixed; the table does."
)

STEPS = (
    "Every checkpoint at the rate tuned for that number of steps. Lines that cross, or rise sooner for later "
    "checkpoints, say that how long one trains changes which checkpoint is best."
)

SIZES = (
    "How large the weights are; hover for the tensor. Noise in init scaling has a fixed absolute size: where "
    "matrices grow it becomes relatively smaller, where the embedding shrinks relatively larger."
)

NOISE_LEAD = (
    "Left: what the noise costs. Right: the noisy loss itself, which turns up once that cost grows faster "
    "than the base improves. The stronger the noise, the darker (on a dark page: the brighter) the line."
)

TUNED_LEAD = "The strongest form of the question: each checkpoint gets the rate that suits it best."
