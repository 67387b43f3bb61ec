"""What a learner submits: the rubric, the checks before submission, the zip and the PDF."""
