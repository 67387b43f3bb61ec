"""The checks of each exercise: {exercise id: [(property, check), ...]}.

A check is a function of a `Subject` that raises FaultError if the submission does not have the property. If
the first check of an exercise fails, the exercise gets no points. Otherwise all of its checks share the
points equally.
"""

from course.grading.checks.layers import LAYER_CHECKS
from course.grading.checks.models import MODEL_CHECKS
from course.grading.checks.pytorch import PYTORCH_CHECKS
from course.grading.checks.rules import RULE_CHECKS
from course.grading.subject import Checks

CHECKS: Checks = LAYER_CHECKS | RULE_CHECKS | MODEL_CHECKS | PYTORCH_CHECKS
