"""Click metrics as functions of sums; the whole path is compared with the oracle in tests/jobs/test_evaluate.py."""

import numpy as np
import pytest

from crossrec_core.frames.evaluation.click_metrics import CLICK_METRICS, NUM_BINS, click_statistics, entropy

# pairs, positives, log loss, Brier, true positives, predicted, placed positives, placed negatives, gaps per bin
SUMS = np.array([10.0, 4, 5, 2, 3, 5, 3, 4.5, *([0.5, -0.5] + [0.0] * (NUM_BINS - 2))])


def named(values: np.ndarray) -> dict[str, float]:
    return dict(zip(CLICK_METRICS, values, strict=True))


def test_metrics_follow_from_the_sums() -> None:
    assert named(click_statistics(SUMS, SUMS)) == pytest.approx(
        {
            "click_auc": 4.5 / 6, "click_log_loss": 5 / 10, "click_brier": 2 / 10, "click_accuracy": (3 + 4) / 10,
            "click_precision": 3 / 5, "click_recall": 3 / 4, "click_f1": 2 * 3 / (5 + 4), "click_ece": (0.5 + 0.5) / 10,
            "click_base_rate": 4 / 10, "click_best_constant_log_loss": -(0.4 * np.log(0.4) + 0.6 * np.log(0.6)),
            "click_best_constant_brier": 0.4 * 0.6, "click_best_constant_accuracy": 0.6,
        }
    )  # fmt: skip


def test_resamples_are_measured_at_once() -> None:
    both = click_statistics(np.stack([SUMS, 2 * SUMS]), SUMS)
    assert both.shape == (2, len(CLICK_METRICS))
    assert both[1] == pytest.approx(both[0])


def test_the_auc_of_a_resample_moves_by_what_both_classes_move() -> None:
    resampled = SUMS.copy()
    resampled[[6, 7]] = 4, 6
    whole_auc = 3 / 4
    assert named(click_statistics(resampled, SUMS))["click_auc"] == pytest.approx(4 / 4 + 6 / 6 - whole_auc)


def test_one_class_alone_has_no_auc() -> None:
    no_clicks = SUMS.copy()
    no_clicks[[1, 4, 6]] = 0
    values = named(click_statistics(no_clicks, no_clicks))
    assert np.isnan(values["click_auc"])
    assert np.isnan(values["click_recall"])
    assert values["click_best_constant_log_loss"] == pytest.approx(0, abs=1e-12)


def test_entropy_is_highest_at_a_half() -> None:
    rates = entropy(np.array([0.0, 0.25, 0.5, 0.75, 1.0]))
    assert rates.argmax() == 2
    assert rates[[0, 4]] == pytest.approx([0, 0], abs=1e-12)
