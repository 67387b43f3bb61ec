"""What the judge asks of each exercise: {exercise id: its checks}.

A check is a pair of the property that it looks at, in words, and a function of a `Subject` that raises
FaultError where the property does not hold. The first check of an exercise is the one that must hold: without
it the exercise gets nothing. The others share the rest of its points.
"""

from course.grading.checks.layers import LAYER_CHECKS
from course.grading.checks.models import MODEL_CHECKS
from course.grading.checks.pytorch import PYTORCH_CHECKS
from course.grading.checks.rules import RULE_CHECKS

CHECKS = LAYER_CHECKS | RULE_CHECKS | MODEL_CHECKS | PYTORCH_CHECKS
