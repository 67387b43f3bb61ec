"""The course's wing: what makes an assignment, collects it and grades it."""
